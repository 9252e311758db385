// A live camera on the page that teaches, where the browser has one and lets a page use it.
"use strict";

(() => {
  const button = document.querySelector("[data-camera]");
  const panel = document.querySelector("[data-camera-panel]");
  if (!button || !panel) return;
  const video = panel.querySelector("video");
  const label = document.getElementById("camera-label");
  const said = panel.querySelector("[data-said]");
  let stream = null;
  let taken = 0;

  async function offer() {
    if (!window.isSecureContext) {
      document.querySelector("[data-camera-why]").hidden = false;
      return;
    }
    const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
    button.hidden = !devices.some((device) => device.kind === "videoinput");
  }

  async function start() {
    panel.hidden = false;
    said.textContent = "";
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
      video.srcObject = stream;
      await video.play();
      label.focus();
    } catch {
      said.textContent = "The camera cannot be used: allow it in the browser, and close other programs that use it.";
    }
  }

  function stop() {
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    video.srcObject = null;
    panel.hidden = true;
    button.focus();
  }

  function shoot() {
    if (!video.videoWidth) return;
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => {
      taken += 1;
      const file = new File([blob], `camera-${Date.now()}-${taken}.jpg`, { type: "image/jpeg" });
      const detail = { file, label: label.value.trim() || null };
      document.dispatchEvent(new CustomEvent("photo-taken", { detail }));
      said.textContent = `${taken} taken`;
    }, "image/jpeg", 0.92);
  }

  button.addEventListener("click", start);
  panel.querySelector("[data-close]").addEventListener("click", stop);
  panel.querySelector("[data-shoot]").addEventListener("click", shoot);
  label.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    shoot();
  });
  window.addEventListener("pagehide", () => stream && stop());
  offer();
})();
