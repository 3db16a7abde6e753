"""Whether deliveries are signed is the tenant's choice, and a process without a secret cannot overrule it."""

from __future__ import annotations

import pytest

from taskqueue.task import Task
from taskqueue.testing import memory_queue
from taskqueue.webhooks import SecretBox, SecretUnreadable, WebhookSecrets
from taskqueue.webhooks.delivering import _signature

TASK = Task(
    id="t-1", type="CHATGPT", tenant="acme", priority=5, sequence=1, payload={}, created_ms=1, finished_ms=2
)


async def test_a_process_without_a_secret_sends_nothing_unsigned() -> None:
    """It says whose webhooks they are and what is to be set; for others it signs nothing."""
    async with memory_queue() as queue:
        assert await _signature(queue, TASK, 1, b"{}", None) == {}
        await WebhookSecrets(queue, SecretBox(b"ours" * 8)).renew("acme")

        with pytest.raises(SecretUnreadable) as refused:
            await _signature(queue, TASK, 1, b"{}", None)

    assert str(refused.value) == (
        "the webhooks of tenant acme are to be signed, and this process has no secret to read theirs with: "
        "set TASKQUEUE_SECRET as in the service"
    )
