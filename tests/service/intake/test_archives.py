"""Archives as they are: every layout of the table packed in every way, names of all origins, and what is not read."""

import gzip
import io
import lzma
import re
import resource
import tarfile
import zipfile
import zlib

import pytest

from service.intake.archive_kinds import MEDIA_TYPES, kind_of
from service.intake.archives import ArchiveLimits, unpack
from service.intake.placing import MAX_NAMED, as_json, place
from service.intake.spool import Spool
from service.problems import Problem
from service.schemas.tasks import TaskOptions
from tests.factories import make_image
from tests.service.intake.packing import (
    PACKS,
    UTF8_FLAG,
    raw_zip,
    tar_of,
    unicode_path,
    zip_of,
)
from tests.service.layout.layouts import JPEG
from tests.service.layout.layouts import LAYOUTS as ALL
from tests.service.layout.stumbles import FOLDERS

LAYOUTS = {**ALL, **FOLDERS}

LIMITS = ArchiveLimits(max_images=100, max_bytes=500_000, max_image_bytes=100_000)


def read(data, *, encoding=None, splits=True, limits=LIMITS):
    """Return `(label, split, path, bytes)` of each image, and the layout."""
    with Spool() as archive, Spool() as into:
        archive.append(data)
        files = unpack(archive, into, limits, encoding=encoding)
        images, layout = place(files, TaskOptions(splits=splits))
        found = [(i.label, i.split, i.filename, into.read(i.offset, i.size)) for i in images]
    return found, layout


def refused(data, **options):
    with pytest.raises(Problem) as caught:
        read(data, **options)
    return caught.value


PACKED = [(name, "zip") for name in LAYOUTS]
PACKED += [("train, valid and test", pack) for pack in PACKS] + [("plain", pack) for pack in PACKS]
PACKED += [(name, "tar.xz") for name in LAYOUTS if "table" in name or "nested" in name]


@pytest.mark.parametrize(("name", "pack"), PACKED)
def test_a_layout_is_read_from_an_archive_as_from_a_folder(name, pack):
    case = LAYOUTS[name]
    data = PACKS[pack](case.files)
    if case.refused or all(counts.startswith("0/0") for counts in case.classes.values()):
        problem = refused(data, splits=case.use_splits)
        assert re.search(case.refused, problem.detail), problem.detail
        assert problem.code in ("layout-unclear", "missing-image", "archive-rejected")
        return
    found, layout = read(data, splits=case.use_splits)
    got = {label: {"auto": 0, "train": 0, "eval": 0} for label, *_ in found}
    for label, split, *_ in found:
        got[label][split] += 1
    assert {
        label: "/".join(map(str, counts.values())) for label, counts in got.items()
    } == case.classes
    assert as_json(layout)["left_out"] == case.left_out
    for _, _, filename, data in found:
        [original] = {
            v for k, v in case.files.items() if k.endswith("/" + filename) or k == filename
        }
        assert data == original


def test_only_images_to_measure_with_are_nothing_to_learn_from():
    problem = refused(zip_of(LAYOUTS["only images to measure with"].files))
    assert problem.code == "layout-unclear"
    assert "none to learn from" in problem.detail


KUEKEN = "Vögel/Küken"
NAMES = {
    "marked as UTF-8": (KUEKEN.encode(), UTF8_FLAG, b""),
    "UTF-8 without a mark": (KUEKEN.encode(), 0, b""),
    "decomposed, without a mark": ("Vo\u0308gel/Ku\u0308ken".encode(), 0, b""),
    "a Unicode path beside a name in code page 850": (
        KUEKEN.encode("cp850") + b"/%d.jpg",
        0,
        "unicode path",
    ),
    "back slashes": (KUEKEN.replace("/", "\\").encode(), UTF8_FLAG, b""),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_what_was_meant(name):
    raw, flags, extra = NAMES[name]
    entries = []
    for i in range(2):
        if extra == "unicode path":
            whole = raw % i
            entries.append((whole, flags, unicode_path(whole, f"{KUEKEN}/{i}.jpg"), JPEG))
        else:
            entries.append((raw + f"/{i}.jpg".encode(), flags, b"", JPEG))
    found, _ = read(raw_zip(entries))
    assert [label for label, *_ in found] == ["K\u00fcken"] * 2


LEGACY = {
    "Western European": (KUEKEN, "cp850"),
    "Cyrillic": ("птицы/цапля", "cp866"),
    "Japanese": ("鳥/鷺", "cp932"),
    "Chinese": ("鸟/鹭", "gbk"),
    "Greek": ("πουλιά/ερωδιός", "cp1253"),
}


@pytest.mark.parametrize("name", LEGACY)
@pytest.mark.parametrize("pack", ["zip", "tar"])
def test_a_name_in_an_unknown_encoding_is_refused_until_it_is_said(name, pack):
    path, encoding = LEGACY[name]
    raw = path.encode(encoding) + b"/1.jpg"
    if pack == "zip":
        data = raw_zip([(raw, 0, b"", JPEG), (b"x/y/2.jpg", 0, b"", JPEG)])
    else:
        data = tar_of(
            {raw.decode("utf-8", "surrogateescape"): JPEG, "x/y/2.jpg": JPEG},
            encoding="utf-8",
            errors="surrogateescape",
            format=0,
        )
    problem = refused(data)
    assert problem.code == "archive-rejected"
    assert "is not UTF-8" in problem.detail
    assert "`encoding`" in problem.detail
    assert problem.detail.isprintable()
    found, _ = read(data, encoding=encoding)
    assert {label for label, *_ in found} == {path.split("/")[1], "y"}


def test_a_unicode_path_of_another_name_is_not_believed():
    extra = unicode_path(b"something else", "owl/1.jpg")
    found, _ = read(raw_zip([(b"heron/1.jpg", 0, extra, JPEG)]))
    assert found[0][0] == "heron"


def test_a_false_mark_of_utf_8_is_refused():
    problem = refused(raw_zip([(b"V\x94gel/1.jpg", UTF8_FLAG, b"", JPEG)]))
    assert (problem.code, "marked as UTF-8 and is not" in problem.detail) == (
        "archive-rejected",
        True,
    )


NOT_READ = {
    "RAR": (b"Rar!\x1a\x07\x01\x00" + bytes(600), "RAR archive"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(600), "7z archive"),
    "Zstandard": (b"\x28\xb5\x2f\xfd" + bytes(600), "Zstandard archive"),
    "an image": (make_image(), "no archive"),
    "text": (b"hello" * 200, "no archive"),
    "a packed text": (gzip.compress(b"hello" * 500), "gzip here is no tar"),
    "a cut xz": (lzma.compress(tar_of(LAYOUTS["plain"].files))[:-40], "damaged"),
    "xz of gigabytes of memory": (
        lzma.compress(
            tar_of(LAYOUTS["plain"].files),
            filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29, "preset": 0}],
        ),
        "damaged",
    ),
}


@pytest.mark.parametrize("name", NOT_READ)
def test_what_is_not_read_is_named(name):
    data, words = NOT_READ[name]
    problem = refused(data)
    assert problem.code == "archive-rejected"
    assert words in problem.detail


@pytest.mark.parametrize(
    ("method", "words"),
    [(9, "Deflate64"), (93, "Zstandard"), (98, "PPMd"), (99, "encrypted"), (77, "method 77")],
)
def test_a_compression_that_is_not_read_is_named(method, words):
    data = bytearray(zip_of({"heron/1.jpg": JPEG}))
    data[8:10] = method.to_bytes(2, "little")
    at = data.rfind(b"PK\x01\x02") + 10
    data[at : at + 2] = method.to_bytes(2, "little")
    problem = refused(bytes(data))
    assert words in problem.detail


@pytest.mark.parametrize("pack", ["tar.xz", "tar.bz2", "tar.gz", "deflated zip"])
def test_a_bomb_costs_little(pack):
    files = {f"heron/{i}.jpg": bytes(99_000) for i in range(90)}
    data = PACKS[pack](files)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    problem = refused(data)
    assert (problem.code, "more than a task" in problem.detail) == ("archive-rejected", True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


READINGS = ("read", "archive-rejected", "layout-unclear", "missing-image", "label-invalid")


def outcome(data):
    try:
        read(data)
    except Problem as problem:
        return problem.code
    return "read"


@pytest.mark.parametrize("pack", PACKS)
def test_a_cut_or_changed_archive_is_a_problem_and_nothing_else(pack):
    data = PACKS[pack](LAYOUTS["plain"].files)
    for at in range(0, len(data), max(1, len(data) // 60)):
        for broken in (data[:at], data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]):
            assert outcome(broken) in READINGS


def test_an_entry_that_is_packed_twice_is_the_last():
    newer = JPEG + b"newer"
    twice = tar_of(LAYOUTS["plain"].files)[: -2 * 512]
    twice = twice[: 4 * 1024] + tar_of({"dog/000.jpg": newer})
    found, _ = read(twice)
    assert sorted(data for _, _, _, data in found) == sorted([JPEG] * 3 + [newer])
    entries = [(b"dog/1.jpg", 0, b"", JPEG), (b"cat/1.jpg", 0, b"", JPEG)]
    found, _ = read(raw_zip([*entries, (b"dog/1.jpg", 0, b"", newer)]))
    assert sorted((label, data) for label, _, _, data in found) == [("cat", JPEG), ("dog", newer)]


def test_tables_are_no_way_to_fill_the_memory():
    files = {f"d{i}/labels.csv": bytes(8 << 20) for i in range(6)}
    problem = refused(zip_of(files, compression=zipfile.ZIP_DEFLATED))
    assert "32 MiB together" in problem.detail


def test_a_link_is_named_and_how_to_pack_without():
    link = tarfile.TarInfo("latest.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "dog/000.jpg"
    problem = refused(tar_of({link: b"", **LAYOUTS["plain"].files}))
    assert re.search("latest.jpg is a link.*in their place", problem.detail)


@pytest.mark.parametrize("junk", [b"", b"\r\n", b"x" * 100])
def test_what_hangs_behind_a_zip_does_no_harm(junk):
    assert len(read(zip_of(LAYOUTS["plain"].files) + junk)[0]) == 4


def test_files_left_out_are_named_up_to_a_number_and_counted():
    files = {**LAYOUTS["plain"].files, **{f"dog/{i}.txt": b"x" for i in range(300)}}
    found = as_json(read(zip_of(files))[1])
    assert (found["left_out"], len(found["left_out_files"])) == (300, MAX_NAMED)
    assert found["left_out_files"][0] == {"path": "dog/0.txt", "reason": "not-an-image"}


def pictures(*labels, n=4):
    return {f"{label}/{i}.png": make_image(label, i) for label in labels for i in range(n)}


PETS = pictures("dog", "cat")


@pytest.mark.parametrize("media_type", sorted(MEDIA_TYPES | {"application/octet-stream"}))
def test_an_archive_is_known_by_its_bytes_under_any_name(client, birds, media_type):
    url = f"/v1/learners/{birds}/tasks"
    answer = client.post(url, content=PACKS["tar.gz"](PETS), headers={"Content-Type": media_type})
    assert answer.status_code == 202, answer.text
    assert answer.json()["classes"] == ["dog", "cat"]


def test_bytes_of_no_kind_are_no_upload(client, birds):
    url = f"/v1/learners/{birds}/tasks"
    headers = {"Content-Type": "application/octet-stream"}
    assert client.post(url, content=b"x" * 1000, headers=headers).status_code == 415


@pytest.mark.parametrize("part", ["images", "archive", "file"])
@pytest.mark.parametrize("pack", ["zip", "tar.xz"])
def test_an_archive_may_be_the_file_of_a_form(client, birds, part, pack):
    files = {part: ("pets.zip", PACKS[pack](PETS), "application/x-zip-compressed")}
    answer = client.post(f"/v1/learners/{birds}/tasks", files=files)
    assert answer.status_code == 202, answer.text
    assert answer.json()["classes"] == ["dog", "cat"]


def test_an_archive_in_a_form_takes_options_and_a_manifest(client, birds):
    files = {"archive": ("pets.zip", zip_of(PETS), "application/zip")}
    manifest = '{"dog/0.png": {"label": "pug"}, "dog/1.png": {"label": "pug"}, "cat/0.png": {"label": "tom"}, '
    manifest += '"cat/1.png": {"label": "tom", "split": "train"}}'
    data = {"options": '{"name": "pets"}', "manifest": manifest}
    answer = client.post(f"/v1/learners/{birds}/tasks", files=files, data=data)
    assert answer.status_code == 202, answer.text
    task = answer.json()
    assert (task["name"], task["classes"]) == ("pets", ["pug", "tom"])
    assert task["layout"]["left_out"] == 4


@pytest.mark.parametrize(
    ("files", "data", "words"),
    [
        ([("images", ("a.zip", zip_of(PETS))), ("images", ("b.jpg", JPEG))], {}, "by itself"),
        ([("images", ("a.zip", zip_of(PETS)))], {"labels": "dog"}, "leave `labels` out"),
    ],
)
def test_an_archive_in_a_form_stands_alone(client, birds, files, data, words):
    answer = client.post(f"/v1/learners/{birds}/tasks", files=files, data=data)
    assert answer.status_code == 422
    assert words in answer.text


def test_the_answer_says_how_an_archive_was_read(client, birds):
    images = {
        f"x/{split}/{label}/{i}.png": make_image(label, i)
        for label in ("dog", "cat")
        for i, split in enumerate(("train", "train", "train", "valid", "TEST"))
    }
    files = {**images, "x/README.md": b"#", "__MACOSX/x/._a": b""}
    answer = client.post(
        f"/v1/learners/{birds}/tasks",
        content=zip_of(files),
        headers={"Content-Type": "application/zip"},
    )
    assert answer.status_code == 202, answer.text
    task = answer.json()
    assert task["samples"] == {"train": 6, "eval": 4}
    assert task["layout"]["splits"] == {"train": "train", "valid": "eval", "TEST": "eval"}
    assert task["layout"]["left_out"] == 2
    assert {"path": "x/README.md", "reason": "not-an-image"} in task["layout"]["left_out_files"]
    assert "Kept out to measure accuracy: 'valid' and 'TEST'" in task["layout"]["notes"][0]
    assert client.get(f"/v1/tasks/{task['id']}").json()["layout"] == task["layout"]


def test_names_of_a_form_are_read_as_folders(client, birds):
    names = {
        **{f"pets/{name}": data for name, data in PETS.items()},
        "pets/.DS_Store": b"x",
        "pets/notes.txt": b"x",
    }
    files = [("images", (name, data)) for name, data in names.items()]
    answer = client.post(f"/v1/learners/{birds}/tasks", files=files)
    assert answer.status_code == 202, answer.text
    assert (answer.json()["classes"], answer.json()["layout"]["left_out"]) == (["dog", "cat"], 2)


def test_an_unclear_layout_says_what_was_found_and_names_files(client, birds):
    files = {
        f"{folder}/{i}.png": make_image(folder, i) for folder in ("bus", "train") for i in range(3)
    }
    url = f"/v1/learners/{birds}/tasks"
    answer = client.post(url, content=zip_of(files), headers={"Content-Type": "application/zip"})
    assert (answer.status_code, answer.json()["code"]) == (422, "layout-unclear")
    assert "'train' is named like a split" in answer.json()["detail"]
    assert "splits=false" in answer.json()["detail"]
    assert {error["filename"] for error in answer.json()["errors"]} == {"train/0.png", "bus/0.png"}
    headers = {"Content-Type": "application/zip"}
    answer = client.post(f"{url}?splits=false", content=zip_of(files), headers=headers)
    assert answer.status_code == 202, answer.text
    assert answer.json()["classes"] == ["bus", "train"]


def test_names_in_a_refusal_are_printable_and_short():
    files = {f"a\u202eb/{'x' * 3000}.jpg": JPEG, "c.jpg": JPEG}
    problem = refused(zip_of(files))
    assert len(problem.detail) <= 1000
    assert "\u202e" not in problem.detail


def test_kinds_are_told_apart():
    assert [kind_of(PACKS[name](PETS)[:512]) for name in ("zip", "old tar", "tar.xz")] == [
        "zip",
        "tar",
        "xz",
    ]
    assert kind_of(b"") is None
    assert kind_of(bytes(512)) is None
    head = PACKS["old tar"](PETS)[:512]
    assert [kind_of(head[:511]), kind_of(bytes([head[0] ^ 1]) + head[1:])] == [None, None]
    assert kind_of(io.BytesIO(zlib.compress(b"x" * 600)).read(512)) is None
    with zipfile.ZipFile(io.BytesIO(PACKS["zip64"](PETS))) as archive:
        assert len(archive.namelist()) == 8
