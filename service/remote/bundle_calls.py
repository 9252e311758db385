"""A version of a learner as one file: a bundle for another installation, or an ONNX model for other software."""

from pathlib import Path

from service.remote import replies
from service.remote.calls import Call, given


def save_bundle(name: str, number: int, file: Path) -> Call[Path]:
    """Write a version as one file: everything it has learned. The file appears complete or not at all."""
    return Call(
        "GET",
        "/v1/learners/{name}/versions/{number}/bundle",
        {"name": name, "number": number},
        headers={"Accept": "application/x-tar"},
        into=file,
        read=lambda _: file,
    )


def save_onnx(name: str, number: int, file: Path) -> Call[Path]:
    """Write a version as an ONNX model, which answers with ONNX Runtime alone. Appears complete or not at all."""
    return Call(
        "GET",
        "/v1/learners/{name}/versions/{number}/export",
        {"name": name, "number": number},
        params={"format": "onnx"},
        headers={"Accept": "application/octet-stream"},
        into=file,
        read=lambda _: file,
    )


def import_learner(
    file: Path, *, name: str | None = None, idempotency_key: str | None = None
) -> Call[replies.Learner]:
    """Create a learner from a bundle; its version 1 answers as the exported one.

    Args:
        file: The bundle.
        name: What to call the learner, instead of what it was called.
        idempotency_key: Given, instead of made.
    """
    return Call(
        "POST",
        "/v1/learners/import",
        params=given(name=name),
        headers=given(**{"Idempotency-Key": idempotency_key, "Content-Type": "application/x-tar"}),
        body=lambda: file.open("rb"),
        creates=True,
    )
