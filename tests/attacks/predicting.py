"""Predicts one picture after another and writes when it asked, what came, how soon and why; for `neighbour.py`.

A process of its own, of the standard library alone: a thread beside the attackers would measure their interpreter.
Reads one line of JSON: host, port, path, headers, image (base64), every_s and timeout_s. Runs until it is killed.
"""

import base64
import http.client
import json
import sys
import threading
import time


def main() -> None:
    """Ask until killed."""
    order = json.loads(sys.stdin.readline())
    image = base64.b64decode(order["image"])
    connection = http.client.HTTPConnection(
        order["host"], order["port"], timeout=order["timeout_s"]
    )
    pause = threading.Event()
    while True:
        asked = time.monotonic()
        why = ""
        try:
            connection.request("POST", order["path"], body=image, headers=order["headers"])
            answer = connection.getresponse()
            body = answer.read()
            status = answer.status
            if status != http.client.OK:
                why = " ".join(body.decode(errors="replace").split())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            status, why = 0, type(error).__name__
        took_s = time.monotonic() - asked
        sys.stdout.write(f"{asked} {status} {took_s} {why}\n")
        sys.stdout.flush()
        pause.wait(max(0.0, order["every_s"] - took_s))


if __name__ == "__main__":
    main()
