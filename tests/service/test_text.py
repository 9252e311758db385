import pytest

from service.http.problems import Problem
from service.http.strict_json import parse_json
from service.intake.labels import clean_filename, clean_label
from service.intake.splitting import SplitRequest, assign_splits


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
    ],
)
def test_labels_nobody_can_read_are_refused(label):
    with pytest.raises(Problem) as caught:
        clean_label(label)
    assert caught.value.code == "label-invalid"


@pytest.mark.parametrize(
    "label",
    ["heron", "<img src=x onerror=alert(1)>", "'; DROP TABLE--", "{{7*7}}", "../x", "a/b", ".", "CON",
     "=HYPERLINK(1)", "鷺", "صقر", "👩\u200d🚀", "❤\ufe0f", "x" * 128],
)  # fmt: skip
def test_ordinary_and_inert_labels_pass_unchanged(label):
    assert clean_label(label) == label


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
        ("x" * 5000, "x" * 255),
    ],
)
def test_filenames_are_for_display_only(name, shown):
    assert clean_filename(name) == shown


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


def _split(blobs, fraction, seed=0, split="auto"):
    requests = [SplitRequest("heron", blob, split) for blob in blobs]
    return assign_splits(requests, eval_fraction=fraction, seed=seed)


def test_the_split_depends_on_images_and_seed_not_on_order():
    blobs = [f"{i:064x}" for i in range(40)]
    splits = dict(zip(blobs, _split(blobs, 0.25), strict=True))
    assert list(splits.values()).count("eval") == 10
    assert _split(blobs[::-1], 0.25) == [splits[blob] for blob in blobs[::-1]]
    assert _split(blobs, 0.25, seed=1) != list(splits.values())


@pytest.mark.parametrize(
    ("n", "fraction", "held_out"), [(1, 0.9, 0), (2, 0.1, 0), (3, 0.1, 0), (4, 0.1, 1), (10, 0, 0), (2, 0.9, 1)]
)  # fmt: skip
def test_small_classes_keep_what_they_need_to_learn(n, fraction, held_out):
    assert _split([f"{i:064x}" for i in range(n)], fraction).count("eval") == held_out


def test_copies_of_an_image_stay_on_one_side():
    blobs = [f"{i % 5:064x}" for i in range(20)]
    splits = _split(blobs, 0.4)
    assert all(splits[i] == splits[i % 5] for i in range(20))
    fixed = [SplitRequest("heron", "a" * 64, "eval"), SplitRequest("heron", "a" * 64, "auto")]
    assert assign_splits(fixed, eval_fraction=0, seed=0) == ["eval", "eval"]
