"""The headers by which a receiver knows that a webhook is ours, and not older than five minutes.

Receivers refuse what was signed more than 300 seconds ago, and attempts are up to 16 minutes apart:
sign anew for each attempt, and sign the very bytes that are sent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Final

from taskqueue.errors import shown
from taskqueue.rules import check_id

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what secrets begin with, not one of them

_MOST_SECRETS = 4
_MESSAGE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def sign(secret: str, body: bytes, task_id: str, attempt: int, now: int) -> dict[str, str]:
    """Return the three headers of a signed webhook.

    Contract: the signature is the HMAC-SHA256, in small hexadecimal digits, of the timestamp, a dot
    and the raw body; its key is the whole secret in UTF-8, with its prefix `whsec_`, nothing decoded.
    The header has room for one signature: while a tenant has two secrets, `Signing.secret` makes it.

    Args:
        secret: The tenant's secret.
        body: The body as it is sent.
        task_id: Id of the finished task.
        attempt: Number of the attempt, from 1.
        now: Unix seconds, whole.

    Raises:
        ValueError: If an argument breaks its rule. The secret is not in it.
        InvalidTask: If *task_id* cannot be the id of a task.
    """
    # A header line could be ended by an id that is none, and the receivers compare whole numbers.
    check_id(task_id)
    _check_whole("attempt", attempt, 1)
    _check_whole("now", now, 0)
    _check_secret(secret)
    signature = hmac.new(secret.encode(), b"%d.%b" % (now, body), hashlib.sha256).hexdigest()
    return {
        "X-Cloro-Timestamp": str(now),
        "X-Cloro-Signature": f"v1={signature}",
        "X-Cloro-Webhook-Id": f"{task_id}-{attempt}",
    }


def standard_headers(secrets: Sequence[str], body: bytes, message_id: str, now: int) -> dict[str, str]:
    """Return the three headers of Standard Webhooks 1.0.0, which may be sent beside those of `sign()`.

    Receivers tell repeats by the message id: give the same in all attempts. There is one signature
    for each secret, so that a receiver that knows either accepts it during a rotation. The key is
    what follows `whsec_`, decoded from base64, unlike in `sign()`.

    Args:
        secrets: The tenant's secrets, one to four, each as `new_webhook_secret()` makes it.
        body: The body as it is sent.
        message_id: Names what is told: 1 to 128 of the characters A-Z a-z 0-9 _ -.
        now: Unix seconds, whole.

    Raises:
        ValueError: If an argument breaks its rule. The secrets are not in it.
    """
    # No dot, which separates the parts of the signed text, and nothing that ends a header's line.
    if not isinstance(message_id, str) or not _MESSAGE_ID.fullmatch(message_id):
        raise ValueError(
            f"message_id: {shown(message_id)} is not accepted; it must be 1 to 128 of A-Z a-z 0-9 _ -"
        )
    _check_whole("now", now, 0)
    if isinstance(secrets, str) or not 1 <= len(secrets) <= _MOST_SECRETS:
        raise ValueError(f"secrets: give a sequence of 1 to {_MOST_SECRETS} secrets")
    message = b"%b.%d.%b" % (message_id.encode(), now, body)
    digests = (hmac.digest(key_of(secret), message, "sha256") for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }


def key_of(secret: object) -> bytes:
    """Return the key that Standard Webhooks takes of a secret: what follows `whsec_`, from base64.

    Raises:
        ValueError: If it is no such secret. It is not shown.
    """
    if isinstance(secret, str) and secret.startswith(SECRET_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if key:
            return key
    raise ValueError(f"secrets: each must be {SECRET_PREFIX} and base64, as new_webhook_secret() makes them")


def _check_secret(secret: object) -> None:
    if not isinstance(secret, str) or not secret or not secret.isprintable():
        raise ValueError("secret: it must be printable text, such as new_webhook_secret() makes")


def _check_whole(name: str, value: object, lowest: int) -> None:
    if type(value) is not int or value < lowest:
        raise ValueError(f"{name}: {value!r} is not accepted; it must be a whole number from {lowest} on")
