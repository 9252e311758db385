// Sends an image as soon as it is chosen or dropped. Without JavaScript the form has a button.
"use strict";

(() => {
  const form = document.querySelector("form[data-try]");
  if (!form) return;
  const input = form.querySelector('input[type="file"]');
  const drop = form.querySelector(".drop");
  form.querySelector("button[type=submit]").classList.add("visually-hidden");

  input.addEventListener("change", () => {
    if (input.files.length) form.requestSubmit();
  });
  for (const kind of ["dragenter", "dragover"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("is-over");
    });
  }
  for (const kind of ["dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.remove("is-over");
    });
  }
  drop.addEventListener("drop", (event) => {
    if (!event.dataTransfer.files.length) return;
    input.files = event.dataTransfer.files;
    form.requestSubmit();
  });
})();
