"""The HTTP service: the contract's endpoints over a queue.

    async with TaskQueue.connect(url, max_queued=100_000) as queue:
        app = create_app(queue, Accounts(queue, secret), ApiOptions())

`docs/http.md` tells what every endpoint takes and gives, and what was decided where the contract
leaves it open.
"""

from taskqueue.api.app import create_app
from taskqueue.api.options import ApiOptions
from taskqueue.api.schemas import finished_body

__all__ = ["ApiOptions", "create_app", "finished_body"]
