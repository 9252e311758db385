"""Which characters a text may hold that people read: letters and what joins them, symbols, nothing invisible besides.

Joiners are invisible and change how letters are drawn: Persian, Sinhala or Malayalam words are misspelt without them,
and many emoji are several joined. They are welcome where they join something, by a simple form of the contextual
rules of RFC 5892 (appendix A.1 and A.2), and nowhere else. What turns the direction of text around is refused.
"""

import codecs
import re
import unicodedata
from collections.abc import Iterator

_ENCODING = re.compile(
    r"utf-?8|cp\d{3,4}|windows-125\d|iso-?8859-?\d{1,2}|latin-?1|koi8-[ru]|shift[-_]jis|euc[-_](jp|kr)|gbk|gb2312|"
    r"gb18030|big5|mac[-_]roman",
    re.IGNORECASE,
)
"""Encodings that names may be said to have: those that systems really wrote them in."""

_REFUSED = frozenset({"Cc", "Cs", "Cf", "Co", "Cn", "Zl", "Zp"})
_KINDS = {
    "Cc": "a control character",
    "Cs": "half of a surrogate pair",
    "Co": "a private character",
    "Cn": "a character that Unicode does not know",
}
"""What to call a character without a name, by its category."""
_NON_JOINER, _JOINER, _MONGOLIAN_SEPARATOR = "\u200c", "\u200d", "\u180e"
_EMOJI_LOOK = frozenset("\ufe0e\ufe0f")
"""Variation selectors that choose between text and picture."""
_KEYCAP, _BLACK_FLAG, _FLAG_END = "\u20e3", "\U0001f3f4", "\U000e007f"
_JOINING_SCRIPTS = frozenset(
    {
        "ADLAM",
        "ARABIC",
        "BALINESE",
        "BENGALI",
        "DEVANAGARI",
        "GUJARATI",
        "GURMUKHI",
        "HANIFI",
        "JAVANESE",
        "KANNADA",
    }
    | {
        "KHMER",
        "MALAYALAM",
        "MANDAIC",
        "MANICHAEAN",
        "MONGOLIAN",
        "MYANMAR",
        "NEWA",
        "NKO",
        "ORIYA",
        "PHAGS-PA",
    }
    | {"SINHALA", "SOGDIAN", "SYRIAC", "TAMIL", "TELUGU", "TIBETAN"}
)
"""First words of the names of letters that are drawn otherwise beside others, or make conjuncts."""
_VIRAMA = 9
"""Canonical combining class of the signs that take a consonant's vowel away."""


def unfit(text: str) -> Iterator[int]:
    r"""Yield the positions of the characters that a text must not hold: invisible ones, and joiners that join nothing.

    Example:
        >>> list(unfit("a\u202eb")), list(unfit("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"))
        ([1], [])
    """
    return (i for i, character in enumerate(text) if not _is_fit(text, i, character))


def is_readable(character: str) -> bool:
    """Return whether a character can stand somewhere in a text, judged without its neighbours."""
    is_joining = character in (_NON_JOINER, _JOINER, _MONGOLIAN_SEPARATOR) or _is_tag(character)
    return is_joining or unicodedata.category(character) not in _REFUSED


def is_hidden(character: str) -> bool:
    """Return whether a character is of a kind that is never drawn, or that nobody knows."""
    return unicodedata.category(character) in _REFUSED


def describe(character: str) -> str:
    r"""Return what to call a character that cannot be shown.

    Example:
        >>> describe("\u202e"), describe("\a")
        ('U+202E RIGHT-TO-LEFT OVERRIDE', 'U+0007, a control character')
    """
    name = unicodedata.name(character, "")
    kind = _KINDS.get(unicodedata.category(character), "an invisible character")
    return f"U+{ord(character):04X} {name}" if name else f"U+{ord(character):04X}, {kind}"


def spell_out(text: str) -> str:
    r"""Return a text with what must not be in it written as its number, safe to print.

    Example:
        >>> spell_out("a\u202eb\x1b[1m")
        'a<U+202E>b<U+001B>[1m'
    """
    refused = set(unfit(text))
    return "".join(f"<U+{ord(c):04X}>" if i in refused else c for i, c in enumerate(text))


def _is_fit(text: str, i: int, character: str) -> bool:
    if character in _EMOJI_LOOK:
        return _category(text, i - 1)[0] in "SPN" or text[i - 1 : i] == "\u2139"
    if _is_selector(character):
        return _category(text, i - 1)[0] in "LNSP"
    if _is_tag(character):
        return _is_in_flag(text, i)
    if character in (_NON_JOINER, _JOINER, _MONGOLIAN_SEPARATOR):
        return _joins_letters(text, i) or (character == _JOINER and _joins_symbols(text, i))
    return unicodedata.category(character) not in _REFUSED


def _joins_letters(text: str, i: int) -> bool:
    """Whether a joiner stands after a virama, or within a word of a script that uses joiners."""
    if i and unicodedata.combining(text[i - 1]) == _VIRAMA:
        return True
    script = _script(text, i + 1)
    before = i - 1
    while before >= 0 and _category(text, before)[0] == "M":
        before -= 1
    is_word = _category(text, before)[0] == "L" and _category(text, i + 1)[0] in "LM"
    return is_word and script in _JOINING_SCRIPTS and script == _script(text, before)


def _joins_symbols(text: str, i: int) -> bool:
    before = text[i - 1 : i]
    is_after_symbol = _category(text, i - 1) in ("So", "Sk", "Sm") or before in {
        *_EMOJI_LOOK,
        _KEYCAP,
        _FLAG_END,
    }
    return is_after_symbol and bool(before) and _category(text, i + 1) in ("So", "Sm")


def _is_in_flag(text: str, i: int) -> bool:
    """Whether a tag belongs to a black flag and a row of tags that ends, the emoji of a region such as Scotland."""
    first = i
    while first > 0 and _is_tag(text[first - 1]) and text[first - 1] != _FLAG_END:
        first -= 1
    last = i
    while last + 1 < len(text) and _is_tag(text[last + 1]) and text[last] != _FLAG_END:
        last += 1
    return text[first - 1 : first] == _BLACK_FLAG and text[last] == _FLAG_END and last > first


def _is_tag(character: str) -> bool:
    return "\U000e0030" <= character <= "\U000e0039" or "\U000e0061" <= character <= _FLAG_END


def _is_selector(character: str) -> bool:
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"


def _category(text: str, i: int) -> str:
    """Return the category of a character of the text; outside of it, that of a space."""
    return unicodedata.category(text[i]) if 0 <= i < len(text) else "Zs"


def _script(text: str, i: int) -> str:
    return unicodedata.name(text[i], " ").split(" ")[0] if 0 <= i < len(text) else ""


def is_encoding(name: str) -> bool:
    """Return whether names of files may be said to be written so.

    Example:
        >>> is_encoding("CP932"), is_encoding("rot13")
        (True, False)
    """
    if _ENCODING.fullmatch(name) is None:
        return False
    try:
        codecs.lookup(name)
    except LookupError:
        return False
    return True
