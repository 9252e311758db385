import csv
import io
import tarfile

import pytest

from service.layout.errors import LayoutError
from service.layout.folders import read_folder
from service.remote.folders import MANIFEST, EmptyFolderError, read_list, sent_file, tar_of_layout
from tests.service.layout.layouts import LAYOUTS


def put(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def packed(folder, layout):
    with tar_of_layout(folder, layout) as spool:
        return spool.read()


@pytest.mark.parametrize(
    ("entry", "sent"),
    [
        ({"index": 1, "filename": "a.jpg"}, "heron/a.jpg"),
        ({"pointer": "/images/0"}, "egret/c.jpg"),
        ({"pointer": "/images/7"}, None),
        ({"pointer": "/classes", "label": "heron"}, None),
        ({"index": 1, "filename": "moved.jpg"}, None),
        ({"index": 1, "prediction": "prd_1"}, None),
    ],
)
def test_what_the_service_speaks_of_is_found_again(tmp_path, entry, sent):
    put(tmp_path, "heron/a.jpg", "egret/c.jpg")
    files = [tmp_path / image.path for image in read_folder(tmp_path).images]
    path = sent_file(files, entry)
    assert path == (None if sent is None else tmp_path / sent)


def test_the_archive_has_the_same_bytes_for_the_same_images(tmp_path):
    put(tmp_path, "heron/a.jpg", "egret/b.jpg")
    layout = read_folder(tmp_path)
    before = packed(tmp_path, layout)
    (tmp_path / "heron/a.jpg").touch()
    after = packed(tmp_path, read_folder(tmp_path))
    assert after == before
    with tarfile.open(fileobj=io.BytesIO(after)) as archive:
        assert archive.getnames() == [MANIFEST, "egret/b.jpg", "heron/a.jpg"]


@pytest.mark.parametrize("name", [name for name in LAYOUTS if LAYOUTS[name].classes])
def test_the_archive_says_what_was_understood(name, tmp_path):
    case = LAYOUTS[name]
    for path, data in case.files.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    layout = read_folder(tmp_path, use_splits=case.use_splits)
    with tarfile.open(fileobj=io.BytesIO(packed(tmp_path, layout))) as archive:
        rows = list(csv.reader(io.TextIOWrapper(archive.extractfile(MANIFEST), "utf-8")))
        names = archive.getnames()
    assert rows[0] == ["file_name", "label", "split"]
    assert rows[1:] == [[str(i.path), i.label, i.split] for i in layout.images]
    assert names[1:] == [row[0] for row in rows[1:]]


def test_links_are_packed_as_files(tmp_path):
    put(tmp_path / "elsewhere", "original.jpg")
    folder = tmp_path / "photos"
    (folder / "heron").mkdir(parents=True)
    (folder / "heron/a.jpg").symlink_to(tmp_path / "elsewhere/original.jpg")
    with tarfile.open(fileobj=io.BytesIO(packed(folder, read_folder(folder)))) as archive:
        member = archive.getmember("heron/a.jpg")
        assert member.isreg()
        assert archive.extractfile(member).read() == b"original.jpg"


def test_a_file_that_is_gone_by_now_is_named(tmp_path):
    put(tmp_path, "heron/a.jpg", "heron/b.jpg")
    layout = read_folder(tmp_path)
    (tmp_path / "heron/b.jpg").unlink()
    with pytest.raises(LayoutError, match=r"heron/b\.jpg cannot be read"):
        packed(tmp_path, layout)


def test_a_list_must_name_files_and_labels(tmp_path):
    file = tmp_path / "list.csv"
    file.write_text("width,height,depth\n1,2,3\n")
    with pytest.raises(LayoutError, match="names no files and labels"):
        read_list(file)
    with pytest.raises(LayoutError, match="cannot be read"):
        read_list(tmp_path / "gone.csv")
    file.write_text("a.jpg,heron\n")
    assert read_list(file).rows[0].label == "heron"


def test_the_old_name_of_the_error_still_catches_it(tmp_path):
    with pytest.raises(EmptyFolderError):
        read_folder(tmp_path)
