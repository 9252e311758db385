"""Problem details (RFC 9457): the exception to raise, and the answer it becomes.

Clients branch on a problem's `code`. Inner errors carry a code of the table below and one sentence; they
know no HTTP.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class ProblemType:
    """One kind of problem: what `/problems/<code>` says about it."""

    status: int
    title: str
    help: str
    retryable: bool = False


def _table() -> dict[str, ProblemType]:
    p = ProblemType
    return {
        # The request itself
        "validation": p(422, "Invalid request", "A field is missing, unknown or out of range: see `errors`."),
        "malformed-request": p(400, "Malformed request", "What came is no HTTP/1.1 request."),
        "malformed-json": p(400, "Malformed JSON", "The body is no JSON by RFC 8259, or holds NaN or broken Unicode."),
        "malformed-multipart": p(400, "Malformed multipart", "The multipart body is cut off or breaks RFC 7578."),
        "too-many-parts": p(413, "Too many parts", "The request has more files or fields than `/v1/info` allows."),
        "part-too-large": p(413, "Part too large", "A form field that is not a file is too long."),
        "body-too-large": p(413, "Body too large", "The body is larger than `/v1/info` allows for this path."),
        "headers-too-large": p(431, "Headers too large", "Send at most 64 headers and 16 KiB of them."),
        "uri-too-long": p(414, "URI too long", "The path and query may have 8 KiB."),
        "bad-host": p(400, "Bad Host header", "The Host header is malformed or not one this service answers to."),
        "request-timeout": p(408, "Body too slow", "The rest of the body did not come in time.", True),
        "digest-mismatch": p(400, "Digest mismatch", "The body is not the one `Content-Digest` was made of.", True),
        "client-closed": p(400, "Connection closed", "The connection ended before the body was complete.", True),
        "unsupported-media-type": p(415, "Unsupported media type", "The API reference names the content types."),
        "unsupported-content-encoding": p(415, "Unsupported content encoding", "Send the body as it is, uncompressed."),
        "not-found": p(404, "Not found", "There is nothing at this address."),
        "method-not-allowed": p(405, "Method not allowed", "`Allow` names the methods of this address."),
        "not-acceptable": p(406, "Not acceptable", "This address cannot answer in the media type asked for."),
        "precondition-failed": p(412, "Precondition failed", "`If-Match` names an older state: read it again."),
        "invalid-cursor": p(422, "Invalid cursor", "Use `next_cursor` of the page before, unchanged."),
        # Keys
        "unauthorized": p(401, "Key needed", "Send `Authorization: Bearer <key>` with a valid key."),
        "forbidden": p(403, "Not allowed", "The key's role is too low for this."),
        "rate-limited": p(429, "Too many requests", "Wait as long as `Retry-After` says.", True),
        "quota-exceeded": p(403, "Quota exceeded", "A total that `/v1/info` names would be passed."),
        "csrf": p(403, "Cross-site request", "A browser session accepts changes only from its own pages."),
        "key-not-found": p(404, "No such key", "There is no valid key of that id."),
        "last-admin-key": p(409, "Last admin key", "Create another admin key before revoking the last one."),
        # Subscriptions
        "subscription-not-found": p(404, "No such subscription", "There is no subscription of that id."),
        "subscription-disabled": p(409, "Subscription disabled", "Enable it before messages are sent to it."),
        "delivery-not-found": p(404, "No such message", "There is none of that id, or it is too old to be kept."),
        # Idempotency
        "idempotency-key-invalid": p(400, "Invalid Idempotency-Key", "Use 1 to 255 visible ASCII characters."),
        "idempotency-key-reused": p(422, "Idempotency-Key reused", "It came with another body before: use a new one."),
        "idempotency-in-progress": p(409, "Still in progress", "The first request with this key still runs.", True),
        # Learners and versions
        "learner-not-found": p(404, "No such learner", "There is no learner of that name."),
        "learner-exists": p(409, "Learner exists", "Choose another name, or delete the learner first."),
        "learner-busy": p(409, "Learner busy", "A task of this learner is running: cancel it or wait.", True),
        "unknown-strategy": p(422, "Unknown strategy", "`GET /v1/strategies` lists what there is."),
        "unknown-backbone": p(422, "Unknown backbone", "`GET /v1/backbones` lists what there is."),
        "invalid-config": p(422, "Invalid configuration", "A hyperparameter is unknown or out of range."),
        "version-not-found": p(404, "No such version", "The learner has no version of that number."),
        "version-not-served": p(409, "Version not served yet", "It was not published in time.", True),
        "version-damaged": p(503, "Version damaged", "A file of the version is missing or damaged: restore a backup."),
        "version-erased": p(409, "Version erased", "It held what was unlearned since: choose another one."),
        "nothing-learned": p(409, "Nothing learned", "The learner has no version yet: post a task and wait for it."),
        "class-not-found": p(404, "No such class", "The live version knows no class of that label or name."),
        "all-classes-hidden": p(409, "All classes hidden", "Show one of the classes again: nothing can be answered."),
        # Tasks
        "task-not-found": p(404, "No such task", "There is no task of that id."),
        "task-ended": p(409, "Task has ended", "Only a task that is queued or running can be cancelled."),
        "task-not-retryable": p(409, "Task not retryable", "Only a failed or cancelled task can be retried."),
        "task-not-held": p(409, "Task not held", "Only a held task waits to be published."),
        "stale-head": p(409, "Stale head version", "The learner has moved on: read its head version again."),
        "consolidation-off": p(409, "Consolidation is off", "The operator has set that nothing is consolidated."),
        "nothing-to-consolidate": p(409, "Nothing to consolidate", "No task of the learner waits for it with images."),
        "cannot-unlearn": p(409, "Cannot unlearn", "`unlearning` in `GET /v1/strategies` says which strategies can."),
        "cannot-correct": p(409, "Cannot correct", "`corrects` in `GET /v1/strategies` says which strategies can."),
        "cannot-look-into": p(409, "Cannot look into", "`looks_into_images` in `GET /v1/strategies` says which can."),
        "nothing-to-correct": p(409, "Nothing to correct", "The images show this already, or were changed since."),
        "class-would-be-empty": p(409, "Nothing would be left", "Leave an image to learn from, or unlearn the class."),
        "training-images-gone": p(409, "Training images gone", "The strategy has to see again what it takes out."),
        "unknown-content": p(422, "Unknown task or class", "The learner's head does not know it: see `errors`."),
        "nothing-would-remain": p(422, "Nothing would remain", "Delete the learner to be rid of everything."),
        "label-known": p(409, "Label known", "Mode `extend` learns what is new of classes already known."),
        "label-confusable": p(409, "Label confusable", "The label differs from another only in case or width."),
        "label-conflict": p(409, "Contradicting labels", "An image is there under two labels: see `errors`."),
        "nothing-new": p(409, "Nothing new", "The learner has all of the images already, or is about to learn them."),
        "label-invalid": p(422, "Invalid label", "A label has 1 to 128 characters, none of them control or invisible."),
        "label-too-long": p(422, "Label too long", "A label has at most 128 characters."),
        "missing-image": p(422, "No image", "The request holds no usable image."),
        "too-few-images": p(422, "Too few images", "A class has fewer different images than `/v1/info` says."),
        "images-rejected": p(422, "Unusable images", "See `errors`; `on_bad_image=skip` learns from the others."),
        "sample-not-found": p(404, "No such image", "There is no stored image of that id."),
        "too-many-images": p(413, "Too many images", "The request has more images than `/v1/info` allows."),
        "too-many-pixels": p(413, "Too much to decode", "The images take more work together than `/v1/info` allows."),
        "layout-unclear": p(422, "Folders not understood", "It is not clear which class an image is of: see `detail`."),
        "archive-rejected": p(422, "Archive rejected", "It is damaged, or holds links, odd paths or too much data."),
        # Bundles
        "artifact-format-unsupported": p(415, "Unsupported format", "Import bundles: pickles and zips are never read."),
        "artifact-invalid": p(422, "Invalid artifact", "The bundle does not hold together: export the version again."),
        "cannot-export": p(409, "Cannot export", "What this strategy answers is no one graph: export a bundle."),
        "backbone-differs": p(422, "Other backbone weights", "Set the weights that the version was learned on."),
        # Images
        "image-empty": p(422, "Empty image", "The file has no bytes."),
        "image-format-unsupported": p(415, "Unsupported image format", "Send JPEG, PNG, WebP, HEIC, AVIF, GIF or BMP."),
        "image-undecodable": p(422, "Undecodable image", "It is no image, or one that cannot be read."),
        "image-truncated": p(422, "Truncated image", "The file ends before the image does."),
        "image-corrupt": p(422, "Corrupt image", "The image data are damaged."),
        "image-too-large": p(413, "Image too large", "The file has more bytes than `/v1/info` allows an image."),
        "image-too-many-pixels": p(413, "Too many pixels", "The image has more pixels than `/v1/info` allows."),
        "image-bad-dimensions": p(422, "Bad dimensions", "Sides may have 20,000 pixels and a ratio of 50 to 1."),
        "image-too-small": p(422, "Image too small", "Each side needs at least 8 pixels."),
        "image-blank": p(422, "Blank image", "Every pixel is fully transparent."),
        # Predictions
        "prediction-not-found": p(404, "No such prediction", "It was never stored, or its learner is gone."),
        "prediction-image-not-found": p(404, "No such image", "No image of that index is kept of the prediction."),
        "image-not-kept": p(409, "Image not kept", "Nothing could learn from this: upload the image with its label."),
        "feedback-not-found": p(404, "No such feedback", "Nobody has said what is on that image, or took it back."),
        "feedback-taken": p(409, "Feedback taken", "A task learns from it or has learned from it."),
        "feedback-changed": p(409, "Feedback changed", "It was changed or taken while it was looked at.", True),
        "no-feedback": p(409, "No feedback to learn", "None is pending that fits the mode and is enough for a class."),
        # Prediction jobs
        "prediction-job-not-found": p(404, "No such prediction job", "There is no prediction job of that id."),
        "prediction-job-image-not-found": p(404, "No such image", "The job has no image there, or it is not kept."),
        "prediction-job-ended": p(409, "Job has ended", "Only a prediction job that waits or runs can be cancelled."),
        "nothing-to-predict": p(409, "Nothing to predict", "No stored image is what the job asks for."),
        # The service
        "overloaded": p(503, "Overloaded", "More work is waiting than can be done in time.", True),
        "storage-unavailable": p(503, "Storage unavailable", "Rows or blobs out of reach. Predictions go on.", True),
        "blob-missing": p(404, "Stored file missing", "A stored file is gone: run a check, restore a backup."),
        "blob-damaged": p(503, "Stored file damaged", "A stored file does not match its checksum: restore a backup."),
        "insufficient-storage": p(507, "Disk full", "The data disk is below its free-space floor.", True),
        "internal": p(500, "Internal error", "This is our fault; the log has the `request_id`."),
    }  # fmt: skip


PROBLEMS = _table()


@dataclass(frozen=True)
class FieldError:
    """One entry of `errors`: where, and what is wrong there."""

    pointer: str
    detail: str
    code: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as it appears in the answer."""
        code = {} if self.code is None else {"code": self.code}
        return {"pointer": self.pointer, "detail": self.detail, **code, **self.extra}


class Problem(HTTPException):
    """Raise to answer with a problem of the table.

    An HTTPException, so that FastAPI passes it through unchanged while it reads a body.
    """

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        errors: tuple[FieldError, ...] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        kind = PROBLEMS[code]
        super().__init__(kind.status, detail or kind.help, headers)
        self.code = code
        self.errors = errors


PageFor = Callable[[Problem, Scope], Response | None]
"""Gives the page of a problem where a browser asks, or None."""


def problem_body(problem: Problem, request_id: str) -> dict[str, Any]:
    """Return the members of the problem details object."""
    kind = PROBLEMS[problem.code]
    body: dict[str, Any] = {
        "type": f"/problems/{problem.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "instance": f"urn:filopodia:request:{request_id}",
        "code": problem.code,
        "request_id": request_id,
        "retryable": kind.retryable,
    }
    if problem.errors:
        body["errors"] = [error.as_json() for error in problem.errors]
    return body


def problem_response(problem: Problem, request_id: str) -> JSONResponse:
    """Return the answer for a problem, with `Retry-After` where trying again makes sense."""
    headers = dict(problem.headers or {})
    if PROBLEMS[problem.code].retryable:
        headers.setdefault("Retry-After", "1")
    return JSONResponse(
        problem_body(problem, request_id),
        status_code=problem.status_code,
        headers=headers,
        media_type=MEDIA_TYPE,
    )
