import pytest

from service.intake.bundle_text import require_readable, require_told_apart
from service.problems import Problem
from tests.waiting import within


@pytest.mark.parametrize(
    "text",
    [
        "heron",
        "..",
        "=cmd()",
        "__proto__",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\u3164",  # earlier releases took these
        "a\ufe0f",
        "\U0001f469\u200d",
        "\u2764\ufe0f\u200d",
    ],
)
def test_what_some_release_took_is_read(text):
    require_readable({text: [text, {"a": text}], "n": 1, "f": None}, "bundle.json")


@pytest.mark.parametrize(
    "text",
    [
        "a\u202eb",
        "a\u200b",
        "\ufeffa",
        "a\nb",
        "\x1b[2J",
        "a\u200d",
        "\u2066a",
        "a\U000e0061",
        "\x9b",
        "\ue000",
    ],
)
@pytest.mark.parametrize(
    "wrap", [lambda t: {t: 1}, lambda t: {"a": [t]}, lambda t: [[{"a": {"b": t}}]]]
)
def test_what_none_took_is_refused(text, wrap):
    with pytest.raises(Problem) as caught:
        require_readable(wrap(text), "bundle.json")
    assert caught.value.code == "artifact-invalid"
    assert caught.value.detail.isprintable()


def test_a_large_and_deep_document_is_read_at_once():
    document = "x" * 100
    for _ in range(5000):
        document = [document, {"a" * 100: "b" * 100}]
    with within(1.0):
        require_readable(document, "manifest.json")


def test_classes_are_told_apart():
    require_told_apart(
        ["heron", "egret", "heron", "\u2764\ufe0f", "\u2764", "\U0001f469\u200d", "\U0001f469"]
    )
    for twin in ("Heron", "\uff28eron", "he\u200cron", "he\u200dron"):
        with pytest.raises(Problem, match="look the same"):
            require_told_apart(["heron", twin])
