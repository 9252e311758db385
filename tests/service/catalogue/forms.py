"""Rows 51 to 69: multipart forms and file names."""

from functools import partial
from itertools import chain, repeat

from tests.factories import make_image
from tests.service.catalogue.rows import Row, accepted, refused
from tests.service.catalogue.wire import MARKER

BOUNDARY = "----b"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
END = f"--{BOUNDARY}--\r\n".encode()


def field(name, value=b"x", extra=b""):
    """Return one part that is no file."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n'.encode()
    return head + extra + b"\r\n" + value + b"\r\n"


def file(filename=b'filename="a.png"', data=None, name="images"):
    """Return one part that is a file; `filename` is the parameter as it stands in the header."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; '.encode()
    return head + filename + b"\r\n\r\n" + (make_image() if data is None else data) + b"\r\n"


IMAGE = file()
LABEL = field("labels", b"heron")
GOOD = [file(data=make_image("heron", i)) for i in range(4)]


def on_both(name, body, kind, code, why="") -> list:
    """The same form as a prediction and as a task."""
    return [
        refused(f"P {name}", lambda wire: wire.predict_form(body, kind), code, why=why),
        refused(f"U {name}", lambda wire: wire.upload_form(LABEL + body, kind), code, why=why),
    ]


def learned_from(name, *parts) -> list:
    """A form with odd parts that is learned from."""
    body = b"".join([*GOOD, *parts, LABEL, END])
    return [accepted(name, lambda wire: wire.upload_form(body, FORM), 202, then=_names_are_bare)]


def _names_are_bare(wire, answer):
    """No stored file name holds a folder, a control character, or more than 255 characters."""
    task = answer.json()["id"]
    for sample in wire.send("GET", f"/v1/tasks/{task}/samples").json()["items"]:
        name = sample["filename"]
        assert name is None or (len(name) <= 255 and not set(name) & set("/\\\0\r\n")), name


def _not_smuggled(wire, answer):
    _names_are_bare(wire, answer)
    task = answer.json()["id"]
    names = [s["filename"] for s in wire.send("GET", f"/v1/tasks/{task}/samples").json()["items"]]
    assert MARKER not in str(names)


def _names(pointer):
    """Return a check that the answer names a field."""

    def check(wire, answer):
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]

    return check


def _of_many(parts):
    return lambda wire: wire.upload_form(chain(parts, [END]), FORM)


def _sent_as(wire, where, kind):
    path = where.format(learner=wire.taught)
    return wire.send("POST", path, content=MARKER.encode(), headers={"Content-Type": kind})


MULTIPART = "malformed-multipart"
ONE_CODE = "one code for one limit: 413, as for every other count"
NAMES = {
    "../../etc/passwd": b'filename="../../etc/passwd"',
    "/etc/passwd": b'filename="/etc/passwd"',
    "C:\\x": b'filename="C:\\x"',
    "NUL": b'filename="a\0b.png"',
    "escaped line break": b'filename="a%0d%0ab.png"',
    "5,000 characters": b'filename="' + b"x" * 3800 + b'"',
    "bad UTF-8": b'filename="\xff\xfe.png"',
    "empty": b'filename=""',
}

ROWS: dict[int, Row] = {
    51: ("no boundary", on_both("", IMAGE + END, "multipart/form-data", MULTIPART)),
    52: (
        "bad boundaries",
        [
            *on_both("empty", IMAGE + END, "multipart/form-data; boundary=", MULTIPART),
            *on_both("300 B", IMAGE + END, "multipart/form-data; boundary=" + "x" * 300, MULTIPART),
            *on_both("another", IMAGE + END, "multipart/form-data; boundary=other", MULTIPART),
        ],
    ),
    53: (
        "no end",
        [
            *on_both("marker", IMAGE, FORM, MULTIPART),
            *on_both("of the last part", IMAGE[:-30], FORM, MULTIPART),
            *on_both("of anything", b"", FORM, MULTIPART),
        ],
    ),
    54: (
        "only the terminator",
        [
            refused("P", lambda wire: wire.predict_form(END, FORM), "missing-image"),
            refused("U", lambda wire: wire.upload_form(END, FORM), "missing-image"),
        ],
    ),
    55: (
        "part without a name",
        on_both("", IMAGE.replace(b'name="images"; ', b"") + END, FORM, MULTIPART),
    ),
    56: (
        "headers in a part",
        [
            *on_both(
                "20",
                IMAGE.replace(b"\r\n\r\n", b"\r\n" + b"X: y\r\n" * 20 + b"\r\n", 1) + END,
                FORM,
                MULTIPART,
            ),
            *on_both(
                "10 KB",
                IMAGE.replace(b"\r\n\r\n", b"\r\nX: " + b"y" * 10_000 + b"\r\n\r\n", 1) + END,
                FORM,
                MULTIPART,
            ),
        ],
    ),
    57: (
        "10 MB of preamble",
        [
            refused(
                "P",
                lambda wire: wire.predict_form(bytes(10_000_000) + b"\r\n" + IMAGE + END, FORM),
                MULTIPART,
            ),
            refused(
                "U",
                lambda wire: wire.upload_form(bytes(10_000_000) + b"\r\n" + IMAGE + END, FORM),
                MULTIPART,
            ),
        ],
    ),
    58: (
        "10 MB of epilogue",
        [
            accepted(
                "P within the limit",
                lambda wire: wire.predict_form(IMAGE + END + bytes(10_000_000), FORM),
                200,
            ),
            refused(
                "P past the limit",
                lambda wire: wire.predict_form(IMAGE + END + bytes(70_000_000), FORM),
                "body-too-large",
            ),
        ],
    ),
    59: (
        "100,000 files",
        [refused("U", _of_many(repeat(IMAGE, 100_000)), "too-many-parts", why=ONE_CODE)],
    ),
    60: (
        "one file more than the limit",
        [
            refused("P", lambda wire: wire.predict_form(IMAGE * 65 + END, FORM), "too-many-parts"),
            refused(
                "U", lambda wire: wire.upload_form(LABEL + IMAGE * 61 + END, FORM), "too-many-parts"
            ),
        ],
    ),
    61: (
        "fields",
        [
            refused(
                "100,000",
                _of_many(repeat(field("labels"), 100_000)),
                "too-many-parts",
                why=ONE_CODE,
            ),
            refused(
                "70 KB",
                lambda wire: wire.upload_form(field("labels", b"x" * 70_000) + END, FORM),
                "part-too-large",
                why="too large is 413 wherever it is",
            ),
            refused(
                "P any",
                lambda wire: wire.predict_form(IMAGE + LABEL + END, FORM),
                "validation",
                then=_names("/labels"),
            ),
        ],
    ),
    62: (
        "file as field, field as file",
        [
            refused(
                "file as field",
                lambda wire: wire.upload_form(field("images") + END, FORM),
                "validation",
            ),
            refused(
                "field as file",
                lambda wire: wire.upload_form(file(name="labels") + END, FORM),
                "validation",
            ),
        ],
    ),
    63: (
        "unknown field",
        [
            refused(
                "U",
                lambda wire: wire.upload_form(field("colour") + IMAGE + END, FORM),
                "validation",
                then=_names("/colour"),
            ),
            refused(
                "U many",
                lambda wire: wire.upload_form(field("colour") * 100 + IMAGE + END, FORM),
                "validation",
                then=_names("/colour"),
            ),
            refused(
                "U odd",
                lambda wire: wire.upload_form(field("a/b\u202e" * 40) + IMAGE + END, FORM),
                "validation",
            ),
            refused(
                "U file",
                lambda wire: wire.upload_form(file(name="colour") + END, FORM),
                "validation",
                then=_names("/colour"),
            ),
            refused(
                "U filename* that cannot be read",
                lambda wire: wire.upload_form(file(b"filename*=koi8-r''%C1.png") + END, FORM),
                "validation",
                then=_names("/images"),
            ),
            refused(
                "J",
                lambda wire: wire.json("POST", "/v1/learners", {"name": "a", "colour": MARKER}),
                "validation",
            ),
        ],
    ),
    64: (
        "missing image, missing label",
        [
            refused(
                "image",
                lambda wire: wire.upload_form(LABEL + END, FORM),
                "missing-image",
                why="a code of its own says more than `validation`",
            ),
            refused("label", lambda wire: wire.upload_form(IMAGE + END, FORM), "validation"),
            refused(
                "one label too few",
                lambda wire: wire.upload_form(IMAGE * 3 + LABEL * 2 + END, FORM),
                "validation",
            ),
        ],
    ),
    65: (
        "wrong content type",
        [
            refused(
                f"{name} {kind}",
                partial(_sent_as, where=where, kind=kind),
                "unsupported-media-type",
            )
            for name, where in (
                ("P", "/v1/learners/{learner}/predictions"),
                ("U", "/v1/learners/{learner}/tasks"),
                ("J", "/v1/learners"),
            )
            for kind in ("text/plain", "", "application/xml", "/", ";", "image")
        ],
    ),
    66: (
        "odd file names",
        [case for name, given in NAMES.items() for case in learned_from(name, file(given))],
    ),
    67: (
        "filename*= smuggling",
        [
            accepted(
                "U",
                lambda wire: wire.upload_form(
                    b"".join(
                        [
                            *GOOD,
                            file(b"filename=\"a.png\"; filename*=UTF-8''..%2f" + MARKER.encode()),
                            LABEL,
                            END,
                        ]
                    ),
                    FORM,
                ),
                202,
                then=_not_smuggled,
            )
        ],
    ),
    68: (
        "JPEG bytes declared as PNG",
        [
            accepted("P", lambda wire: wire.predict(make_image(format="JPEG"), "image/png"), 200),
            accepted("U", lambda wire: wire.upload(make_image(format="JPEG")), 202),
        ],
    ),
    69: (
        "urlencoded body",
        [
            refused(
                "U",
                lambda wire: wire.upload_form(
                    b"a=b&" * 1_000_000, "application/x-www-form-urlencoded"
                ),
                "unsupported-media-type",
            ),
            refused(
                "P",
                lambda wire: wire.predict_form(b"a=b", "application/x-www-form-urlencoded"),
                "unsupported-media-type",
            ),
        ],
    ),
}
