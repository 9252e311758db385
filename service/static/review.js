// The grid of images to review: chosen by mouse and keys, settled without loading the whole page anew.
"use strict";

(() => {
  let current = 0; // the card that the keys speak about
  let anchor = 0; // where a range begins
  let isBusy = false;
  let withShift = false;

  const root = () => document.getElementById("review");
  const form = () => root().querySelector("form[data-review]");
  const boxes = () => [...root().querySelectorAll("[data-card] input[type=checkbox]")];
  const chosen = () => boxes().filter((box) => box.checked);
  const cardOf = (box) => box.closest("[data-card]");
  const field = () => root().querySelector("#label");

  function show() {
    const all = boxes();
    const picked = chosen();
    const count = picked.reduce((sum, box) => sum + Number(cardOf(box).dataset.images), 0);
    const told = root().querySelector("[data-chosen]");
    if (told) {
      told.textContent = count
        ? `${count} ${count === 1 ? "image" : "images"} chosen`
        : "Choose images, then say what they show.";
    }
    all.forEach((box, at) => {
      box.tabIndex = at === current ? 0 : -1;
    });
  }

  function go(at, { keeps = false } = {}) {
    const all = boxes();
    if (!all.length) return;
    current = Math.max(0, Math.min(all.length - 1, at));
    if (keeps) range(anchor, current);
    else anchor = current;
    show();
    all[current].focus();
    cardOf(all[current]).scrollIntoView({ block: "nearest" });
  }

  function range(from, to) {
    boxes().forEach((box, at) => {
      if (at >= Math.min(from, to) && at <= Math.max(from, to)) box.checked = true;
    });
  }

  function columns() {
    const tops = boxes().map((box) => cardOf(box).offsetTop);
    const next = tops.findIndex((top) => top !== tops[0]);
    return next < 0 ? tops.length : next;
  }

  // What the keys settle: what is chosen, or else the card they stand on.
  function choose() {
    const all = boxes();
    if (!chosen().length && all[current]) all[current].checked = true;
    show();
    return chosen().length > 0;
  }

  function press(act) {
    const button = root().querySelector(`button[name=act][value=${act}]`);
    if (button && choose()) form().requestSubmit(button);
  }

  function nameAs(label) {
    field().value = label;
    press("name");
  }

  function known(text) {
    const typed = text.trim().toLowerCase();
    if (!typed) return {};
    const names = [...root().querySelectorAll("#classes option")].map((option) => option.value);
    const same = names.find((name) => name.toLowerCase() === typed);
    const begun = names.filter((name) => name.toLowerCase().startsWith(typed)).sort((a, b) => a.length - b.length);
    return { same, begun: begun[0] };
  }

  function hint() {
    const told = root().querySelector("[data-hint]");
    if (!told) return;
    const { same, begun } = known(field().value);
    if (!field().value.trim()) told.textContent = "";
    else if (same) told.textContent = "known";
    else told.textContent = begun ? `Tab: ${begun}` : "new class";
  }

  function begin() {
    if (!root() || !form()) return;
    for (const button of root().querySelectorAll("button[data-as]")) {
      button.disabled = false;
      button.tabIndex = -1;
    }
    current = Math.min(current, Math.max(0, boxes().length - 1));
    anchor = current;
    show();
  }

  async function send(request, body) {
    if (isBusy) return;
    isBusy = true;
    root().setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(request, { method: "POST", body });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("review");
      if (!answer.ok || !fresh) {
        window.location.assign(answer.url);
        return;
      }
      root().replaceWith(document.adoptNode(fresh));
      window.history.replaceState(null, "", answer.url);
      begin();
      go(current);
    } finally {
      isBusy = false;
      if (root()) root().removeAttribute("aria-busy");
    }
  }

  document.addEventListener("submit", (event) => {
    const sent = event.target;
    if (!root() || !root().contains(sent) || sent.method !== "post") return;
    if (sent.matches("[data-undo]")) {
      event.preventDefault();
      send(sent.action, new URLSearchParams(new FormData(sent)));
    } else if (sent === form()) {
      event.preventDefault();
      if (!choose()) return;
      current = boxes().indexOf(chosen()[0]); // what takes its place is next
      send(sent.action, new URLSearchParams(new FormData(sent, event.submitter)));
    }
  });

  document.addEventListener("input", (event) => {
    if (event.target === field()) hint();
  });

  document.addEventListener("click", (event) => {
    const pick = event.target.closest?.("[data-as]");
    if (pick) {
      const box = cardOf(pick).querySelector("input[type=checkbox]");
      current = boxes().indexOf(box);
      if (!box.checked) {
        chosen().forEach((other) => (other.checked = false));
        box.checked = true;
      }
      nameAs(pick.dataset.as);
      return;
    }
    if (event.target.closest?.(".review-pick") && event.target.tagName !== "INPUT") {
      withShift = event.shiftKey;
      return;
    }
    if (event.target.matches?.("[data-card] input[type=checkbox]")) {
      const at = boxes().indexOf(event.target);
      if ((event.shiftKey || withShift) && event.target.checked) range(anchor, at);
      withShift = false;
      current = anchor = at;
      show();
    }
  });

  document.addEventListener("focusin", (event) => {
    if (!event.target.matches?.("[data-card] input[type=checkbox]")) return;
    current = boxes().indexOf(event.target);
    show();
  });

  const moves = {
    ArrowRight: () => 1,
    ArrowLeft: () => -1,
    ArrowDown: columns,
    ArrowUp: () => -columns(),
    Home: () => -boxes().length,
    End: () => boxes().length,
  };

  function inField(event) {
    if (event.key === "Tab" && !event.shiftKey) {
      const { same, begun } = known(field().value);
      if (same || !begun) return;
      event.preventDefault();
      field().value = begun;
      hint();
    } else if (event.key === "Escape") {
      event.preventDefault();
      field().value = "";
      hint();
      go(current);
    }
  }

  document.addEventListener("keydown", (event) => {
    if (!root() || !form() || !field()) return;
    const { target, key } = event;
    if (target === field()) return inField(event);
    const isOurs = target === document.body || target.matches("[data-card] input, [data-card] button");
    if (!isOurs) return;
    if ((event.ctrlKey || event.metaKey) && key === "z") {
      const undo = root().querySelector("[data-undo]");
      if (undo) undo.requestSubmit();
      event.preventDefault();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (moves[key]) {
      event.preventDefault();
      const isFirst = target === document.body;
      go(isFirst ? current : current + moves[key](), { keeps: event.shiftKey });
    } else if (/^[1-5]$/.test(key)) {
      event.preventDefault();
      const pick = cardOf(boxes()[current]).querySelectorAll("[data-as]")[Number(key) - 1];
      if (pick) nameAs(pick.dataset.as);
    } else if (key === "Enter") {
      event.preventDefault();
      press("confirm");
    } else if (key === "Delete" || key === "Backspace") {
      event.preventDefault();
      press("discard");
    } else if (key === "Escape") {
      chosen().forEach((box) => (box.checked = false));
      show();
    } else if (/^\p{L}$/u.test(key)) {
      choose();
      field().value = "";
      field().focus(); // where the letter lands
    }
  });

  begin();
})();
