// Teaching: photos are gathered, shown and named here, and sent in one form. Without JavaScript plain forms do it.
"use strict";

(() => {
  const app = document.querySelector("[data-teach]");
  if (!app) return;
  const facts = JSON.parse(document.getElementById("teach-facts").textContent);
  const MOST_SHOWN = 120; // of one class, before the rest is asked for
  const MOST_TABLE = 8 << 20;
  const HEAD = 32;
  const SIDE = 192;
  const DECODING = 3;
  const ARCHIVE = /\.(zip|tar|gz|tgz|xz|txz|bz2|tbz2)$/i;
  const PHOTO = /\.(jpe?g|jfif|png|webp|gif|bmp|hei[cf]|avif)$/i;
  const TABLE = /\.(csv|tsv|txt|json|jsonl|ndjson)$/i;

  const find = (name, inside = app) => inside.querySelector(`[data-${name}]`);
  const plain = document.querySelector("[data-plain]");
  const target = plain.querySelector("form").getAttribute("action");
  const notices = document.querySelector("[data-notices]");
  const groupsBox = find("groups");
  const bar = find("bar");
  const drop = find("drop");
  const learnButton = find("learn");
  const othersButton = find("others");
  const summary = find("summary");
  const moveInput = document.getElementById("teach-move");
  const names = document.getElementById("teach-names");
  const progress = bar.querySelector("progress");

  let photos = [];
  let nextId = 1;
  let isSending = false;
  let isShowing = false; // a field that goes away while it has the focus would say once more that it was changed
  let sendKey = null; // of what is sent: what did not come back may be sent again and is learned once
  const selected = new Set();
  const open = new Set(); // classes all of whose photos are shown
  const groups = new Map();

  // --- words

  const look = (label) => label.normalize("NFKC").toLowerCase().trim();
  const knownNames = new Map(facts.known.map((name) => [look(name), name]));
  const counted = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
  const photosOf = (n) => counted(n, "photo", "photos");

  // One class has one spelling: the one that is known, or else that of other photos here.
  function spelled(text, chosen = []) {
    const label = text.normalize("NFC").trim();
    if (!label) return null;
    const isTwin = (one) => one.label && look(one.label) === look(label) && !chosen.includes(one);
    return knownNames.get(look(label)) ?? photos.find(isTwin)?.label ?? label;
  }

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name in made && name !== "list") made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  function say(text, { isBad = false, details = [] } = {}) {
    const box = element("div", { className: `notice${isBad ? " notice-bad" : ""}` }, element("p", {}, text));
    if (isBad) box.setAttribute("role", "alert");
    if (details.length) {
      const items = details.slice(0, 8).map((one) => element("li", {}, one));
      if (details.length > 8) items.push(element("li", {}, `and ${details.length - 8} more`));
      box.append(element("ul", { className: "refused small" }, ...items));
    }
    notices.append(box);
  }

  // --- photos that come

  async function add(files, { label = null } = {}) {
    notices.replaceChildren();
    if (files.length === 1 && ARCHIVE.test(files[0].file.name)) return takeArchive(files[0].file);
    const here = new Set(photos.map((one) => one.key));
    const fresh = [];
    files.sort((a, b) => a.path.localeCompare(b.path, "en", { numeric: true }));
    for (const one of files) {
      const key = `${one.path}\0${one.file.size}\0${one.file.lastModified}`;
      if (!here.has(key)) fresh.push({ ...one, key });
      here.add(key);
    }
    if (fresh.length < files.length) {
      say(`${counted(files.length - fresh.length, "file was", "files were")} here already.`);
    }
    const loose = fresh.filter((one) => !one.path.includes("/"));
    const inFolders = fresh.filter((one) => one.path.includes("/"));
    const aside = loose.filter((one) => !isPhoto(one.file));
    take(loose.filter((one) => isPhoto(one.file)).map((one) => ({ ...one, label })));
    if (inFolders.length) aside.push(...(await placeFolders(inFolders)));
    const told = aside.filter((one) => !/(^|\/)(\.|Thumbs\.db$|desktop\.ini$)/.test(one.path));
    if (told.length) {
      const text = `${counted(told.length, "file is no photo and was", "files are no photos and were")} left aside:`;
      say(text, { details: told.map((one) => one.path) });
    }
    render();
    if (photos.length) find("group-name", groupsBox.querySelector(".is-unnamed") ?? element("p"))?.focus();
    return undefined;
  }

  const isPhoto = (file) => file.type.startsWith("image/") || PHOTO.test(file.name);

  function take(more) {
    for (const one of more) {
      const label = one.label ? spelled(one.label) : null;
      photos.push({ split: "auto", why: null, ...one, label, id: nextId++ });
    }
    changed();
  }

  // The service reads the folders, from names and first bytes alone, as it will when they are learned.
  async function placeFolders(files) {
    const form = new FormData();
    for (const { file, path } of files) {
      const isTable = TABLE.test(path) && file.size <= MOST_TABLE;
      form.append("images", isTable ? file : file.slice(0, HEAD), path);
    }
    let answer = null;
    let told = null;
    try {
      answer = await fetch(app.dataset.path, { method: "POST", body: form, headers: { Accept: "application/json" } });
      told = await answer.json();
    } catch {
      told = {};
    }
    if (answer?.ok) {
      const placed = new Set(told.files.map((one) => one.index));
      take(told.files.map(({ index, label, split }) => ({ ...files[index], label: meant(label, files[index]), split })));
      for (const note of told.notes) say(note, { isBad: told.is_guess });
      return files.filter((_, index) => !placed.has(index));
    }
    const shown = files.filter((one) => isPhoto(one.file));
    const folders = new Set(shown.map((one) => one.path.split("/").at(-2)));
    const isNamed = folders.size > 1;
    take(shown.map((one) => ({ ...one, label: isNamed ? one.path.split("/").at(-2) : null })));
    say(told.notice ?? "The service did not answer: look at the classes before you learn them.", { isBad: true });
    return files.filter((one) => !isPhoto(one.file));
  }

  // Browsers write quotation marks and ends of lines as %22 and the like into a form, where nobody can tell them apart.
  function meant(label, { path }) {
    const sent = (part) => part.replace(/["\r\n]/g, encodeURIComponent).normalize("NFC").trim();
    return path.split("/").find((part) => /["\r\n]/.test(part) && sent(part) === label) ?? label;
  }

  function takeArchive(file) {
    if (photos.length) {
      say("An archive is learned by itself: learn or remove these photos first.", { isBad: true });
      return;
    }
    const form = plain.querySelector("[data-archive] form");
    const holder = new DataTransfer();
    holder.items.add(file);
    form.querySelector("input").files = holder.files;
    say("An archive is learned as it is, without looking at its photos first: press “Learn the archive” below.");
    form.querySelector("button").focus();
  }

  // --- what is dropped

  function readEntry(entry) {
    if (entry.isFile) {
      const path = entry.fullPath.replace(/^\//, "");
      return new Promise((done) => {
        entry.file((file) => done([{ file, path }]), () => done([]));
      });
    }
    return readFolder(entry.createReader());
  }

  async function readFolder(reader) {
    const found = [];
    for (;;) {
      const some = await new Promise((done) => {
        reader.readEntries(done, () => done([]));
      });
      if (!some.length) return found;
      for (const entry of some) found.push(...(await readEntry(entry)));
    }
  }

  async function dropped(transfer) {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const loose = [...transfer.files].map((file) => ({ file, path: file.name }));
    if (!entries.length) return loose;
    const found = [];
    for (const entry of entries) found.push(...(await readEntry(entry)));
    return found;
  }

  // --- thumbnails, only of what is looked at

  const waiting = [];
  let decoding = 0;
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      waiting.push(entry.target);
    }
    work();
  }, { rootMargin: "300px" });

  function work() {
    while (decoding < DECODING && waiting.length) {
      const tile = waiting.shift();
      decoding += 1;
      thumbnail(tile).finally(() => {
        decoding -= 1;
        work();
      });
    }
  }

  async function thumbnail(tile) {
    const frame = tile.querySelector(".tile-frame");
    try {
      const bitmap = await createImageBitmap(tile.photo.file);
      const canvas = element("canvas", { width: SIDE, height: SIDE });
      const side = Math.min(bitmap.width, bitmap.height);
      const context = canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.imageSmoothingEnabled = side > 48;
      context.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, SIDE, SIDE);
      bitmap.close();
      const blob = await new Promise((done) => {
        canvas.toBlob(done, "image/jpeg", 0.85);
      });
      const image = element("img", { alt: "", draggable: false });
      image.addEventListener("load", () => URL.revokeObjectURL(image.src));
      image.src = URL.createObjectURL(blob);
      frame.replaceChildren(image);
    } catch {
      frame.classList.add("is-unseen");
      frame.replaceChildren(element("span", {}, "no preview"));
    }
  }

  function tileOf(photo) {
    if (photo.tile) return photo.tile;
    const name = photo.file.name;
    const pick = element(
      "button",
      { type: "button", className: "tile-pick", title: photo.path, tabIndex: -1 },
      element("span", { className: "tile-frame" }),
    );
    pick.dataset.pick = "";
    const away = element("button", { type: "button", className: "tile-away", tabIndex: -1, title: "Remove" }, "×");
    away.setAttribute("aria-label", `Remove ${name}`);
    const why = element("p", { className: "tile-why" });
    const tile = element("li", { className: "tile" }, pick, away, why);
    tile.photo = photo;
    pick.addEventListener("click", (event) => toggle(photo, event.shiftKey));
    away.addEventListener("click", () => remove([photo]));
    photo.tile = tile;
    seen.observe(tile);
    return tile;
  }

  function showTile(photo) {
    const tile = tileOf(photo);
    const pick = tile.querySelector(".tile-pick");
    pick.setAttribute("aria-pressed", String(selected.has(photo)));
    pick.setAttribute("aria-label", photo.why ? `${photo.file.name}: ${photo.why}` : photo.file.name);
    tile.classList.toggle("is-refused", Boolean(photo.why));
    tile.querySelector(".tile-why").textContent = photo.why ?? "";
    return tile;
  }

  // --- choosing, naming, removing

  let anchor = null;

  function toggle(photo, isRange) {
    const list = photos.filter((one) => one.label === photo.label);
    if (isRange && anchor && list.includes(anchor)) {
      const [from, to] = [list.indexOf(anchor), list.indexOf(photo)].sort((a, b) => a - b);
      list.slice(from, to + 1).forEach((one) => selected.add(one));
    } else if (!selected.delete(photo)) {
      selected.add(photo);
    }
    anchor = photo;
    render();
  }

  function name(chosen, text) {
    const label = spelled(text.replace(/\s+/g, " "), chosen);
    if (label === null) return false;
    for (const one of chosen) {
      one.label = label;
      one.why = null;
    }
    selected.clear();
    changed();
    render();
    return true;
  }

  function remove(gone) {
    const set = new Set(gone);
    const at = photos.findIndex((one) => set.has(one));
    const hadFocus = gone.some((one) => one.tile?.contains(document.activeElement));
    for (const one of gone) {
      selected.delete(one);
      one.tile?.remove();
    }
    photos = photos.filter((one) => !set.has(one));
    changed();
    render();
    if (hadFocus) (photos[Math.min(at, photos.length - 1)]?.tile?.querySelector(".tile-pick") ?? learnButton).focus();
  }

  function changed() {
    sendKey = null;
    othersButton.hidden = true;
    learnButton.hidden = false;
  }

  // --- showing

  function groupBox(label) {
    if (groups.has(label)) return groups.get(label);
    const id = `class-${groups.size + 1}`;
    const input = element("input", {
      type: "text", id, className: "group-name", maxLength: 128, value: label ?? "", autocomplete: "off",
    });
    input.setAttribute("list", "teach-names");
    input.dataset.groupName = "";
    const box = element(
      "section",
      { className: `panel group${label === null ? " is-unnamed" : ""}` },
      element(
        "div",
        { className: "group-head" },
        element("label", { htmlFor: id }, label === null ? "What do these photos show?" : "Class"),
        input,
        ...(label === null ? [element("button", { type: "button", className: "group-do" }, "Name them")] : []),
        element("p", { className: "group-count small muted" }),
        element("button", { type: "button", className: "plain group-away" }, "Remove all"),
      ),
      element("ul", { className: "tiles" }),
      element("button", { type: "button", className: "compact group-more", hidden: true }),
    );
    const members = () => photos.filter((one) => one.label === label);
    const chosen = () => {
      const some = members().filter((one) => selected.has(one));
      return label === null && some.length ? some : members();
    };
    const rename = () => {
      const text = input.value;
      if (isShowing || text === (label ?? "")) return;
      input.value = label ?? "";
      name(chosen(), text);
    };
    input.addEventListener("change", rename);
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      rename();
      if (label === null) (groupsBox.querySelector(".is-unnamed .group-name") ?? learnButton).focus();
    });
    box.querySelector(".group-do")?.addEventListener("click", () => (input.value.trim() ? rename() : input.focus()));
    box.querySelector(".group-away").addEventListener("click", () => remove(members()));
    box.querySelector(".group-more").addEventListener("click", () => {
      open.add(label);
      render();
    });
    box.querySelector(".tiles").addEventListener("keydown", steer);
    groups.set(label, box);
    return box;
  }

  // One photo of each class is on the way of the tab key; arrows go to the others.
  function steer(event) {
    const tile = event.target.closest(".tile");
    if (!tile) return;
    if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      remove(selected.has(tile.photo) ? [...selected] : [tile.photo]);
      return;
    }
    const tiles = [...tile.parentElement.children];
    const at = tiles.indexOf(tile);
    const row = tiles.filter((one) => one.offsetTop === tiles[0].offsetTop).length;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: row, ArrowUp: -row, Home: -at, End: tiles.length - 1 - at };
    const next = tiles[at + step[event.key]];
    if (!next) return;
    event.preventDefault();
    tile.querySelector(".tile-pick").tabIndex = -1;
    next.querySelector(".tile-pick").tabIndex = 0;
    next.querySelector(".tile-pick").focus();
  }

  function groupNote(label, list) {
    if (label === null) {
      const some = list.filter((one) => selected.has(one)).length;
      if (some) return `${some} of ${photosOf(list.length)}: the selected ones get the name`;
      return `${photosOf(list.length)}; to name only some, select them first`;
    }
    if (knownNames.has(look(label))) return `${photosOf(list.length)}, added to the class that it knows`;
    const missing = facts.minImages - list.length;
    if (missing > 0) return `${photosOf(list.length)}: a new class needs ${missing} more`;
    return photosOf(list.length);
  }

  const tooFew = (label, list) =>
    label !== null && list.length < facts.minImages && !knownNames.has(look(label));

  function sorted() {
    const byLabel = new Map();
    for (const one of photos) {
      if (!byLabel.has(one.label)) byLabel.set(one.label, []);
      byLabel.get(one.label).push(one);
    }
    return new Map([...byLabel].sort(([a], [b]) => (a !== null) - (b !== null)));
  }

  function render() {
    if (isShowing) return;
    isShowing = true;
    show();
    isShowing = false;
  }

  function show() {
    const focused = document.activeElement;
    const byLabel = sorted();
    for (const [label, box] of groups) {
      if (byLabel.has(label)) continue;
      box.remove();
      groups.delete(label);
      open.delete(label);
    }
    const boxes = [];
    for (const [label, list] of byLabel) {
      const box = groupBox(label);
      const first = [...list].sort((a, b) => Boolean(b.why) - Boolean(a.why));
      const shown = open.has(label) ? first : first.slice(0, MOST_SHOWN);
      const tiles = box.querySelector(".tiles");
      const made = shown.map(showTile);
      if (made.length !== tiles.children.length || made.some((tile, at) => tiles.children[at] !== tile)) {
        tiles.replaceChildren(...made);
      }
      if (!tiles.querySelector('.tile-pick[tabindex="0"]') && made.length) made[0].querySelector(".tile-pick").tabIndex = 0;
      const note = box.querySelector(".group-count");
      note.textContent = groupNote(label, list);
      note.classList.toggle("few", tooFew(label, list));
      const more = box.querySelector(".group-more");
      more.hidden = shown.length === list.length;
      more.textContent = `Show ${list.length - shown.length} more`;
      boxes.push(box);
    }
    if (boxes.some((box, at) => groupsBox.children[at] !== box)) groupsBox.replaceChildren(...boxes);
    drop.classList.toggle("is-small", photos.length > 0);
    plain.hidden = photos.length > 0;
    bar.hidden = photos.length === 0;
    showBar(byLabel);
    offerNames(byLabel);
    if (focused?.isConnected && focused !== document.activeElement) focused.focus();
  }

  function showBar(byLabel) {
    find("selected").hidden = selected.size === 0;
    find("selected-count").textContent = `${selected.size.toLocaleString("en")} selected`;
    const unnamed = byLabel.get(null)?.length ?? 0;
    const few = [...byLabel].find(([label, list]) => tooFew(label, list));
    const classes = byLabel.size - (unnamed ? 1 : 0);
    const bytes = photos.reduce((sum, one) => sum + one.file.size, 0);
    let text = `${photosOf(photos.length)} in ${counted(classes, "class", "classes")}`;
    let isReady = true;
    const marked = photos.filter((one) => one.why).length;
    if (marked) {
      text = `${photosOf(marked)} cannot be used: ${marked === 1 ? "it is" : "they are"} marked, with the reason.`;
    } else if (unnamed) {
      text = `${photosOf(unnamed)} ${unnamed === 1 ? "has" : "have"} no class yet. Name or remove ${unnamed === 1 ? "it" : "them"}.`;
      isReady = false;
    } else if (few) {
      text = `“${few[0]}” has ${photosOf(few[1].length)}: add ${facts.minImages - few[1].length} more, or remove it.`;
      isReady = false;
    } else if (photos.length > facts.mostImages || bytes > facts.mostBytes) {
      text = `That is more than can be sent at once: ${photosOf(facts.mostImages)}, ${Math.floor(facts.mostBytes / 1e6)} MB.`;
      isReady = false;
    } else if (classes === 1 && knownNames.size === 0) {
      text += ". With one class alone every photo is answered with it: add another";
    }
    if (!isSending) summary.textContent = text;
    learnButton.textContent = photos.length ? `Learn ${photosOf(photos.length)}` : "Learn";
    learnButton.disabled = !isReady || isSending;
  }

  function offerNames(byLabel) {
    const all = new Set([...facts.known, ...byLabel.keys()]);
    all.delete(null);
    if (names.children.length === all.size && [...names.children].every((one) => all.has(one.value))) return;
    names.replaceChildren(...[...all].map((one) => element("option", { value: one })));
  }

  // --- learning

  function formOf() {
    const form = new FormData();
    const manifest = new Map();
    for (const one of photos) {
      const clean = one.file.name.toWellFormed?.() ?? one.file.name;
      const base = clean.replace(/["\r\n\\/]/g, "_");
      let sent = base;
      for (let n = 2; manifest.has(sent); n++) sent = `(${n}) ${base}`;
      manifest.set(sent, { label: one.label, split: one.split });
      form.append("images", one.file, sent);
    }
    form.append("manifest", JSON.stringify(Object.fromEntries(manifest)));
    return form;
  }

  function newKey() {
    return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  function post(skip) {
    return new Promise((done, fail) => {
      const request = new XMLHttpRequest();
      request.open("POST", skip ? `${target}?skip=true` : target);
      request.setRequestHeader("Accept", "application/json");
      request.setRequestHeader("Idempotency-Key", sendKey);
      request.responseType = "json";
      request.upload.addEventListener("progress", (event) => {
        const share = event.lengthComputable ? event.loaded / event.total : 0;
        progress.value = share;
        summary.textContent = share < 1 ? `Uploading: ${Math.floor(100 * share)}%` : "Looking through the photos …";
      });
      request.addEventListener("load", () => done(request));
      request.addEventListener("error", () => fail(new Error("lost")));
      request.send(formOf());
    });
  }

  async function learn(skip) {
    if (isSending || !photos.length) return;
    isSending = true;
    notices.replaceChildren();
    sendKey ??= newKey();
    app.classList.add("is-sending");
    othersButton.hidden = true;
    learnButton.hidden = false;
    progress.hidden = false;
    progress.value = 0;
    summary.textContent = "Uploading …";
    showBar(sorted());
    let request = null;
    try {
      request = await post(skip);
    } catch {
      say("The connection was lost. Nothing is learned twice: press Learn again.", { isBad: true });
    }
    if (request?.status === 202) {
      window.onbeforeunload = null;
      window.location.assign(`${window.location.pathname}?task=${request.response.id}`);
      return;
    }
    isSending = false;
    app.classList.remove("is-sending");
    progress.hidden = true;
    if (request) refused(request);
    else render();
  }

  function refused(request) {
    const told = request.response ?? {};
    sendKey = null;
    if (request.status === 401) {
      say("Your login has ended. Log in again in another tab, then press Learn here.", { isBad: true });
      render();
      return;
    }
    for (const one of photos) one.why = null;
    const pictures = told.pictures ?? [];
    const here = pictures.filter((one) => one.index !== null && photos[one.index]);
    for (const one of here) photos[one.index].why = one.reason;
    const others = pictures.filter((one) => !here.includes(one));
    const details = others.map((one) => `${one.label ?? one.filename ?? "One photo"}: ${one.reason}`);
    say(told.notice ?? "That did not work. Try it again in a moment.", { isBad: true, details });
    const left = photos.length - here.length;
    if (["images-rejected", "label-conflict"].includes(told.code) && left > 0) {
      othersButton.textContent = here.length ? `Learn the other ${left.toLocaleString("en")}` : "Learn the others";
      othersButton.hidden = false;
      learnButton.hidden = true; // It would be refused again, until something is changed.
    }
    render();
    groupsBox.querySelector(".is-refused")?.scrollIntoView({ block: "center" });
  }

  // --- what is pressed

  const isTouched = window.matchMedia("(pointer: coarse)").matches;
  if (isTouched) {
    drop.querySelector("h2").textContent = "Add photos";
    find('choose="photos"').classList.add("primary");
    find('choose="folder"').classList.remove("primary");
  }
  for (const button of app.querySelectorAll("[data-choose]")) {
    const input = app.querySelector(`[data-input="${button.dataset.choose}"]`);
    if (button.dataset.choose === "folder" && !("webkitdirectory" in input)) button.hidden = true;
    if (button.dataset.choose === "shot") button.hidden = !isTouched;
    button.addEventListener("click", () => input.click());
    input.addEventListener("change", async () => {
      const files = [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
      input.value = "";
      if (files.length) await add(files);
    });
  }
  document.addEventListener("photo-taken", (event) => {
    const { file, label } = event.detail;
    take([{ file, path: file.name, key: file.name, label }]);
    render();
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("is-over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("is-over");
  });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    drop.classList.remove("is-over");
    if (!isSending) await add(await dropped(event.dataTransfer));
  });
  find("move").addEventListener("click", () => {
    if (name([...selected], moveInput.value)) moveInput.value = "";
    else moveInput.focus();
  });
  moveInput.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    find("move").click();
  });
  find("remove").addEventListener("click", () => remove([...selected]));
  find("none").addEventListener("click", () => {
    selected.clear();
    render();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !selected.size) return;
    selected.clear();
    render();
  });
  learnButton.addEventListener("click", () => learn(false));
  othersButton.addEventListener("click", () => learn(true));
  window.addEventListener("pageshow", (event) => {
    if (event.persisted && isSending) window.location.reload(); // Somebody went back to what was sent.
  });
  window.onbeforeunload = (event) => {
    if (photos.length) event.preventDefault();
  };

  app.hidden = false;
  plain.querySelector("[data-one-class]").hidden = true;
  plain.classList.remove("grid-2");
})();
