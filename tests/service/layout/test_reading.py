"""Every layout of the table, read from its names and from a folder on disk; and what only a folder can have."""

import os
import re
from pathlib import PurePosixPath

import pytest

from service.layout.errors import LayoutError
from service.layout.folders import MAX_FILES, read_folder
from service.layout.layouts import Entry
from service.layout.names import HEAD_BYTES
from service.layout.reading import read_layout
from service.layout.tables import is_table_name, parse_table
from tests.service.layout.layouts import JPEG, PLAIN, images
from tests.service.layout.layouts import LAYOUTS as ALL
from tests.service.layout.stumbles import FOLDERS, FORMS, SEVERAL, UNSURE

LAYOUTS = {**ALL, **FOLDERS}


def entries(files):
    return [
        Entry(
            PurePosixPath(name),
            data if is_table_name(PurePosixPath(name).name) else data[:HEAD_BYTES],
        )
        for name, data in files.items()
    ]


def put(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def counts(layout):
    return {
        label: "/".join(str(found[split]) for split in ("auto", "train", "eval"))
        for label, found in layout.classes.items()
    }


def check(case, read):
    if case.refused:
        with pytest.raises(LayoutError) as caught:
            read()
        assert re.search(case.refused, caught.value.sentence), caught.value.sentence
        return None
    layout = read()
    assert counts(layout) == case.classes
    assert layout.is_guess == case.is_guess
    return layout


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_read_from_names(name):
    case = LAYOUTS[name]
    layout = check(case, lambda: read_layout(entries(case.files), use_splits=case.use_splits))
    if layout:
        assert len(layout.left_out) == case.left_out
        assert len(layout.images) + case.left_out + len(layout.tables) == len(case.files)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_order_of_the_files_changes_nothing(name):
    case = LAYOUTS[name]
    backwards = dict(reversed(case.files.items()))
    if case.refused:
        with pytest.raises(LayoutError):
            read_layout(entries(backwards), use_splits=case.use_splits)
    else:
        layout = read_layout(entries(backwards), use_splits=case.use_splits)
        assert counts(layout) == case.classes


ON_DISK = [name for name in LAYOUTS if LAYOUTS[name].files and name != "a path that no disk has"]


@pytest.mark.parametrize("name", ON_DISK)
def test_a_layout_is_read_from_a_folder_as_from_names(name, tmp_path):
    case = LAYOUTS[name]
    put(tmp_path, case.files)
    check(case, lambda: read_folder(tmp_path, use_splits=case.use_splits))


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(LayoutError, match="There is no folder"):
        read_folder(tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LayoutError, match="There is no folder"):
        read_folder(tmp_path / "file")


def test_links_are_followed_and_circles_are_not(tmp_path):
    put(tmp_path / "elsewhere", images("kept"))
    put(tmp_path / "data", images("cat"))
    (tmp_path / "data/dog").symlink_to(tmp_path / "elsewhere/kept")
    (tmp_path / "data/cat/more.jpg").symlink_to(tmp_path / "elsewhere/kept/000.jpg")
    (tmp_path / "data/broken").symlink_to(tmp_path / "gone")
    assert counts(read_folder(tmp_path / "data")) == {"cat": "3/0/0", "dog": "2/0/0"}
    (tmp_path / "data/cat/around").symlink_to(tmp_path / "data")
    assert counts(read_folder(tmp_path / "data")) == {"cat": "3/0/0", "dog": "2/0/0"}


def test_what_is_no_plain_file_is_passed_over(tmp_path):
    put(tmp_path, PLAIN)
    os.mkfifo(tmp_path / "dog/pipe.jpg")
    assert counts(read_folder(tmp_path)) == {"cat": "2/0/0", "dog": "2/0/0"}


def test_a_whole_disk_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("service.layout.folders.MAX_FILES", 3)
    put(tmp_path, PLAIN)
    with pytest.raises(LayoutError, match="more than 3 files"):
        read_folder(tmp_path)
    assert MAX_FILES > 20_000


LISTS = {
    "csv": b"filename,label\ndog/000.jpg,a\ncat/001.jpg,b\n",
    "absolute paths": b"path,label\n/home/me/x/dog/000.jpg,a\n/home/me/x/cat/001.jpg,b\n",
    "Windows paths": b"path;label\nC:\\x\\dog\\000.jpg;a\nC:\\x\\cat\\001.jpg;b\n",
    "lines": b"dog/000.jpg a\ncat/001.jpg b\n",
    "JSON of labels": b'{"dog/000.jpg": "a", "cat/001.jpg": "b"}',
    "JSON of objects": b'{"dog/000.jpg": {"label": "a"}, "cat/001.jpg": {"label": "b", "split": "auto"}}',
    "a JSON list": b'[{"image": "dog/000.jpg", "class": "a"}, {"image": "cat/001.jpg", "class": "b"}]',
    "UTF-16": "filename,label\ndog/000.jpg,a\ncat/001.jpg,b\n".encode("utf-16"),
    "quoted": b'"filename","label"\n"dog/000.jpg","a"\n"cat/001.jpg","b"\n',
    "old line ends": b"filename,label\r\ndog/000.jpg,a\r\ncat/001.jpg,b\r\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_decides_alone(name, tmp_path):
    put(tmp_path, PLAIN)
    listed = parse_table(LISTS[name], None)
    layout = read_folder(tmp_path, listed=listed)
    assert {str(image.path): image.label for image in layout.images} == {
        "dog/000.jpg": "a",
        "cat/001.jpg": "b",
    }
    assert {str(item.path) for item in layout.left_out} == {"dog/001.jpg", "cat/000.jpg"}


def test_labels_of_several_words_are_whole_in_lines(tmp_path):
    put(tmp_path, {"x/a b.jpg": JPEG})
    layout = read_folder(tmp_path, listed=parse_table(b"x/a b.jpg grey heron\n", None))
    assert layout.images[0].label == "grey heron"


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"{", b'{"a": ', b"\x00\x01", b"caf\xe9.jpg,x"])
def test_a_damaged_list_is_refused(data):
    with pytest.raises(LayoutError):
        parse_table(data, None)


@pytest.mark.parametrize("data", [b"", b"x", b"[]", b"{}", b"[1, 2]", b"a,b,c\n1,2,3\n", b"\n\n"])
def test_a_list_of_nothing_is_no_table(data):
    table = parse_table(data, None)
    assert table is None or not table.rows


def test_a_list_that_fits_nothing_is_refused(tmp_path):
    put(tmp_path, PLAIN)
    with pytest.raises(LayoutError, match="None of the 1 rows"):
        read_folder(tmp_path, listed=parse_table(b"z.jpg,dog\n", None))


def test_there_must_be_something_to_learn_from():
    layout = read_layout(entries(LAYOUTS["only images to measure with"].files))
    with pytest.raises(LayoutError, match="in 'test' are named to measure"):
        layout.require_training()
    read_layout(entries(PLAIN)).require_training()


@pytest.mark.parametrize("name", FORMS)
def test_a_table_is_read_in_the_form_it_comes_in(name):
    suffix = "jsonl" if FORMS[name].startswith("{") else "csv"
    files = {f"labels.{suffix}": FORMS[name].encode(), **images("images", n=2)}
    layout = read_layout(entries(files))
    assert {str(image.path): image.label for image in layout.images} == {
        "images/000.jpg": "dog",
        "images/001.jpg": "cat",
    }
    listed = parse_table(FORMS[name].encode(), None)
    assert [i.label for i in read_layout(entries(files), listed=listed).images] == ["dog", "cat"]


@pytest.mark.parametrize("name", SEVERAL)
def test_several_labels_of_one_image_are_refused(name):
    suffix = "jsonl" if SEVERAL[name].startswith("{") else "csv"
    files = {f"labels.{suffix}": SEVERAL[name].encode(), **images("images", n=3)}
    with pytest.raises(LayoutError, match="several labels"):
        read_layout(entries(files))


@pytest.mark.parametrize("column", UNSURE)
def test_a_column_that_may_not_be_meant_is_named_and_asked_about(column):
    layout = read_layout(entries({"labels.csv": UNSURE[column].encode(), **images("images", n=3)}))
    assert layout.is_guess
    assert f"the column '{column}' of labels.csv" in layout.notes[0]


HOSTILE = {
    "deep JSON": b"[" * 1_000_000,
    "deep JSON that closes": b"[" * 100_000 + b"]" * 100_000,
    "a number of many digits": b'{"file_name": "a.jpg", "label": ' + b"9" * 100_000 + b"}",
    "many keys": b"\n".join(b'{"k%d": 1}' % i for i in range(100_000)),
    "many lines": b'{"file_name": "a.jpg", "label": 1}\n' * 210_000,
    "many spaced lines": b"a b\n" * 1_000_000,
    "one long line": b"a.jpg " * 1_000_000,
    "an open quote": b'f,l\na.jpg,"' + b"x\n" * 1_000_000,
    "a large cell": b"f,l\na.jpg," + b"x" * 1_000_000,
    "half a surrogate": b'{"a.jpg": "\\ud800"}',
    "no number": b'[{"file_name": "a.jpg", "label": NaN}]',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_table_is_refused_or_says_little(name):
    files = {"labels.csv": HOSTILE[name], **images("images")}
    try:
        layout = read_layout(entries(files))
    except LayoutError:
        return
    assert layout.images


def test_many_images_of_one_name_cost_no_more_than_others():
    rows = "".join(f"/home/me/images/{i}/a.jpg,dog\n" for i in range(3000))
    files = {"labels.csv": f"filename,label\n{rows}".encode()}
    files |= {f"images/{i}/a.jpg": JPEG for i in range(3000)}
    layout = read_layout(entries(files))
    assert len(layout.images) == len(layout.classes) == 3000
    assert "labels.csv calls several of the folders 'dog', and is not used" in layout.notes[0]
    assert layout.is_guess


def test_a_table_that_fits_too_many_images_is_given_up(monkeypatch):
    monkeypatch.setattr("service.layout.finding.MAX_COMPARISONS", 100)
    rows = "".join(f"/{i}/x/a.jpg,dog\n" for i in range(50, 99))
    files = {"labels.csv": f"filename,label\n{rows}".encode()}
    files |= {f"images/{i}/x/a.jpg": JPEG for i in range(40)} | {"images/a.jpg": JPEG}
    with pytest.raises(LayoutError, match="Too many images have the names"):
        read_layout(entries(files))


def test_a_name_that_is_no_text_is_refused(tmp_path):
    put(tmp_path, PLAIN)
    (tmp_path / "dog/caf\udce9.txt").write_bytes(b"")
    assert counts(read_folder(tmp_path)) == {"cat": "2/0/0", "dog": "2/0/0"}
    (tmp_path / "dog/caf\udce9.jpg").write_bytes(JPEG)
    with pytest.raises(LayoutError, match=r"'dog/caf\\udce9.jpg' is not UTF-8"):
        read_folder(tmp_path)
