"""Keys, workers, and the state of the service."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from service.remote import replies
from service.remote.calls import Call, Pages, given, read_items, read_text


def create_key(
    name: str,
    role: str,
    *,
    learners: Sequence[str] | None = None,
    expires_at: datetime | None = None,
    quotas: Mapping[str, int | None] | None = None,
    idempotency_key: str | None = None,
) -> Call[replies.Key]:
    """Create an API key; the answer's `key` is shown this once.

    Args:
        name: What it is for.
        role: `reader`, `predictor`, `trainer` or `admin`.
        learners: Names of the only learners it may see and use; all if left out.
        expires_at: When it stops working; never if left out.
        quotas: Where its limits differ from those of `info`, such as `{"tasks_per_day": 5}`; None is no limit.
        idempotency_key: Sent again with the same body, it makes no second key.
    """
    headers = given(**{"Idempotency-Key": idempotency_key})
    limits = given(
        learners=None if learners is None else list(learners),
        expires_at=None if expires_at is None else expires_at.astimezone(UTC).isoformat(),
        quotas=None if quotas is None else dict(quotas),
    )
    body = {"name": name, "role": role, **limits}
    return Call("POST", "/v1/keys", headers=headers, json=body, creates=True)


def keys() -> Call[list[replies.Key]]:
    """List all keys, without their secrets."""
    return Call("GET", "/v1/keys", read=read_items)


def limit_key(key_id: str, quotas: Mapping[str, int | None]) -> Call[replies.Key]:
    """Give a key other quotas.

    Args:
        key_id: Of the key, as `keys` lists it.
        quotas: In the place of all that it had, such as `{"tasks_per_day": 5}`; None is no limit, and what is left out
            is as `info` says.
    """
    body = {"quotas": dict(quotas)}
    return Call("PATCH", "/v1/keys/{key_id}", {"key_id": key_id}, json=body)


def revoke_key(key_id: str) -> Call[replies.Key]:
    """Revoke a key: whoever has it is out at once."""
    return Call("DELETE", "/v1/keys/{key_id}", {"key_id": key_id})


def create_login_link() -> Call[replies.LoginLink]:
    """Make a link that logs one browser in to the dashboard with this key; its `path` belongs behind the address."""
    return Call("POST", "/v1/login-links", is_harmless=True)


def audit(
    *,
    key: str | None = None,
    learner: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
    limit: int | None = None,
) -> Pages[replies.AuditEntry]:
    """List what was changed and by whom, newest first. `key` is a key's id, `action` such as `learner.delete`."""
    moment = None if since is None else since.isoformat()
    params = given(key=key, learner=learner, action=action, since=moment)
    return Pages("/v1/audit", params=params, limit=limit)


def workers() -> Call[list[replies.Worker]]:
    """List the workers seen within a day, with what they are learning."""
    return Call("GET", "/v1/workers", read=read_items)


def info() -> Call[replies.Info]:
    """Read the service's version, limits and device."""
    return Call("GET", "/v1/info")


def liveness() -> Call[dict[str, str]]:
    """Read whether the process answers."""
    return Call("GET", "/livez")


def readiness() -> Call[replies.Readiness]:
    """Read whether predictions are answered, and what is loaded."""
    return Call("GET", "/readyz", replies_with=frozenset({503}))


def health() -> Call[replies.Health]:
    """Read whether anything needs a person: what is forgotten, fails, waits or fills up, and what to do next."""
    return Call("GET", "/v1/health")


def metrics() -> Call[str]:
    """Read the metrics in the Prometheus text format."""
    return Call("GET", "/metrics", headers={"Accept": "text/plain"}, read=read_text)


def problem_page(code: str) -> Call[str]:
    """Read the page, HTML, of what a problem's code means."""
    return Call(
        "GET", "/problems/{code}", {"code": code}, headers={"Accept": "text/html"}, read=read_text
    )
