"use strict";
// Sends the form of one operation and shows the answer. The key stays in this page.
for (const form of document.querySelectorAll("form[data-path]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const output = form.querySelector("output");
    output.textContent = "…";
    try {
      const { url, options } = requestOf(form);
      const answer = await fetch(url, options);
      const kind = answer.headers.get("content-type") || "";
      const text = /json|text/.test(kind) ? await answer.text() : `${kind}, ${(await answer.blob()).size} bytes`;
      output.textContent = `${answer.status} ${answer.statusText}\n${pretty(text)}`;
    } catch (error) {
      output.textContent = String(error);
    }
  });
}

function requestOf(form) {
  const query = new URLSearchParams();
  const headers = {};
  let path = form.dataset.path;
  for (const input of form.querySelectorAll("input[data-in]")) {
    if (input.dataset.in === "path") path = path.replace(`{${input.name}}`, encodeURIComponent(input.value));
    else if (input.value && input.dataset.in === "query") query.append(input.name, input.value);
    else if (input.value && input.dataset.in === "header") headers[input.name] = input.value;
  }
  const key = document.getElementById("key").value.trim();
  if (key) headers.Authorization = `Bearer ${key}`;
  const options = { method: form.dataset.method, headers };
  const kind = form.querySelector("select");
  if (kind) options.body = bodyOf(form, kind.value, headers);
  return { url: query.size ? `${path}?${query}` : path, options };
}

function bodyOf(form, kind, headers) {
  const files = [...form.querySelector("input[type=file]").files];
  if (kind === "multipart/form-data") {
    const data = new FormData();
    for (const file of files) data.append("images", file);
    const text = form.querySelector("textarea").value.trim();
    if (text) for (const [name, value] of Object.entries(JSON.parse(text))) {
      for (const item of [value].flat()) data.append(name, typeof item === "object" ? JSON.stringify(item) : item);
    }
    return data;
  }
  if (kind === "application/json") {
    headers["Content-Type"] = kind;
    return form.querySelector("textarea").value;
  }
  headers["Content-Type"] = kind.includes("*") ? (files[0] || {}).type || "image/png" : kind;
  return files[0];
}

function pretty(text) {
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}
