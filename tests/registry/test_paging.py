import base64

import pytest

from registry.errors import InvalidCursorError
from registry.paging import decode_cursor, encode_cursor, page_of


def test_cursor_round_trip():
    assert decode_cursor(encode_cursor("a b", "ü"), 2) == ["a b", "ü"]


def raw(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "%%%",
        "ä",
        "a" * 5000,
        encode_cursor("one"),
        raw('["a", 1]'),
        raw('{"a": 1}'),
        raw('["a", "\\u0000"]'),
        raw("[" * 100_000),
    ],
)
def test_refuses_what_it_did_not_make(cursor):
    with pytest.raises(InvalidCursorError):
        decode_cursor(cursor, 2)


def test_page_of_has_a_cursor_only_if_there_is_more():
    assert page_of([1, 2], 2, lambda n: (str(n),)).next_cursor is None
    page = page_of([1, 2, 3], 2, lambda n: (str(n),))
    assert page.items == [1, 2]
    assert decode_cursor(page.next_cursor, 1) == ["2"]
    assert page_of([], 2, lambda n: (str(n),)).items == []
