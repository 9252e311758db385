"""Keys, workers, and the state of the service."""

from service.remote import replies
from service.remote.calls import Call, given, read_items, read_text


def create_key(name: str, role: str, *, idempotency_key: str | None = None) -> Call[replies.Key]:
    """Create an API key; the answer's `key` is shown this once."""
    headers = given(**{"Idempotency-Key": idempotency_key})
    return Call(
        "POST", "/v1/keys", headers=headers, json={"name": name, "role": role}, creates=True
    )


def keys() -> Call[list[replies.Key]]:
    """List all keys, without their secrets."""
    return Call("GET", "/v1/keys", read=read_items)


def revoke_key(key_id: str) -> Call[replies.Key]:
    """Revoke a key: whoever has it is out at once."""
    return Call("DELETE", "/v1/keys/{key_id}", {"key_id": key_id})


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


def metrics() -> Call[str]:
    """Read the metrics in the Prometheus text format."""
    return Call("GET", "/metrics", headers={"Accept": "text/plain"}, read=read_text)


def problem_page(code: str) -> Call[str]:
    """Read the page, HTML, of what a problem's code means."""
    return Call(
        "GET", "/problems/{code}", {"code": code}, headers={"Accept": "text/html"}, read=read_text
    )
