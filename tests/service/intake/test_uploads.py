import base64
import io
import json
import resource
import stat
import tarfile
import zipfile

import pytest

from service.intake.archives import ArchiveLimits, unpack
from service.intake.placing import place
from service.intake.spool import Spool
from service.problems import Problem
from service.schemas.tasks import TaskOptions
from tests.factories import make_image

LIMITS = ArchiveLimits(max_images=10, max_bytes=500_000, max_image_bytes=100_000)


def zip_of(files, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tar_of(files, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in files.items():
            entry = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def unpacked(data, limits=LIMITS):
    with Spool() as archive, Spool() as into:
        archive.append(data)
        images, _ = place(unpack(archive, into, limits), TaskOptions())
        return [(i.label, i.split, i.filename, into.read(i.offset, i.size)) for i in images]


FOLDER = {
    "heron/a.png": b"1",
    "egret/b.png": b"22",
    "egret/.DS_Store": b"x",
    "__MACOSX/egret/b.png": b"x",
}


@pytest.mark.parametrize("pack", [zip_of, tar_of, lambda files: tar_of(files, "w:gz")])
@pytest.mark.parametrize("root", ["", "photos/", "./"])
def test_a_folder_of_labels_is_read_from_any_archive(pack, root):
    images = unpacked(pack({root + name: data for name, data in FOLDER.items()}))
    assert images == [("heron", "auto", "a.png", b"1"), ("egret", "auto", "b.png", b"22")]


def test_train_and_eval_folders_set_the_split():
    images = unpacked(zip_of({"x/train/heron/a.png": b"1", "x/eval/heron/b.png": b"2"}))
    assert [(label, split) for label, split, _, _ in images] == [
        ("heron", "train"),
        ("heron", "eval"),
    ]


def link(kind):
    entry = tarfile.TarInfo("heron/a.png")
    entry.type, entry.linkname = kind, "/etc/passwd"
    return entry


def zip_link():
    entry = zipfile.ZipInfo("heron/a.png")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return zip_of({entry: b"/etc/passwd"})


def encrypted():
    data = bytearray(zip_of({"heron/a.png": b"1"}))
    data[6] |= 1
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


HOSTILE = {
    "empty": b"",
    "empty zip cut": zip_of({"heron/a.png": b"1"})[:-30],
    "zip with a damaged entry": zip_of({"heron/a.png": b"1" * 1000}).replace(
        b"1" * 500, b"2" * 500
    ),
    "leads out": zip_of({"../heron/a.png": b"1"}),
    "absolute": zip_of({"/heron/a.png": b"1"}),
    "drive": zip_of({"C:\\heron\\a.png": b"1"}),
    "tar leads out": tar_of({"heron/../../a.png": b"1"}),
    "zip link": zip_link(),
    "symlink": tar_of({link(tarfile.SYMTYPE): b""}),
    "hard link": tar_of({link(tarfile.LNKTYPE): b""}),
    "device": tar_of({link(tarfile.CHRTYPE): b""}),
    "fifo": tar_of({link(tarfile.FIFOTYPE): b""}),
    "encrypted": encrypted(),
    "unpacks to too much": zip_of(
        {f"heron/{i}.png": bytes(99_999) for i in range(11)}, compression=zipfile.ZIP_DEFLATED
    ),
    "tar of too much": tar_of({f"heron/{i}.png": bytes(99_999) for i in range(11)}, "w:gz"),
    "tar claims too much": tar_of({"heron/a.png": bytes(30_000_000)}, "w:gz"),
    "too many entries": zip_of({f"heron/{i:0900}": b"1" for i in range(1200)}),
    "tar of too many folders": tar_of({f"{i}/.x": b"" for i in range(1100)}, "w:gz"),
    "gzip of nothing": b"\x1f\x8b" + b"x" * 20,
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused(case):
    with pytest.raises(Problem) as caught:
        unpacked(HOSTILE[case])
    assert caught.value.code == "archive-rejected"


def test_counts_and_sizes_of_images_are_bounded():
    with pytest.raises(Problem) as caught:
        unpacked(zip_of({f"heron/{i}.png": b"1" for i in range(11)}))
    assert caught.value.code == "too-many-images"
    [(_, _, _, data)] = unpacked(zip_of({"heron/a.png": bytes(200_000)}))
    assert len(data) == LIMITS.max_image_bytes + 1
    with pytest.raises(Problem) as caught:
        unpacked(zip_of({}))
    assert caught.value.code == "missing-image"


def test_a_tar_header_of_gigabytes_is_not_read():
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = tarfile.XHDTYPE, 10**10
    with pytest.raises(Problem) as caught:
        unpacked(entry.tobuf() + bytes(1024))
    assert caught.value.code == "archive-rejected"


def pictures():
    return {
        f"{label}/{i}.png": make_image(label, i) for label in ("heron", "egret") for i in range(4)
    }


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("application/zip", zip_of(pictures())),
        ("application/x-tar", tar_of(pictures())),
        ("application/gzip", tar_of(pictures(), "w:gz")),
    ],
)
def test_archives_are_learned_from(client, birds, kind, data):
    url = f"/v1/learners/{birds}/tasks?name=first&eval_fraction=0.5&config=%7B%7D"
    answer = client.post(url, content=data, headers={"Content-Type": kind})
    assert answer.status_code == 202, answer.text
    task = answer.json()
    assert (task["name"], task["samples"]) == ("first", {"train": 4, "eval": 4})
    assert task["classes"] == ["heron", "egret"]


def sent(client, how, labels):
    """Send images under labels in one of the ways there are."""
    url = "/v1/learners/birds/tasks"
    files = {
        f"{label}/{i}.png": make_image(f"class {at}", i)
        for at, label in enumerate(labels)
        for i in range(3)
    }
    parts = [("images", (name, data, "image/png")) for name, data in files.items()]
    match how:
        case "zip":
            kind = {"Content-Type": "application/zip"}
            return client.post(url, content=zip_of(files), headers=kind)
        case "tar":
            kind = {"Content-Type": "application/x-tar"}
            return client.post(url, content=tar_of(files), headers=kind)
        case "form":
            return client.post(url, files=parts)
        case "labels":
            bare = [("images", (f"{i}.png", part[1], part[2])) for i, (_, part) in enumerate(parts)]
            return client.post(
                url, files=bare, data={"labels": [name.rsplit("/", 1)[0] for name in files]}
            )
        case "manifest":
            manifest = {str(i): {"label": name.rsplit("/", 1)[0]} for i, name in enumerate(files)}
            bare = [("images", (str(i), part[1], part[2])) for i, (_, part) in enumerate(parts)]
            return client.post(url, files=bare, data={"manifest": json.dumps(manifest)})
    samples = [
        {"label": name.rsplit("/", 1)[0], "image": {"base64": base64.b64encode(data).decode()}}
        for name, data in files.items()
    ]
    return client.post(url, json={"samples": samples})


WAYS = ("zip", "tar", "form", "labels", "manifest", "json")


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    ("label", "twin"),
    [
        ("A", "a"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u062e\u0648\u0627\u0647\u0645",
        ),
    ],
)
def test_labels_that_look_alike_are_refused_with_both_names(client, birds, how, label, twin):
    answer = sent(client, how, (label, twin))
    assert (answer.status_code, answer.json()["code"]) == (409, "label-confusable")
    [error] = answer.json()["errors"]
    assert (error["label"], error["detail"]) == (twin, f"The label looks like {label}.")


@pytest.mark.parametrize("how", WAYS)
def test_words_with_joiners_are_learned_from(client, birds, how):
    labels = ["\u0dc1\u0dca\u200d\u0dbb\u0dd3", "\u06a9\u062a\u0627\u0628\u200c\u0647\u0627"]
    answer = sent(client, how, labels)
    assert (answer.status_code, answer.json()["classes"]) == (202, labels)


@pytest.mark.parametrize("how", WAYS)
def test_a_label_that_cannot_be_is_named_and_so_is_its_place(client, birds, how):
    answer = sent(client, how, ("heron", "a\u202eb"))
    assert answer.status_code == 422
    assert "U+202E RIGHT-TO-LEFT OVERRIDE as its character 2" in answer.text
    error = answer.json()["errors"][0]
    assert error["pointer"]
    if how not in ("manifest", "json"):
        assert (answer.json()["code"], error["label"]) == ("label-invalid", "a<U+202E>b")
        assert error["filename"].endswith(".png")
    assert sent(client, how, ("heron", "..")).status_code == 422


def test_a_name_that_comes_as_filename_star_alone_is_taken(client, birds):
    parts = b"".join(
        b"--b\r\nContent-Disposition: form-data; name=images; filename*=%s\r\n\r\n%s\r\n"
        % (name, make_image(name.decode(), i))
        for name in (b"UTF-8''K%C3%BCken%2Fa.png", b"iso-8859-1'de'V%F6gel%2fa.png")
        for i in range(3)
    )
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = client.post("/v1/learners/birds/tasks", content=parts + b"--b--\r\n", headers=kind)
    assert answer.status_code == 202, answer.text
    assert answer.json()["classes"] == ["K\u00fcken", "V\u00f6gel"]


def test_json_images_are_learned_from(client, birds):
    samples = [
        {
            "label": label,
            "split": "eval" if i == 0 else "train",
            "image": {"base64": base64.b64encode(make_image(label, i)).decode()},
        }
        for label in ("heron", "egret")
        for i in range(4)
    ]
    body = {"samples": samples, "options": {"name": "by hand", "seed": 3}}
    answer = client.post(f"/v1/learners/{birds}/tasks", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.json()["samples"] == {"train": 6, "eval": 2}


MANIFEST = {f"{i}.png": {"label": "owl", "split": "eval" if i else "train"} for i in range(4)}


def files():
    return [("images", (f"{i}.png", make_image("heron", i), "image/png")) for i in range(4)]


@pytest.mark.parametrize(
    ("data", "classes", "counts"),
    [
        ({"labels": ["heron"]}, ["heron"], {"train": 3, "eval": 1}),
        ({"labels": ["heron", "owl", "heron", "owl"]}, ["heron", "owl"], {"train": 4, "eval": 0}),
        (
            {"manifest": json.dumps(MANIFEST)},
            ["owl"],
            {"train": 1, "eval": 3},
        ),
    ],
)  # fmt: skip
def test_the_ways_to_give_labels(client, birds, data, classes, counts):
    answer = client.post(f"/v1/learners/{birds}/tasks", files=files(), data=data)
    assert answer.status_code == 202, answer.text
    assert (answer.json()["classes"], answer.json()["samples"]) == (classes, counts)


def test_the_number_of_labels_must_fit(client, birds):
    answer = client.post(f"/v1/learners/{birds}/tasks", files=files(), data={"labels": ["a", "b"]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/labels"


def test_labels_are_one_class_however_they_are_composed(client, birds):
    data = {"labels": ["caf\u00e9", "cafe\u0301"] * 2}
    answer = client.post(f"/v1/learners/{birds}/tasks", files=files(), data=data)
    assert answer.json()["classes"] == ["caf\u00e9"]


def test_hostile_file_names_are_only_shown(client, birds):
    names = [
        "heron/../../etc/passwd",
        "heron/C:\\x.png",
        "heron/a\u202e.png",
        "heron/" + "x" * 3000,
    ]
    parts = [
        ("images", (name, make_image("heron", i), "image/png")) for i, name in enumerate(names)
    ]
    answer = client.post(f"/v1/learners/{birds}/tasks", files=parts, data={"labels": "heron"})
    assert answer.status_code == 202, answer.text
    page = client.get(f"/v1/tasks/{answer.json()['id']}/samples").json()["items"]
    assert [sample["filename"] for sample in page] == ["passwd", "x.png", "a.png", "x" * 255]


def test_thousands_of_images_need_few_descriptors_and_little_memory(client, birds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parts = [
        ("images", (f"{i % 2}/{i}.png", make_image(str(i % 2), i), "image/png"))
        for i in range(2500)
    ]
    answer = client.post(f"/v1/learners/{birds}/tasks", files=parts)
    assert answer.status_code == 202, answer.text[:500]
    assert answer.json()["samples"] == {"train": 2250, "eval": 250}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024
