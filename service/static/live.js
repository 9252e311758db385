// Moves the progress of tasks that are being learned, and loads the page anew when one has ended.
"use strict";

(() => {
  const POLL_MS = 1000;
  const SLOW_MS = 5000;
  const holder = document.querySelector("[data-live]");
  if (!holder) return;
  const before = new Map(Object.entries(JSON.parse(holder.dataset.known)));

  function show(task) {
    for (const row of document.querySelectorAll(`[data-task="${CSS.escape(task.id)}"]`)) {
      const bar = row.querySelector("progress");
      const phase = row.querySelector("[data-phase]");
      const note = row.querySelector("[data-note]");
      if (bar) bar.value = task.fraction;
      if (phase) phase.textContent = task.phase;
      if (note) note.textContent = task.note;
    }
  }

  async function poll() {
    if (document.hidden) return SLOW_MS;
    const answer = await fetch(holder.dataset.live, { headers: { Accept: "application/json" } });
    if (answer.status === 401) {
      window.location.reload();
      return SLOW_MS;
    }
    if (!answer.ok) return SLOW_MS;
    const { tasks } = await answer.json();
    const isSame = tasks.length === before.size && tasks.every((task) => before.get(task.id) === task.status);
    if (!isSame) {
      window.location.reload();
      return SLOW_MS;
    }
    tasks.forEach(show);
    return tasks.length ? POLL_MS : SLOW_MS;
  }

  async function loop() {
    let wait = SLOW_MS;
    try {
      wait = await poll();
    } catch {
      wait = SLOW_MS; // The service is restarting; look again later.
    }
    window.setTimeout(loop, wait);
  }

  window.setTimeout(loop, POLL_MS);
})();
