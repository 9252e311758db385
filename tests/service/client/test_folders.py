import tarfile

import pytest

from service.remote.folders import EmptyFolderError, labelled_files, sent_file, tar_of_folder


def put(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def names(folder):
    return [path.relative_to(folder).as_posix() for path in labelled_files(folder)]


def test_one_folder_is_one_label(tmp_path):
    put(tmp_path, "heron/b.jpg", "heron/a.jpg", "egret/c.png", "notes.txt")
    assert names(tmp_path) == ["egret/c.png", "heron/a.jpg", "heron/b.jpg"]


def test_train_and_eval_folders_hold_labels(tmp_path):
    put(tmp_path, "train/heron/a.jpg", "eval/heron/b.jpg", "train/stray.txt")
    assert names(tmp_path) == ["eval/heron/b.jpg", "train/heron/a.jpg"]


def test_train_beside_other_folders_is_a_label(tmp_path):
    put(tmp_path, "train/a.jpg", "bus/b.jpg")
    assert names(tmp_path) == ["bus/b.jpg", "train/a.jpg"]


def test_hidden_files_are_left_out(tmp_path):
    put(tmp_path, "heron/a.jpg", "heron/.DS_Store", ".git/config", "heron/Thumbs.db")
    assert names(tmp_path) == ["heron/a.jpg"]


def test_a_folder_without_labels_is_refused(tmp_path):
    put(tmp_path, "a.jpg")
    with pytest.raises(EmptyFolderError, match="one folder a label"):
        labelled_files(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(EmptyFolderError, match="nowhere"):
        labelled_files(tmp_path / "nowhere")


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
    found = sent_file(labelled_files(tmp_path), entry)
    assert found == (None if sent is None else tmp_path / sent)


def test_the_archive_has_the_same_bytes_for_the_same_images(tmp_path):
    put(tmp_path, "heron/a.jpg", "egret/b.jpg")
    with tar_of_folder(tmp_path) as first:
        before = first.read()
    (tmp_path / "heron/a.jpg").touch()
    with tar_of_folder(tmp_path) as second, tarfile.open(fileobj=second) as archive:
        assert archive.getnames() == ["egret/b.jpg", "heron/a.jpg"]
        second.seek(0)
        assert second.read() == before


def test_links_are_packed_as_files(tmp_path):
    put(tmp_path / "elsewhere", "original.jpg")
    folder = tmp_path / "photos"
    (folder / "heron").mkdir(parents=True)
    (folder / "heron/a.jpg").symlink_to(tmp_path / "elsewhere/original.jpg")
    with tar_of_folder(folder) as spool, tarfile.open(fileobj=spool) as archive:
        member = archive.getmember("heron/a.jpg")
        assert member.isreg()
        assert archive.extractfile(member).read() == b"original.jpg"
