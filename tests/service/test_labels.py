import pytest

from registry.classes import look
from service.labels import clean_filename, clean_label, label_at
from service.problems import Problem


@pytest.mark.parametrize(
    "label",
    [
        "",
        "   ",
        "a\0b",
        "a\nb",
        "a\tb",
        "a\u202eb",
        "a\u200bb",
        "\u200d",
        "a\ufe0f",
        "\ue000",
        "\u0378",
        ".",
        "..",
        " .. ",
        "a\u00adb",
        "a\u2060b",
        "a\ufeffb",
        "\u2066a\u2069",
        "a\u200eb",
        "he\u200dron",
        "he\u200cron",
        "\u0645\u06cc\u200c",
        "\u200c\u0645\u06cc",
        "\u0645\u06cc\u200c\u200c\u062e",
        "\u0645\u06cc\u200cx",
        "\U0001f469\u200d",
        "\U0001f469\u200dx",
        "\U0001f469\u200d\u200d\U0001f680",
        "a\ufe0e",
        "a\U000e0067\U000e007f",
        "\U0001f3f4\U000e0067\U000e0062",
        "\u3164",
        "\u2800 \u2800",
    ],
)
def test_labels_nobody_can_read_are_refused(label):
    with pytest.raises(Problem) as caught:
        clean_label(label)
    assert caught.value.code == "label-invalid"


@pytest.mark.parametrize(
    "label",
    [
        "heron", "<img src=x onerror=alert(1)>", "'; DROP TABLE--", "{{7*7}}", "../x", "a/b", "...", "CON", "a?b#c%d",
        "%2e%2e", "=HYPERLINK(1)", "鷺", "صقر", "👩\u200d🚀", "❤\ufe0f", "x" * 128,
        "\u0dc1\u0dca\u200d\u0dbb\u0dd3",  # Sinhala
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian
        "\u06a9\u062a\u0627\u0628\u200c\u0647\u0627\u06cc \u0645\u0646",
        "\u0915\u094d\u200d\u0937", "\u0915\u094d\u200c\u0937",  # Devanagari
        "\u0d05\u0d35\u0d28\u0d4d\u200d",  # Malayalam
        "\u09b0\u200d\u09cd\u09af\u09be\u09ac",  # Bengali
        "\u182d\u180e\u1820",  # Mongolian
        "👨\u200d👩\u200d👧", "👁\ufe0f\u200d🗨\ufe0f", "👩🏽\u200d🚀", "🙂\u200d↔\ufe0f", "🏳\ufe0f\u200d🌈", "🇱🇰",
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",  # the flag of Scotland
        "1\ufe0f\u20e3", "❤\ufe0e", "\u2139\ufe0f", "\u845b\U000e0100",
    ],
)  # fmt: skip
def test_ordinary_and_inert_labels_pass_unchanged(label):
    assert clean_label(label) == label


@pytest.mark.parametrize(
    ("label", "named"),
    [
        ("a\u202eb", "U+202E RIGHT-TO-LEFT OVERRIDE as its character 2"),
        ("ab\u200d", "U+200D ZERO WIDTH JOINER as its character 3"),
        ("\ab", "U+0007, a control character as its character 1"),
        ("\ue000", "U+E000, a private character"),
        ("..", "No class can be called .."),
        (" ", "is empty"),
    ],
)
def test_what_is_wrong_with_a_label_is_said(label, named):
    with pytest.raises(Problem) as caught:
        clean_label(label)
    assert named in caught.value.detail


def test_a_refused_label_is_named_where_it_stands_and_safe_to_print():
    with pytest.raises(Problem) as caught:
        label_at("a\u202e\x1b[1m", "/images/3", "x.png")
    [error] = caught.value.errors
    assert (error.pointer, error.code) == ("/images/3", "label-invalid")
    assert error.extra == {"label": "a<U+202E><U+001B>[1m", "filename": "x.png"}


@pytest.mark.parametrize(
    ("label", "twin"),
    [
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u062e\u0648\u0627\u0647\u0645",
        ),
        ("\u0dc1\u0dca\u200d\u0dbb\u0dd3", "\u0dc1\u0dca\u0dbb\u0dd3"),
        ("❤\ufe0f", "❤"),
        ("heron\u3164", "Heron"),
        ("\u845b\U000e0100", "\u845b"),
    ],
)
def test_labels_that_differ_in_what_cannot_be_seen_look_alike(label, twin):
    assert look(label) == look(twin)


def test_flags_of_tags_do_not_look_alike():
    scotland, wales = (
        "\U0001f3f4" + "".join(chr(0xE0000 + ord(c)) for c in region) + "\U000e007f"
        for region in ("gbsct", "gbwls")
    )
    assert look(clean_label(scotland)) != look(clean_label(wales))


def test_labels_are_normalised_and_bounded():
    assert clean_label(" cafe\u0301 ") == "caf\u00e9"
    for length in (129, 5000):
        with pytest.raises(Problem) as caught:
            clean_label("x" * length)
        assert caught.value.code == "label-too-long"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\a.jpg", "a.jpg"),
        ("a\r\nb\0.jpg", "ab.jpg"),
        ("", None),
        (None, None),
        ("\u202e", None),
        ("\u0645\u06cc\u200c\u062e.png", "\u0645\u06cc\u200c\u062e.png"),
        ("a\u200db.png", "ab.png"),
        ("x" * 5000, "x" * 255),
    ],
)
def test_filenames_are_for_display_only(name, shown):
    assert clean_filename(name) == shown
