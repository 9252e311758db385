"""Somebody at a browser: real clicks, keys and files, each of them counted."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.service.dashboard.browser.chromium import Chromium

KEYS = {
    "Enter": (13, "\r"),
    "Tab": (9, ""),
    "Escape": (27, ""),
    "Delete": (46, ""),
    "ArrowRight": (39, ""),
    "ArrowLeft": (37, ""),
    "ArrowDown": (40, ""),
    " ": (32, " "),
}
"""Codes of keys, and the text that they type."""
CENTRE = """(() => {{
    const element = document.querySelector({selector});
    element.scrollIntoView({{ block: "center" }});
    const box = element.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
}})()"""


class Person:
    """Uses a page by hand. `actions` counts clicks and key presses. Pasting is one, choosing in a file dialog two.

    A folder needs one more: browsers ask whether it is really to be given away.
    """

    def __init__(self, browser: Chromium) -> None:
        self.browser = browser
        self.actions = 0
        browser.send("Page.setInterceptFileChooserDialog", enabled=True)

    def log_in(self, key: str, at: str) -> None:
        """Go to a page with a key, by the form that stands before it."""
        self.browser.send("Network.clearBrowserCookies")
        self.browser.open(at)
        self.browser.evaluate("document.querySelector('#key').focus()")
        self.paste(key)
        self.press("Enter")
        self.browser.wait_until(
            "document.readyState === 'complete' && !document.querySelector('#key')"
        )

    def leave(self) -> None:
        """Close the page, whatever is on it, and leave the browser as it was."""
        self.browser.evaluate("globalThis.onbeforeunload = null")
        self.browser.send("Page.setInterceptFileChooserDialog", enabled=False)
        self.browser.open("about:blank#")

    def click(self, selector: str) -> None:
        """Press and release the mouse in the middle of an element that can be seen."""
        shown = f"document.querySelector({json.dumps(selector)})?.getBoundingClientRect().width > 0"
        self.browser.wait_until(shown)
        x, y = self.browser.evaluate(CENTRE.format(selector=json.dumps(selector)))
        for kind in ("mousePressed", "mouseReleased"):
            self.browser.send(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )
        self.actions += 1

    def press(self, key: str) -> None:
        """Press one key."""
        code, text = KEYS[key]
        event: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": code}
        down = "keyDown" if text else "rawKeyDown"
        self.browser.send("Input.dispatchKeyEvent", type=down, text=text, **event)
        self.browser.send("Input.dispatchKeyEvent", type="keyUp", **event)
        self.actions += 1

    def paste(self, text: str) -> None:
        """Insert text where the cursor is, at once."""
        self.browser.send("Input.insertText", text=text)
        self.actions += 1

    def type(self, text: str) -> None:
        """Insert text where the cursor is, key by key."""
        for character in text:
            self.browser.send("Input.insertText", text=character)
            self.actions += 1

    def choose(self, button: str, field: str, files: Sequence[Path]) -> None:
        """Press what opens a file dialog, choose in it, and confirm."""
        self.click(button)
        self.hand(field, files)

    def hand(self, field: str, files: Sequence[Path]) -> None:
        """Choose in the file dialog that a field has opened, and confirm."""
        found = self.browser.send(
            "Runtime.evaluate", expression=f"document.querySelector({json.dumps(field)})"
        )
        self.browser.send(
            "DOM.setFileInputFiles",
            files=[str(file) for file in files],
            objectId=found["result"]["objectId"],
        )
        self.actions += 2 + any(map(Path.is_dir, files))

    def drop(self, selector: str, files: Sequence[Path]) -> None:
        """Drag files or folders from outside onto an element."""
        x, y = self.browser.evaluate(CENTRE.format(selector=json.dumps(selector)))
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.browser.send("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)
        self.actions += 1
