"""Rows 70 to 91: JSON and labels."""

import unicodedata
from functools import partial
from itertools import count

import httpx

from tests.factories import make_image
from tests.service.catalogue.rows import Case, Row, accepted, refused
from tests.service.catalogue.wire import MARKER

LEARNER = {"name": "a", "strategy": "simplecil", "backbone": "tiny"}
PLACES = {
    "learners": "/v1/learners",
    "keys": "/v1/keys",
    "P": "/v1/learners/{learner}/predictions",
    "U": "/v1/learners/{learner}/tasks",
}
_NAMES = count()


def _post(wire, where, body):
    return wire.json("POST", where.format(learner=wire.taught), body)


def malformed(name, body) -> list[Case]:
    """Bytes that are no JSON of ours, wherever JSON is read."""
    return [
        refused(f"{name} {place}", partial(_post, where=where, body=body), "malformed-json")
        for place, where in PLACES.items()
    ]


def invalid(name, body, code="validation", where="/v1/learners", why="") -> Case:
    """JSON that is read, and says something impossible."""
    return refused(name, partial(_post, where=where, body=body), code, why=why)


def _key_twice(wire):
    name = f"twice-{next(_NAMES)}"
    body = f'{{"name": "first", "name": "{name}", "strategy": "simplecil", "backbone": "tiny"}}'
    return wire.json("POST", "/v1/learners", body.encode())


def _last_won(wire, answer):
    assert answer.json()["name"].startswith("twice-")


def _many_keys(n):
    return ("{" + ",".join(f'"k{i}":0' for i in range(n)) + "}").encode()


def labelled(wire, *labels, n=4, learner=None, first=0):
    """Teach a learner images under these labels, one an image."""
    files = [
        ("images", (f"{i}-{j}.png", make_image(f"class {i}", first + j), "image/png"))
        for i in range(len(labels))
        for j in range(n)
    ]
    fields = [label for label in labels for _ in range(n)]
    path = f"/v1/learners/{learner or wire.new_learner()}/tasks"
    return wire.send("POST", path, files=files, data={"labels": fields})


def labelled_in_json(wire, label):
    path = f"/v1/learners/{wire.taught}/tasks"
    return wire.json("POST", path, {"samples": [{"label": label, "image": {"base64": "AAAA"}}]})


def bad_label(name, label, code, why="") -> list[Case]:
    """A label nobody should have, in a form, a manifest and JSON."""
    in_json = "in JSON every wrong field is `validation`, with its pointer"
    return [
        refused(f"U {name}", lambda wire: labelled(wire, label), code, why=why),
        refused(f"J {name}", lambda wire: labelled_in_json(wire, label), "validation", why=in_json),
    ]


def inert_label(label) -> Case:
    """A label that only looks dangerous: it is kept, and comes back as it is."""

    def same(wire, answer):
        assert answer.json()["classes"] == [unicodedata.normalize("NFC", label)]
        learner = answer.json()["learner"]
        history = wire.send("GET", f"/v1/learners/{learner}/accuracy?format=csv")
        assert history.status == httpx.codes.OK
        cells = [cell for line in history.text.splitlines() for cell in line.split(",")]
        assert not any(cell.lstrip('"').startswith(("=", "+", "-", "@", "\t")) for cell in cells)
        task = wire.send("GET", f"/admin/learners/{learner}", headers={"Accept": "text/html"})
        assert "<img src=x" not in task.text

    return accepted(f"U {label[:20]!r}", lambda wire: labelled(wire, label), 202, then=same)


def _composed_and_decomposed(wire):
    return labelled(wire, "caf\u00e9", "cafe\u0301")


def _is_one_class(wire, answer):
    assert answer.json()["classes"] == ["caf\u00e9"]


def _twin_later(twin):
    def send(wire):
        learner = wire.new_learner()
        first = labelled(wire, "Kite", learner=learner)
        assert first.status == httpx.codes.ACCEPTED, first.text
        return labelled(wire, twin, learner=learner, first=9)

    return send


PREDICT = "/v1/learners/{learner}/predictions"
TASK = "/v1/learners/{learner}/tasks"

ROWS: dict[int, Row] = {
    70: (
        "malformed JSON",
        [
            case
            for name, body in {
                "cut": b'{"name": "' + MARKER.encode(),
                "text behind": b"{} " + MARKER.encode(),
                "empty": b"",
                "BOM": b"\xef\xbb\xbf{}",
                "bad UTF-8": b'{"a": "\xff"}',
            }.items()
            for case in malformed(name, body)
        ],
    ),
    71: (
        "NaN and Infinity",
        [
            case
            for word in ("NaN", "Infinity", "-Infinity")
            for case in malformed(word, f'{{"name": {word}}}'.encode())
        ],
    ),
    72: (
        "1e400",
        [
            invalid("learners", b'{"name": "a", "metadata": {"x": 1e400}}'),
            invalid("U", b'{"samples": [], "options": {"eval_fraction": 1e400}}', where=TASK),
            invalid("P", b'{"images": [{"base64": 1e400}]}', where=PREDICT),
        ],
    ),
    73: (
        "lone surrogate",
        [
            *malformed("known field", b'{"name": "\\ud800"}'),
            *malformed("unknown field", b'{"\\ud800": 1}'),
        ],
    ),
    74: (
        "nesting of 100,000",
        [*malformed("lists", b"[" * 100_000), *malformed("objects", b'{"a":' * 100_000)],
    ),
    75: ("integer of 10,000 digits", malformed("", b'{"a":' + b"9" * 10_000 + b"}")),
    76: (
        "large integers",
        [
            *(
                invalid(f"J 2**{bits}", {"version": 2**bits}, where=PREDICT)
                for bits in (31, 63, 70)
            ),
            *(
                refused(
                    f"J alias 2**{bits}",
                    lambda wire, n=2**bits: wire.json(
                        "PUT", f"/v1/learners/{wire.taught}/aliases/live", {"version": n}
                    ),
                    "validation",
                )
                for bits in (31, 63, 70)
            ),
            *(
                refused(
                    f"path 2**{bits}",
                    lambda wire, n=2**bits: wire.send(
                        "GET", f"/v1/learners/{wire.taught}/versions/{n}"
                    ),
                    "validation",
                )
                for bits in (31, 63, 70)
            ),
            *(
                refused(
                    f"query 2**{bits}",
                    lambda wire, n=2**bits: wire.predict(make_image(), query=f"?version={n}"),
                    "validation",
                )
                for bits in (31, 63, 70)
            ),
        ],
    ),
    77: (
        "key twice",
        [accepted("J", _key_twice, 201, then=_last_won, why="documented: the last one counts")],
    ),
    78: (
        "no object",
        [
            invalid(f"{place} {body!r}", body, where=where)
            for place, where in PLACES.items()
            for body in (b"[]", b"null", b'"text"', b"7")
        ],
    ),
    79: (
        "much of it",
        [
            invalid("string of 2 MB", {"name": "x" * 2_000_000}, "body-too-large"),
            invalid("100,000 keys", _many_keys(100_000), "body-too-large"),
            invalid("50,000 keys", _many_keys(50_000)),
            invalid("50,000 keys, P", _many_keys(50_000), where=PREDICT),
        ],
    ),
    80: (
        "names that mean something elsewhere",
        [
            invalid("__proto__", {**LEARNER, "__proto__": {"admin": True}}),
            invalid("constructor", {**LEARNER, "constructor": {}}),
            invalid("$ne", {**LEARNER, "name": {"$ne": None}}),
            invalid("$gt", {**LEARNER, "name": {"$gt": ""}}),
        ],
    ),
    81: (
        "empty label",
        [*bad_label("empty", "", "label-invalid"), *bad_label("spaces", "   ", "label-invalid")],
    ),
    82: (
        "long label",
        [
            *bad_label("129", "x" * 129, "label-too-long"),
            refused(
                "U 10 MB", lambda wire: labelled(wire, "x" * 10_000_000, n=1), "part-too-large"
            ),
            refused(
                "J 10 MB",
                lambda wire: labelled_in_json(wire, "x" * 10_000_000),
                "validation",
                why="JSON with images may have 64 MiB, so it is read, and the label refused",
            ),
        ],
    ),
    83: (
        "control characters",
        [
            case
            for name, c in {"NUL": "\0", "bell": "\a", "line": "\n", "tab": "\t"}.items()
            for case in bad_label(name, f"a{c}b", "label-invalid")
        ],
    ),
    84: (
        "invisible characters",
        [
            case
            for name, c in {"RLO": "\u202e", "ZWSP": "\u200b", "unassigned": "\u0378"}.items()
            for case in bad_label(name, f"a{c}b", "label-invalid")
        ],
    ),
    85: (
        "composed and decomposed",
        [accepted("U", _composed_and_decomposed, 202, then=_is_one_class)],
    ),
    86: (
        "twins",
        [
            refused("case, later", _twin_later("kite"), "label-confusable"),
            refused("full width, later", _twin_later("\uff2bite"), "label-confusable"),
            refused(
                "Kelvin, later",
                _twin_later("\u212aite"),
                "label-known",
                why="normal form C makes the Kelvin sign a K, so it is the same label",
            ),
            refused("at once", lambda wire: labelled(wire, "Kite", "kite"), "label-confusable"),
        ],
    ),
    87: ("markup", [inert_label("<img src=x onerror=alert(1)>")]),
    88: (
        "formulas",
        [
            *map(inert_label, ('=HYPERLINK("http://x")', "+cmd", "-1", "@x")),
            *bad_label("leading tab", "\tx", "label-invalid"),
        ],
    ),
    89: (
        "code",
        [*map(inert_label, ("'; DROP TABLE--", "${7*7}", "{{7*7}}", "%s%n"))],
    ),
    90: (
        "paths",
        [
            *map(inert_label, ("../x", "a/b", "...", "CON")),
            *bad_label("dot", ".", "label-invalid"),
            *bad_label("two dots", "..", "label-invalid"),
        ],
    ),
    91: (
        "other scripts",
        [
            *map(
                inert_label,
                ("\U0001f9a9", "\u0635\u0642\u0631", "\u9dfa", "e" + "\u0300" * 50 + "x"),
            ),
            *bad_label("129 code points", "\u9dfa" * 129, "label-too-long"),
        ],
    ),
}
