"""A message as it goes out, and its signature: the Standard Webhooks specification.

Reference:
    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
import json

from registry.deliveries import Claimed
from registry.subscriptions import SECRET_PREFIX


def body_of(message: Claimed) -> bytes:
    """Return the JSON of a message: what it is, when it happened, and what there is to say. The same in each try."""
    content = {
        "type": message.event,
        "timestamp": message.created_at.isoformat(),
        "data": message.data,
    }
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def signature_of(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return what the header `webhook-signature` says.

    Example:
        >>> signature_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
        ...     b'{"test": 2432232314}')
        'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


def headers_of(message: Claimed, body: bytes, timestamp: int) -> dict[str, str]:
    """Return the headers of a message that is sent now.

    Args:
        message: The message.
        body: What is sent of it.
        timestamp: Seconds since 1970: receivers refuse what is old.
    """
    return {
        "content-type": "application/json",
        "webhook-id": message.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature_of(message.secret, message.id, timestamp, body),
    }
