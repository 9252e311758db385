"""Predicts one picture after another and writes when it asked, what came and how soon; for `neighbour.py`.

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
        try:
            connection.request("POST", order["path"], body=image, headers=order["headers"])
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException):
            connection.close()
            status = 0
        took_s = time.monotonic() - asked
        sys.stdout.write(f"{asked} {status} {took_s}\n")
        sys.stdout.flush()
        pause.wait(max(0.0, order["every_s"] - took_s))


if __name__ == "__main__":
    main()
