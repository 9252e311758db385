"use strict";
// Sends the bundle with its progress. Without this script the form does the same, and only the browser shows how far.

const form = document.querySelector("[data-import]");
const shown = form.querySelector("[data-progress]");
const button = form.querySelector("button");

function say(phase, note, fraction) {
  shown.hidden = false;
  shown.querySelector("[data-phase]").textContent = phase;
  shown.querySelector("[data-note]").textContent = note;
  const bar = shown.querySelector("progress");
  if (fraction === null) bar.removeAttribute("value");
  else bar.value = fraction;
}

function refuse(sentence) {
  const notice = document.createElement("p");
  notice.className = "notice notice-bad";
  notice.setAttribute("role", "alert");
  notice.textContent = sentence;
  document.querySelector("[data-notices]").replaceChildren(notice);
  shown.hidden = true;
  button.disabled = false;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  document.querySelector("[data-notices]").replaceChildren();
  button.disabled = true;
  say("uploading", "", 0);
  const request = new XMLHttpRequest();
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    say("uploading", `${(loaded / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`, total ? loaded / total : 0);
  });
  request.upload.addEventListener("load", () => say("checking it, and loading it once", "", null));
  request.addEventListener("load", () => {
    const answer = new DOMParser().parseFromString(request.responseText, "text/html");
    if (request.status < 400) location.assign(request.responseURL);
    else refuse((answer.querySelector("[role=alert], main p") || answer.body).textContent.trim());
  });
  request.addEventListener("error", () => refuse("The bundle did not arrive: is the service still there? Try again."));
  request.open("POST", form.action);
  request.setRequestHeader("Accept", "text/html");
  request.send(new FormData(form));
});
