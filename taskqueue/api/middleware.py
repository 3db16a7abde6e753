"""What happens to every request: an id, a clock, a log line, a count, and an answer whatever happens.

Plain ASGI: a middleware that copies requests and answers through queues of its own would cost more
than everything else here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskqueue.api.errors import error_of
from taskqueue.api.exchange import KEY, Exchange
from taskqueue.api.metrics import Metrics
from taskqueue.errors import TaskQueueError, shown

_access = logging.getLogger("taskqueue.api.access")
_log = logging.getLogger("taskqueue.api")

_SERVER_ERROR = 500
_UNAVAILABLE = 503


class Requests:
    """The outermost part of the service.

    Args:
        app: What comes after it.
        metrics: Counts requests.
        retry_after: Seconds that a 503 asks the client to wait.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, retry_after: int) -> None:
        self._app = app
        self._metrics = metrics
        self._retry_after = retry_after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what is no request passes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = scope[KEY] = Exchange(scope, receive)

        async def send_signed(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", exchange.id.encode()),
                    (b"x-latency-ms", b"%d" % exchange.elapsed_ms),
                    *exchange.limits,
                ]
            await send(message)

        self._metrics.in_flight += 1
        try:
            await self._app(scope, receive, send_signed)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            await self._answer(exchange, error, send_signed)
        finally:
            self._metrics.in_flight -= 1
            self._metrics.count(exchange.endpoint, scope["method"], exchange.status, exchange.started)
            if _access.isEnabledFor(logging.INFO):
                _log_line(exchange)

    async def _answer(self, exchange: Exchange, error: Exception, send: Send) -> None:
        answer = error_of(error, self._retry_after)
        if answer.status == _SERVER_ERROR and not isinstance(error, type(answer)):
            _log.error("request %s failed: %s", exchange.id, shown(error), exc_info=error)
        elif answer.status == _UNAVAILABLE and isinstance(error, TaskQueueError):
            _log.warning("request %s was turned away: %s", exchange.id, error)
        if exchange.status:
            # The answer had begun: all that is left is to break it off, so that it cannot pass for whole.
            raise error
        await answer.reply().send_to(send)


class Shortcut:
    """Calls the endpoints whose paths have no parameters at once; everything else is routed.

    Going through all the layers and routes of a framework costs a third of what accepting a task
    does. The routes have the same endpoints too.

    Args:
        app: What comes after it.
        endpoints: By method and path.
    """

    def __init__(self, app: ASGIApp, endpoints: Mapping[tuple[str, str], ASGIApp]) -> None:
        self._app = app
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        app = self._app
        if scope["type"] == "http":
            app = self._endpoints.get((scope["method"], scope["path"]), app)
        await app(scope, receive, send)


def _log_line(exchange: Exchange) -> None:
    _access.info(
        "%s %s %d %dms endpoint=%s tenant=%s request=%s",
        exchange.scope["method"],
        # As a literal: a path may have line breaks in it.
        shown(exchange.scope["path"]),
        exchange.status,
        exchange.elapsed_ms,
        exchange.endpoint,
        "-" if exchange.principal is None else exchange.principal.tenant,
        exchange.id,
    )
