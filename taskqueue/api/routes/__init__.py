"""The endpoints, one file a subject; `ROUTES` lists all of them."""

from __future__ import annotations

from typing import NamedTuple

from taskqueue.api.counting import Counted
from taskqueue.api.routes import credits as balance
from taskqueue.api.routes import events, health, monitor, places, queue, tasks
from taskqueue.api.service import Handler

__all__ = ["ROUTES", "RouteSpec"]


class RouteSpec(NamedTuple):
    """One endpoint: its method, its path, its name (which is its rate limit's bucket), its handler.

    `counted` says when its requests are counted, where they show an API key.
    """

    method: str
    path: str
    name: str
    handler: Handler
    counted: Counted = Counted.FIRST


# The busiest come first: they are tried in this order.
ROUTES: tuple[RouteSpec, ...] = (
    RouteSpec("POST", "/v1/async/task", "createTask", tasks.create, Counted.WITHIN),
    RouteSpec("POST", "/v1/async/task/batch", "createTaskBatch", tasks.create_batch, Counted.WITHIN),
    RouteSpec("GET", "/v1/async/task/{task_id}/events", "streamTask", events.stream),
    RouteSpec("GET", "/v1/async/task/{task_id:path}", "getTask", tasks.get, Counted.BESIDE),
    RouteSpec("DELETE", "/v1/async/task/{task_id:path}", "cancelTask", tasks.cancel),
    RouteSpec("GET", "/v1/async/tasks", "listTasks", tasks.list_tasks, Counted.BESIDE),
    RouteSpec("GET", "/v1/async/status", "getQueueStatus", queue.status, Counted.BESIDE),
    RouteSpec("DELETE", "/v1/async/queue", "clearQueue", queue.clear),
    RouteSpec("GET", "/v1/credits", "getCredits", balance.get, Counted.BESIDE),
    RouteSpec("GET", "/v1/countries", "listCountries", places.list_countries),
    RouteSpec("GET", "/v1/states", "listStates", places.list_states),
    *(
        RouteSpec("POST", path, f"monitor{name}", monitor.handler_of(task_type), Counted.WITHIN)
        for path, name, task_type in monitor.ENGINES
    ),
    RouteSpec("POST", "/v1/monitor/google/goto", "resolveGoto", monitor.goto),
    # An official client still asks here.
    RouteSpec("GET", "/v1/tasks/{task_id:path}", "getTaskOldPath", tasks.get, Counted.BESIDE),
    RouteSpec("GET", "/healthz", "healthz", health.healthz),
    RouteSpec("GET", "/readyz", "readyz", health.readyz),
    RouteSpec("GET", "/metrics", "metrics", health.metrics),
    RouteSpec("GET", "/openapi.json", "openapi", health.openapi),
    RouteSpec("GET", "/docs", "docs", health.docs),
)
