// Marks a suggested text, so that typing replaces it.
"use strict";

document.querySelector("[data-select]")?.select();
