"""Prediction jobs: many images, sent or stored, predicted behind all requests."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from service.remote import replies
from service.remote.calls import Call, Pages, given, read_bytes, read_nothing
from service.remote.following import LONG_POLL_S, Following
from service.remote.task_calls import media_type_of

ACCEPTED = {"jsonl": "application/x-ndjson", "csv": "text/csv"}


def predict_archive(
    name: str,
    archive: Path | str,
    *,
    top_k: int | None = None,
    trace: str | None = None,
    version: int | None = None,
    encoding: str | None = None,
    idempotency_key: str | None = None,
) -> Call[replies.PredictionJob]:
    """Predict all images of an archive behind all requests: a zip, or a tar, plain or with gzip, xz or bzip2.

    Args:
        name: The learner.
        archive: The file. Folders in it mean nothing: images are called by their paths.
        top_k: How many labels to rank.
        trace: How much of the route to tell: `none`, `summary`, or `full`.
        version: An older version instead of the live one.
        encoding: Of names in it that are neither marked as Unicode nor UTF-8.
        idempotency_key: Given, instead of made.

    Raises:
        ValueError: If its name ends otherwise.
    """
    file = Path(archive)
    headers = given(**{"Idempotency-Key": idempotency_key, "Content-Type": media_type_of(file)})
    return Call(
        "POST",
        "/v1/learners/{name}/prediction-jobs",
        {"name": name},
        params=given(top_k=top_k, trace=trace, version=version, encoding=encoding),
        headers=headers,
        body=lambda: file.open("rb"),
        creates=True,
    )


def predict_again(
    name: str,
    *,
    predictions: Mapping[str, Any] | None = None,
    samples: Mapping[str, Any] | None = None,
    images: Sequence[Mapping[str, Any]] | None = None,
    top_k: int | None = None,
    trace: str | None = None,
    version: int | None = None,
    idempotency_key: str | None = None,
) -> Call[replies.PredictionJob]:
    """Predict stored images once more behind all requests; each answer stands beside what was said before.

    Name one of `predictions`, `samples` and `images`.

    Args:
        name: The learner.
        predictions: Images kept with predictions: `{"label", "known", "feedback", "version", "since", "until"}`, each
            or none; `{}` is all of them.
        samples: Images of tasks: `{"label", "task", "split"}`, each or none.
        images: These: `{"prediction": id, "index": i}` or `{"sample": id}` each.
        top_k: How many labels to rank.
        trace: How much of the route to tell: `none`, `summary`, or `full`.
        version: An older version instead of the live one.
        idempotency_key: Given, instead of made.
    """
    return Call(
        "POST",
        "/v1/learners/{name}/prediction-jobs",
        {"name": name},
        params=given(top_k=top_k, trace=trace, version=version),
        headers=given(**{"Idempotency-Key": idempotency_key}),
        json=given(predictions=predictions, samples=samples, images=images),
        creates=True,
    )


def prediction_job(job_id: str, *, wait_s: float | None = None) -> Call[replies.PredictionJob]:
    """Read a prediction job, at the latest after `wait_s` seconds if it has not ended before."""
    return Call(
        "GET",
        "/v1/prediction-jobs/{job_id}",
        {"job_id": job_id},
        params=given(wait=wait_s),
        silence_s=None if wait_s is None else wait_s + LONG_POLL_S,
    )


def prediction_jobs(name: str, *, limit: int | None = None) -> Pages[replies.PredictionJob]:
    """List the prediction jobs of a learner, newest first.

    Args:
        name: The learner.
        limit: Most to read; None for all.
    """
    return Pages("/v1/learners/{name}/prediction-jobs", {"name": name}, limit=limit)


def follow_prediction_job(
    job_id: str,
    on_progress: Callable[[replies.PredictionJob], None] | None = None,
    *,
    timeout_s: float | None = None,
    poll_s: float = 0.4,
) -> Following[replies.PredictionJob]:
    """Wait until a prediction job has ended, reporting it on the way."""

    def read(wait_s: float | None) -> Call[replies.PredictionJob]:
        return prediction_job(job_id, wait_s=wait_s)

    return Following(job_id, read, on_progress, timeout_s, poll_s)


def cancel_prediction_job(job_id: str) -> Call[replies.PredictionJob]:
    """Stop a prediction job. What was answered stays."""
    return Call("POST", "/v1/prediction-jobs/{job_id}/cancel", {"job_id": job_id})


def delete_prediction_job(job_id: str) -> Call[None]:
    """Delete a prediction job, its results and the images that were sent with it."""
    return Call("DELETE", "/v1/prediction-jobs/{job_id}", {"job_id": job_id}, read=read_nothing)


def job_results(
    job_id: str,
    *,
    changed: bool | None = None,
    known: bool | None = None,
    label: str | None = None,
    limit: int | None = None,
) -> Pages[replies.JobResult]:
    """Read what the images of a prediction job came to, in order, as far as they have been answered.

    Args:
        job_id: The job.
        changed: True for those answered otherwise than before, or than they are labelled; False for the others.
        known: False for those that look like no class.
        label: Only those answered so.
        limit: Most to read; None for all.
    """
    params = given(changed=changed, known=known, label=label)
    return Pages("/v1/prediction-jobs/{job_id}/results", {"job_id": job_id}, params, limit)


def save_job_results(
    job_id: str,
    file: Path,
    *,
    format: Literal["jsonl", "csv"] = "csv",
    changed: bool | None = None,
    known: bool | None = None,
    label: str | None = None,
) -> Call[Path]:
    """Write the results of a prediction job to a file, which appears complete or not at all.

    Args:
        job_id: The job.
        file: Where to.
        format: `csv`, a row an image, or `jsonl`, a line of JSON an image.
        changed: As for `job_results`.
        known: As for `job_results`.
        label: As for `job_results`.
    """
    return Call(
        "GET",
        "/v1/prediction-jobs/{job_id}/results",
        {"job_id": job_id},
        params={"format": format, **given(changed=changed, known=known, label=label)},
        headers={"Accept": ACCEPTED[format]},
        into=file,
        read=lambda _: file,
    )


def job_image(job_id: str, index: int) -> Call[bytes]:
    """Read an image of a prediction job, as it is predicted: a PNG."""
    places = {"job_id": job_id, "index": index}
    return Call("GET", "/v1/prediction-jobs/{job_id}/images/{index}", places, read=read_bytes)
