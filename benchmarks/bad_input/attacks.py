"""The attacks, each a process of its own: `python -m benchmarks.bad_input.attacks NAME HOST PORT KEY LEARNER`.

They run at the lowest priority and at a fixed rate, so that what neighbours feel comes from the service and not from
the attackers' share of the same cores. Each prints what it was answered, by status, when it is asked to stop.
"""

import json
import os
import signal
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import cycle, repeat

from PIL import Image

from benchmarks.bad_input.attacker import BOUNDARY, FORM, TIMEOUT_S, Attack, Attacker, status_of
from benchmarks.bad_input.cheap import CHEAP
from benchmarks.bad_input.encoding import encoded

GIB = 1024**3
PIECE = bytes(65_536)
CHUNK = b"10000\r\n" + PIECE + b"\r\n"


def _chunked(attacker: Attacker, path: str, kind: str) -> None:
    head = attacker.head(path, f"Content-Type: {kind}", "Transfer-Encoding: chunked")
    attacker.send(head, repeat(CHUNK, 2 * GIB // len(PIECE)))


def _declared(attacker: Attacker, path: str, kind: str, size: int) -> None:
    head = attacker.head(path, f"Content-Type: {kind}", f"Content-Length: {size}")
    attacker.send(head, repeat(PIECE, size // len(PIECE)))


def large_bodies(attacker: Attacker) -> None:
    """Send bodies of two gigabytes, declared and in chunks, in the forms of a prediction and to other routes."""
    _declared(attacker, attacker.predictions, "image/png", 2 * GIB)
    _chunked(attacker, attacker.predictions, "image/png")
    _chunked(attacker, attacker.predictions, "application/json")
    _chunked(attacker, "/v1/learners", "application/json")
    _declared(attacker, attacker.tasks, "application/json", 2 * GIB)


def large_uploads(attacker: Attacker) -> None:
    """Send as large a task as is allowed, as JSON, and in an archive that is none: they are read to their end."""
    _chunked(attacker, attacker.tasks, "application/json")
    head = attacker.head(
        attacker.tasks, "Content-Type: application/zip", "Transfer-Encoding: chunked"
    )
    attacker.send(head, [*repeat(CHUNK, 3000), b"0\r\n\r\n"])


def image_bombs(attacker: Attacker) -> None:
    """Predict one of the bombs, or 64 of them in a form."""
    name, data = next(_BOMBS)
    if name == "form":
        attacker.post(attacker.predictions, FORM, data)
    else:
        attacker.post(attacker.predictions, "image/png", data)


def malformed_forms(attacker: Attacker) -> None:
    """Send one of the broken forms to predictions and to tasks."""
    data = next(_FORMS)
    attacker.post(attacker.predictions, FORM, data)
    attacker.post(attacker.tasks, FORM, data)


def slow_clients(attacker: Attacker) -> None:
    """Open a connection and trickle a byte a second until it is closed."""
    head = attacker.head(attacker.predictions, "Content-Type: image/png", "Content-Length: 5000")
    data = next(_TRICKLES)(head)
    with socket.create_connection((attacker.host, attacker.port), timeout=TIMEOUT_S) as connection:
        with suppress(OSError):
            for at in range(len(data)):
                connection.sendall(data[at : at + 1])
                if attacker.stopping.wait(1.0):
                    break
            else:
                attacker.answers[status_of(connection)] += 1
                return
        attacker.answers["closed"] += 1


def png_of(width: int, height: int) -> bytes:
    """Return a PNG that declares a size and holds 64 rows at most."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(min(width, 4096)) for _ in range(min(height, 64)))
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", zlib.compress(rows)),
            _chunk(b"IEND"),
        ]
    )


def _chunk(kind: bytes, data: bytes = b"") -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def _bombs() -> list[tuple[str, bytes]]:
    small = encoded(Image.new("RGB", (32, 32), "red"), "PNG")
    inflated = zlib.compress(bytes(200_000_000), 9)
    photo = encoded(Image.new("RGB", (5000, 5000), "teal"), "JPEG", progressive=True)
    scan = photo[photo.rindex(b"\xff\xda") : -2]
    singles = [
        png_of(60_000, 60_000),
        png_of(12_000, 12_000),
        png_of(9_000, 9_000),
        png_of(4_294_967_295, 1),
        png_of(1, 100_000),
        png_of(1, 1),
        small[:33] + _chunk(b"zTXt", b"Comment\0\0" + inflated) + small[33:],
        small[:33] + _chunk(b"iCCP", b"x\0\0" + inflated) + small[33:],
        photo[:-2] + 10_000 * scan + photo[-2:],
    ]
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n'
    )
    parts = b"".join(head.encode() + singles[i % 7] + b"\r\n" for i in range(64))
    form = parts + f"--{BOUNDARY}--\r\n".encode()
    return [*(("image", data) for data in singles), ("form", form)]


def _forms() -> list[bytes]:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n'.encode()
    field = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="labels"\r\n\r\nx\r\n'.encode()
    end = f"--{BOUNDARY}--\r\n".encode()
    return [
        head + b"\r\n" + bytes(1000),
        head.replace(b'name="images"; ', b"") + b"\r\n\r\n" + end,
        head + b"X: y\r\n" * 20 + b"\r\n\r\n" + end,
        head + b"X: " + b"y" * 10_000 + b"\r\n\r\n\r\n" + end,
        bytes(1_000_000) + head + end,
        field * 20_100 + end,
        (head + b"\r\nx\r\n") * 2000 + end,
        b"",
    ]


_TRICKLES: Iterator[Callable[[bytes], bytes]] = cycle(
    [
        lambda head: head,
        lambda head: b"GET /livez HTTP/1.1\r\nX-Long: " + b"x" * 100,
        lambda head: b"\r\n" * 100,
    ]
)
_BOMBS = cycle([("image", b"")])
_FORMS = cycle([b""])


ATTACKS = {
    "large_bodies": Attack(
        large_bodies,
        4,
        1,
        "2 GB bodies, declared and in chunks, to predictions, learners and tasks",
    ),
    "large_uploads": Attack(
        large_uploads, 2, 0.5, "uploads of 64 MiB of JSON and 190 MB of archive, read and refused"
    ),
    "image_bombs": Attack(
        image_bombs, 4, 10, "images that would unpack to gigabytes or take hours, ten a second"
    ),
    "slow_clients": Attack(slow_clients, 200, 1000, "200 connections that send a byte a second"),
    "malformed_forms": Attack(malformed_forms, 4, 5, "broken multipart forms, ten a second"),
    **CHEAP,
}


def main() -> None:
    """Attack until SIGTERM, then print the counts as JSON."""
    global _BOMBS, _FORMS
    os.nice(19)
    name, host, port, key, learner = sys.argv[1:]
    attack = ATTACKS[name]
    if name == "image_bombs":
        _BOMBS = cycle(_bombs())
    if name == "malformed_forms":
        _FORMS = cycle(_forms())
    attacker = Attacker(host, int(port), key, learner)
    signal.signal(signal.SIGTERM, lambda number, frame: attacker.stopping.set())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    threads = [
        threading.Thread(target=_go_on, args=(attacker, attack), daemon=True)
        for _ in range(attack.n_threads)
    ]
    for thread in threads:
        thread.start()
        time.sleep(1 / max(attack.per_s, attack.n_threads))
    while not attacker.stopping.wait(1.0):
        pass
    for thread in threads:
        thread.join(2.0)
    sys.stdout.write(json.dumps(attacker.answers) + "\n")
    sys.stdout.flush()


def _go_on(attacker: Attacker, attack: Attack) -> None:
    pause = attack.n_threads / attack.per_s
    while not attacker.stopping.is_set():
        started = time.monotonic()
        try:
            attack.act(attacker)
        except OSError as error:
            attacker.answers[type(error).__name__] += 1
        attacker.stopping.wait(max(0.0, pause - (time.monotonic() - started)))


if __name__ == "__main__":
    main()
