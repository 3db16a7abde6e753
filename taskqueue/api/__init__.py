"""The HTTP service: the contract's endpoints over a queue.

    async with TaskQueue.connect(url, max_queued=100_000) as queue:
        app = create_app(queue, Accounts(queue, secret), ApiOptions())

`docs/http.md` tells what every endpoint takes and gives, and what was decided where the contract
leaves it open.

The names are imported when they are first used: a worker that delivers webhooks needs the shape of
their bodies, and not the 17 MB of the web framework.
"""

from typing import TYPE_CHECKING

from taskqueue.lazily import lazy_names

if TYPE_CHECKING:
    from taskqueue.api.app import create_app
    from taskqueue.api.options import ApiOptions
    from taskqueue.api.schemas import finished_body

__all__ = ["ApiOptions", "create_app", "finished_body"]

_HOME_OF = {
    "ApiOptions": "taskqueue.api.options",
    "create_app": "taskqueue.api.app",
    "finished_body": "taskqueue.api.schemas",
}

# Type checkers know the names from above, and shall report any other.
if not TYPE_CHECKING:  # pragma: no branch - it is never true where this runs
    __getattr__, __dir__ = lazy_names(__name__, _HOME_OF)
