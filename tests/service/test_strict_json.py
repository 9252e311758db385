"""What JSON is refused."""

import pytest

from service.problems import Problem
from service.strict_json import parse_json


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "malformed-json"),
        (b"", "malformed-json"),
        (b"{} x", "malformed-json"),
        (b"\xef\xbb\xbf{}", "malformed-json"),
        (b'{"a": "\xff"}', "malformed-json"),
        (b'{"a": NaN}', "malformed-json"),
        (b'{"a": -Infinity}', "malformed-json"),
        (b'{"a": "\\ud800"}', "malformed-json"),
        (b"[" * 100_000, "malformed-json"),
        (b"1" * 10_000, "malformed-json"),
        (b'{"a": 1e400}', "validation"),
        (b'{"a": ["\\u0000"]}', "validation"),
        (b'{"a\\u0000": 1}', "validation"),
    ],
)
def test_json_that_breaks_things_later_is_refused(body, code):
    with pytest.raises(Problem) as caught:
        parse_json(body)
    assert caught.value.code == code
