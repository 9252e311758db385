"""Attacks that cost whoever sends them next to nothing: little is sent, or no key is needed."""

import io
import socket
import struct
import zipfile
from contextlib import ExitStack, suppress
from functools import cache

from PIL import Image

from benchmarks.bad_input.attacker import BOUNDARY, FORM, TIMEOUT_S, Attack, Attacker, status_of
from benchmarks.bad_input.encoding import encoded

KIB, MIB = 1024, 1024 * 1024
LOGIN = "/admin/login"
URLENCODED = "application/x-www-form-urlencoded"
UNREAD_S = 10.0
STATIC = "/admin/static/plotly.min.js"


def empty_forms(attacker: Attacker) -> None:
    """Log in without a key, with forms that are nothing but separators: one of 4 KiB, one of 4 MiB."""
    for size in (4 * KIB, 4 * MIB):
        _login(attacker, size, b"&" * size)


def unfinished_logins(attacker: Attacker) -> None:
    """Log in without a key, with a form of 63 MiB that begins and never goes on."""
    _login(attacker, 63 * MIB, bytes(64 * KIB))


def _login(attacker: Attacker, size: int, data: bytes) -> None:
    head = (
        f"POST {LOGIN} HTTP/1.1\r\nHost: {attacker.host}\r\nSec-Fetch-Site: same-origin\r\n"
        f"Content-Type: {URLENCODED}\r\nContent-Length: {size}\r\n"
    )
    attacker.send(head.encode(), [data])


def large_pictures(attacker: Attacker) -> None:
    """Predict 64 pictures of 25 megapixels that have some kilobytes each, then three of them."""
    attacker.post(attacker.predictions, FORM, _pictures(64))
    attacker.post(attacker.predictions, FORM, _pictures(3))


@cache
def _pictures(count: int) -> bytes:
    data = encoded(Image.new("RGB", (5000, 5000), "teal"), "WEBP", lossless=True)
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="a.webp"\r\n\r\n'
    )
    return (head.encode() + data + b"\r\n") * count + f"--{BOUNDARY}--\r\n".encode()


def field_floods(attacker: Attacker) -> None:
    """Post a task whose form has 20,008 fields of 64 KiB."""
    field = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="labels"\r\n\r\n'.encode()
    field += b"x" * (64 * KIB) + b"\r\n"
    size = 20_008 * len(field)
    head = attacker.head(attacker.tasks, f"Content-Type: {FORM}", f"Content-Length: {size}")
    attacker.send(head, (field for _ in range(20_008)))


def overlapping_zips(attacker: Attacker) -> None:
    """Post a task as a zip whose directory names one entry 3,000 times."""
    attacker.post(attacker.tasks, "application/zip", _overlapping_zip())


@cache
def _overlapping_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("heron/a.png", bytes(700_000))
    one, count = buffer.getvalue(), 3000
    at = one.index(b"PK\x01\x02")
    directory = one[at : one.index(b"PK\x05\x06")] * count
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, len(directory), at, 0)
    return one[:at] + directory + end


def unread_answers(attacker: Attacker) -> None:
    """Ask for the largest file of the pages three times on each of 40 connections, and read nothing."""
    request = f"GET {STATIC} HTTP/1.1\r\nHost: {attacker.host}\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(40):
            connection = socket.create_connection((attacker.host, attacker.port), TIMEOUT_S)
            stack.enter_context(connection)
            with suppress(OSError):
                connection.sendall(3 * request)
        attacker.stopping.wait(UNREAD_S)
        attacker.answers[status_of(connection)] += 1


CHEAP = {
    "empty_forms": Attack(
        empty_forms,
        10,
        50,
        "no key: logins of nothing but separators, 4 KiB and 4 MiB, ten connections",
    ),
    "unfinished_logins": Attack(
        unfinished_logins, 20, 20, "no key: logins of 63 MiB that begin and never go on"
    ),
    "large_pictures": Attack(
        large_pictures,
        3,
        3,
        "64 and 3 pictures of 25 megapixels in a few kilobytes, by another key",
    ),
    "field_floods": Attack(
        field_floods, 2, 1, "uploads of 20,008 fields of 64 KiB, by another key"
    ),
    "overlapping_zips": Attack(
        overlapping_zips, 4, 8, "zips that name one entry 3,000 times, by another key"
    ),
    "unread_answers": Attack(
        unread_answers, 2, 2, "no key: 40 connections that ask for large files and read nothing"
    ),
}
