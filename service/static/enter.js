// Uses a login link for whoever looks at it: not for a page that the browser fetched ahead of its reader.
"use strict";

function enter() {
  history.replaceState(null, "", location.pathname); // the link is spent: nothing to keep or to go back to
  document.getElementById("enter").requestSubmit();
}

if (document.prerendering) {
  document.addEventListener("prerenderingchange", enter, { once: true });
} else {
  enter();
}
