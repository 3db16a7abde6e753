"""Webhooks: signed, sent only where they may go, one attempt at a time. The retries are the queue's.

    policy = EgressPolicy()
    policy.parse(url)                               # when a task is accepted: DeliveryRefused
    headers = sign(secret, body, task_id, attempt, int(time.time()))
    await post(url, body, headers, policy=policy)   # Delivered, DeliveryFailed or DeliveryRefused

It needs the packages of the extra `api`. What is sent is made elsewhere.
"""

from taskqueue.webhooks.egress import EgressPolicy
from taskqueue.webhooks.endpoint import Endpoint
from taskqueue.webhooks.keeping import NewSecret, Signing, WebhookSecrets
from taskqueue.webhooks.outcomes import Delivered, DeliveryFailed, DeliveryRefused
from taskqueue.webhooks.posting import post
from taskqueue.webhooks.secrets import SecretBox, SecretUnreadable, new_webhook_secret
from taskqueue.webhooks.signing import sign, standard_headers

__all__ = [
    "Delivered",
    "DeliveryFailed",
    "DeliveryRefused",
    "EgressPolicy",
    "Endpoint",
    "NewSecret",
    "SecretBox",
    "SecretUnreadable",
    "Signing",
    "WebhookSecrets",
    "new_webhook_secret",
    "post",
    "sign",
    "standard_headers",
]
