"""What the pages say of a problem: the service's sentence, unless that names what only programs have."""

from service.http.buckets import WAIT
from service.problems import PROBLEMS, Problem
from service.wording import speaks_api

ON_PAGES = {
    "alias-moved": "Somebody else has moved it since this page was shown: look again.",
    "bad-host": "The service does not answer to the name in this address.",
    "body-too-large": "This is more than the service takes at once.",
    "cannot-look-into": "This learner's strategy cannot say what it would answer without one of its images.",
    "cannot-correct": "This learner's strategy has trained its images into weights and cannot change one of them.",
    "cannot-unlearn": "This learner's strategy cannot take out a part of what it has learned.",
    "consolidation-off": "Nothing is consolidated in this installation: its operator has set that.",
    "idempotency-in-progress": "The same is being done already: wait a moment.",
    "image-too-large": "The file has more bytes than the service takes: make the image smaller.",
    "image-too-many-pixels": "The image has more pixels than the service takes: make it smaller.",
    "images-rejected": "Some of the images cannot be used.",
    "internal": "Something is wrong with the service itself; its log says what.",
    "invalid-cursor": "The list has changed: begin at its first page again.",
    "label-confusable": "Another class of this learner has a name that looks the same.",
    "label-known": "Another class of this learner has that name or label.",
    "learner-not-found": "There is no learner of this name.",
    "missing-image": "Choose an image first.",
    "no-feedback": "No feedback is pending that can be learned so.",
    "nothing-to-predict": "No image is stored that this asks for.",
    "nothing-learned": "The learner has learned nothing yet.",
    "precondition-failed": "Somebody else has changed it since this page was shown: look again.",
    "quota-exceeded": "This would go beyond what the key or the installation may have.",
    "rate-limited": "That is more than this key may do for now: wait, and try again later. An admin sees on the page "
    "Keys how much each may do.",
    "request-timeout": "What the page has sent did not arrive in time: try again.",
    "stale-head": "The learner has learned something else meanwhile: discard the task and retry it.",
    "storage-unavailable": "The service's database or files are out of reach right now: try again in a moment.",
    "subscription-disabled": "Nothing is sent to this one: turn it on first.",
    "too-few-images": "Some of the classes have too few images.",
    "too-many-pixels": "Decoding these images is more work than the service takes at once.",
    "too-many-images": "These are more images than the service takes at once.",
    "unauthorized": "Log in with a valid key.",
    "unknown-content": "The learner no longer knows what the task was to unlearn.",
    "validation": "A field of the form is missing or cannot be used: go back and correct it.",
}
"""What a page says about a problem where the sentence for programs does not help a person."""
UNKNOWN = "The service could not read what the page has sent."


def sentence(code: str | None) -> str | None:
    """Return what to say about a problem's code; nothing about what is none."""
    if code in ON_PAGES:
        return ON_PAGES[code]
    return for_person(code, PROBLEMS[code].help) if code in PROBLEMS else None


def for_person(code: str, detail: str) -> str:
    """Return what to say about a problem: its own sentence, or another if that speaks to programs."""
    if not speaks_api(detail):
        return detail
    title = f"{PROBLEMS[code].title}."
    return ON_PAGES.get(code, UNKNOWN if speaks_api(title) else title)


def told(problem: Problem) -> str:
    """Return what to say about a problem whole: with it, how long to wait where that is known.

    Example:
        >>> told(Problem("rate-limited", f"It may post 5 tasks in 24 hours{WAIT}", headers={"Retry-After": "9000"}))
        'It may post 5 tasks in 24 hours. Try again in 3 hours.'
    """
    wait_s = (problem.headers or {}).get("Retry-After")
    if problem.code != "rate-limited" or wait_s is None or not problem.detail.endswith(WAIT):
        return for_person(problem.code, problem.detail)
    return f"{problem.detail.removesuffix(WAIT)}. Try again in {waiting(int(wait_s))}."


def waiting(seconds: int) -> str:
    """Say how long to wait, rounded up.

    Example:
        >>> waiting(20), waiting(100), waiting(3600), waiting(80_000)
        ('a minute', '2 minutes', '60 minutes', '23 hours')
    """
    if seconds <= 60:
        return "a minute"
    minutes = -(-seconds // 60)
    return f"{minutes} minutes" if minutes <= 90 else f"{-(-minutes // 60)} hours"
