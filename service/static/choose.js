// Chooses many images at once: a range with Shift, arrow keys to walk, and a bar that says how many are chosen.
"use strict";

(() => {
  const form = document.querySelector("form[data-choose]");
  if (!form) return;
  const boxes = [...form.querySelectorAll('input[name="image"]')];
  const count = form.querySelector("[data-count]");
  const buttons = [...form.querySelectorAll("button[name=action]")];
  let last = null;

  const all = document.createElement("button");
  all.type = "button";
  all.className = "compact";
  count.after(all);

  function tell() {
    const n = boxes.filter((box) => box.checked).length;
    count.textContent = n ? `${n} ${n === 1 ? "image" : "images"} chosen` : "Choose images";
    all.textContent = n === boxes.length ? "Choose none" : "Choose all";
    for (const button of buttons) button.disabled = n === 0;
  }

  function perRow() {
    const top = boxes[0].closest("li").offsetTop;
    const next = boxes.findIndex((box) => box.closest("li").offsetTop !== top);
    return next < 0 ? boxes.length : next;
  }

  all.addEventListener("click", () => {
    const wanted = !boxes.every((box) => box.checked);
    for (const box of boxes) box.checked = wanted;
    tell();
  });

  form.addEventListener("click", (event) => {
    const box = event.target;
    if (!boxes.includes(box)) return;
    const at = boxes.indexOf(box);
    if (event.shiftKey && last !== null) {
      for (let i = Math.min(at, last); i <= Math.max(at, last); i += 1) boxes[i].checked = box.checked;
    }
    last = at;
    tell();
  });

  form.addEventListener("keydown", (event) => {
    const at = boxes.indexOf(event.target);
    if (at < 0) return;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -perRow(), ArrowDown: perRow() };
    const to = at + (steps[event.key] ?? Number.NaN);
    if (boxes[to]) {
      event.preventDefault();
      boxes[to].focus();
      if (event.shiftKey) {
        boxes[at].checked = true;
        boxes[to].checked = true;
        last = to;
        tell();
      }
    }
  });

  // Enter in the field moves, and so do the keys of a form without a script.
  form.addEventListener("submit", (event) => {
    if (event.submitter && event.submitter.value === "move" && !form.elements.to.value.trim()) {
      event.preventDefault();
      form.elements.to.focus();
    }
  });

  tell();
})();
