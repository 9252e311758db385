"""Bundles that are not sound: each way takes the members of a sound one and returns the file to send."""

import hashlib
import io
import json
import tarfile

import safetensors.torch
import torch

from models.admission import MAX_HEADER_BYTES

CANARY = "xyzzy-canary"


def members_of(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}


def write_tar(members, *, sums=None):
    """Write a bundle whose sums are right, or those given."""
    members = {name: data for name, data in members.items() if name != "sums.json"}
    right = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    members["sums.json"] = json.dumps({"members": sums or right}).encode()
    return tar_of([(tarfile.TarInfo(name), data) for name, data in members.items()])


def tar_of(entries):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for info, data in entries:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def change_json(name, **values):
    """Change members of one JSON file; a dotted path reaches inside."""

    def change(members):
        document = json.loads(members[name])
        for path, value in values.items():
            *parents, last = path.split("__")
            inner = document
            for parent in parents:
                inner = inner[int(parent) if parent.isdigit() else parent]
            inner[last] = value
        return write_tar({**members, name: json.dumps(document).encode()})

    return change


def change_both(head, manifest):
    def change(members):
        changed = members_of(change_json("bundle.json", **head)(members))
        return change_json("manifest.json", **manifest)(changed)

    return change


def with_entry(name, *, type=tarfile.REGTYPE, data=b"", link=""):
    def change(members):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = type, link
        head = [(tarfile.TarInfo("bundle.json"), members["bundle.json"])]
        rest = [(tarfile.TarInfo(n), d) for n, d in members.items() if n != "bundle.json"]
        return tar_of([*head, (info, data), *rest])

    return change


def forge(change, file="shared.safetensors"):
    """Change the bytes of a tensor file; names, manifest and sums are made to fit again."""

    def forged(members):
        manifest = json.loads(members["manifest.json"])
        entry = manifest["files"][file]
        data = change(members[f"files/{entry['sha256']}.safetensors"])
        others = {n: d for n, d in members.items() if entry["sha256"] not in n}
        entry.update(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
        name = f"files/{entry['sha256']}.safetensors"
        return write_tar({**others, "manifest.json": json.dumps(manifest).encode(), name: data})

    return forged


def tensors(change):
    """Change the tensors of a file."""

    def changed(data):
        state = safetensors.torch.load(data)
        change(state)
        return safetensors.torch.save(state)

    return changed


def first_task(change):
    return forge(tensors(change), "task-0001.safetensors")


def header(size, text=b""):
    return lambda data: size.to_bytes(8, "little") + text + data[8 + len(text) :]


def many_tensors(n):
    entry = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    text = "{" + ",".join(f'"a{i}":{entry}' for i in range(n)) + "}"
    return lambda _: len(text).to_bytes(8, "little") + text.encode()


def without_sums(members):
    return tar_of([(tarfile.TarInfo(n), d) for n, d in members.items() if n != "sums.json"])


def twice(members):
    entries = [(tarfile.TarInfo(n), d) for n, d in members.items()]
    return tar_of([*entries[:2], entries[1], *entries[2:]])


def huge_header(members):
    """A member that says it has 8 EiB."""
    info = tarfile.TarInfo("bundle.json")
    info.size = 2**63 - 1
    return info.tobuf(tarfile.GNU_FORMAT) + b"{}"


def pax_bomb(members):
    info = tarfile.TarInfo("bundle.json")
    info.pax_headers = {"comment": "x" * 5_000_000}
    return info.tobuf(tarfile.PAX_FORMAT) + write_tar(members)


def in_the_padding(data):
    """Hide a byte behind `bundle.json`, before the next block."""
    size = int(data[124:135], 8)
    assert size % 512
    return data[: 512 + size] + b"\1" + data[512 + size + 1 :]


ARCHIVES = {
    "nothing": lambda members: b"",
    "text": lambda members: b"not a tar at all " * 100,
    "zeros": lambda members: bytes(4096),
    "cut off": lambda members: write_tar(members)[:3000],
    "no sums": without_sums,
    "wrong sum": lambda members: write_tar(members, sums=dict.fromkeys(members, "0" * 64)),
    "a byte of a tensor": lambda members: write_tar(
        {n: d[:-1] + b"\1" if n.startswith("files/") else d for n, d in members.items()},
    ),
    "no manifest": lambda members: write_tar(
        {n: d for n, d in members.items() if n != "manifest.json"}
    ),
    "head not first": lambda members: write_tar(
        {"manifest.json": members["manifest.json"], **members}
    ),
    "../": with_entry(f"../{CANARY}"),
    "absolute": with_entry(f"/etc/{CANARY}"),
    "folder": with_entry("files/", type=tarfile.DIRTYPE),
    "unknown": with_entry(f"{CANARY}.pkl", data=b"\x80\x04."),
    "symlink": with_entry("manifest.json", type=tarfile.SYMTYPE, link="/etc/passwd"),
    "hard link": with_entry("manifest.json", type=tarfile.LNKTYPE, link="bundle.json"),
    "device": with_entry("manifest.json", type=tarfile.CHRTYPE),
    "fifo": with_entry("manifest.json", type=tarfile.FIFOTYPE),
    "long name": with_entry("files/" + "a" * 3000),
    "duplicate": twice,
    "huge member": huge_header,
    "pax header of 5 MB": pax_bomb,
    "20,000 members": lambda members: tar_of(
        [(tarfile.TarInfo("bundle.json"), b"{}")]
        + [(tarfile.TarInfo(f"files/{i:064x}.safetensors"), b"") for i in range(20_000)]
    ),
    "a byte behind the end": lambda members: write_tar(members) + b"\1",
    "a zero behind the end": lambda members: write_tar(members) + b"\0",
    "a line behind the end": lambda members: write_tar(members) + b"\n",
    "a block behind the end": lambda members: write_tar(members) + b"x" * 512,
    "another tar behind the end": lambda members: write_tar(members) * 2,
    "zeros behind the last record": lambda members: write_tar(members) + bytes(10_240),
    "bytes between end and record": lambda members: write_tar(members)[:-512] + b"x" * 512,
    "half an end": lambda members: write_tar(members).rstrip(b"\0") + bytes(600),
    "bytes behind a member": lambda members: in_the_padding(write_tar(members)),
    "huge JSON": lambda members: write_tar({**members, "manifest.json": b" " * (17 << 20)}),
}


FORMATS = {
    "zip": lambda members: b"PK\x03\x04" + bytes(600),
    "pickle": lambda members: b"\x80\x04\x95" + bytes(600),
    "gzip": lambda members: b"\x1f\x8b\x08" + bytes(600),
    "bare safetensors": lambda members: next(
        data for name, data in members.items() if name.startswith("files/")
    ),
    "bundle of the future": change_json("bundle.json", format_version=2),
    "manifest of the future": change_json("manifest.json", format_version=2),
}


ARTIFACTS = {
    "not JSON": lambda members: write_tar({**members, "bundle.json": b"{"}),
    "NaN in JSON": lambda members: write_tar(
        {**members, "bundle.json": members["bundle.json"].replace(b'"seed": 0', b'"seed": NaN')}
    ),
    "deep JSON": lambda members: write_tar({**members, "manifest.json": b"[" * 100_000}),
    "a list": lambda members: write_tar({**members, "manifest.json": b"[]"}),
    "no format": change_json("bundle.json", format_version=True),
    "format 0": change_json("manifest.json", format_version=0),
    "unknown field": change_json("bundle.json", **{CANARY: 1}),
    "bad name inside": change_json("bundle.json", learner__name=f"../{CANARY}"),
    "images that are never halved": change_json("bundle.json", learner__halved_to=10**6),
    "images halved to nothing": change_json("bundle.json", learner__halved_to=0),
    "label with NUL": change_json("bundle.json", version__classes=["a\0", "b"]),
    "invisible label": change_json("bundle.json", version__classes=["a\u202e", "b"]),
    "hidden text in a label": change_both(
        {
            "version__classes": ["heron", "e\U000e0061\U000e0062"],
            "version__tasks__0__classes": ["heron", "e\U000e0061\U000e0062"],
        },
        {"classes": ["heron", "e\U000e0061\U000e0062"]},
    ),
    "labels that look the same": change_both(
        {
            "version__classes": ["heron", "\uff28eron"],
            "version__tasks__0__classes": ["heron", "\uff28eron"],
        },
        {"classes": ["heron", "\uff28eron"]},
    ),
    "a text turned around in the metrics": change_json(
        "bundle.json", version__metrics={"confusion": {"1": {"heron\u202e": {"egret": 1}}}}
    ),
    "an escape sequence in the versions": change_json(
        "bundle.json", version__code_versions={"torch": "2\x1b[2J"}
    ),
    "a name that is hidden in the manifest": change_json("manifest.json", extra="a\u2066b"),
    "another class": change_json("manifest.json", classes=["heron", CANARY]),
    "a class twice": change_json("manifest.json", classes=["heron", "heron"]),
    "class of no task": change_json("manifest.json", class_tasks=[1, 7]),
    "task 0": change_json("manifest.json", task_indexes=[0]),
    "task 2 ** 31": change_json("manifest.json", task_indexes=[2**31]),
    "another strategy": change_json("manifest.json", strategy="ease"),
    "metrics of another shape": change_json(
        "bundle.json", version__metrics={"confusion": {"a": {"b": 1}}}
    ),
    "more right than there are": change_json("bundle.json", version__accuracy__0__n_correct=99),
    "more right than were left out": change_json(
        "bundle.json", version__accuracy__0__n_cross_validated_correct=1
    ),
    "negative count": change_json("bundle.json", version__accuracy__0__n=-1),
    "files elsewhere": change_json(
        "manifest.json", files={"../x": {"sha256": "0" * 64, "size": 1}}
    ),
    "a file less": change_json("manifest.json", files={}),
    "truncated": forge(lambda data: data[:-1]),
    "trailing": forge(lambda data: data + b"\0"),
    "a header of 100 MB": forge(header(100_000_000)),
    "a header of 2 ** 63": forge(header(2**63)),
    "a header over its limit": forge(
        lambda data: (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + bytes(MAX_HEADER_BYTES + 1)
    ),
    "header not JSON": forge(header(10, b"x" * 10)),
    "empty file": forge(lambda data: b""),
    "200,000 tensors": forge(many_tensors(200_000)),
    "20,000 tensors": forge(many_tensors(20_000)),
    "pickle inside": forge(lambda data: b"\x80\x04\x95" + bytes(100)),
    "wrong name": first_task(lambda state: state.update(extra=torch.zeros(1))),
    "a task's tensor in another file": forge(
        tensors(lambda state: state.update({"tasks.1.extra": torch.zeros(1)}))
    ),
    "a tensor more": first_task(lambda state: state.update({"tasks.1.extra": torch.zeros(1)})),
    "a tensor less": first_task(lambda state: state.clear()),
    "wrong shape": first_task(
        lambda state: state.update({"tasks.1.sums": state["tasks.1.sums"][:1]})
    ),
    "wrong dtype": first_task(
        lambda state: state.update({"tasks.1.sums": state["tasks.1.sums"].to(torch.int64)})
    ),
    "complex dtype": first_task(
        lambda state: state.update({"tasks.1.sums": state["tasks.1.sums"].to(torch.complex64)})
    ),
    "NaN": first_task(lambda state: state["tasks.1.sums"].fill_(float("nan"))),
    "inf": first_task(lambda state: state["tasks.1.sums"][0].fill_(float("inf"))),
    "another ledger": forge(tensors(lambda state: state["ledger"].fill_(9))),
}


MISFITS = {
    "unknown-strategy": change_both({"learner__strategy": CANARY}, {"strategy": CANARY}),
    "invalid-config": change_both({"learner__config": {}}, {"config": {"epochs": "many"}}),
    "unknown-backbone": change_both({"learner__backbone": CANARY}, {"backbone__name": CANARY}),
    "backbone-differs": change_both(
        {"learner__fingerprint": "0" * 64}, {"backbone__fingerprint": "0" * 64}
    ),
    "learner-exists": write_tar,
}


REFUSALS = [
    *(("archive-rejected", what, change) for what, change in ARCHIVES.items()),
    *(("artifact-format-unsupported", what, change) for what, change in FORMATS.items()),
    *(("artifact-invalid", what, change) for what, change in ARTIFACTS.items()),
    *((code, code, change) for code, change in MISFITS.items()),
]
