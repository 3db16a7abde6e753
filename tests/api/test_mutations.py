"""Good requests of every route, damaged at random: each has a proper answer or none, and nothing is left."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskqueue.api.protocol import HttpProtocol
from taskqueue.api.routes import ROUTES
from tests.api.conftest import PROMPT, TASK
from tests.api.raw import assert_proper, request, say_at_once
from tests.api.standing import Standing, assert_unharmed, standing
from tests.servers import RealServer

BODIES: dict[str, Any] = {
    "/v1/async/task": {
        **TASK,
        "priority": 3,
        "idempotencyKey": "a-key",
        "webhook": {"url": "https://example.com/"},
    },
    "/v1/async/task/batch": [TASK, {"taskType": "GOOGLE", "payload": {"query": "x", "country": "US"}}],
    "/v1/monitor/google/goto": {"url": "https://www.google.com/url?q=https://example.com"},
    "/v1/monitor/google": {"query": "x", "country": "US"},
    "/v1/monitor/google/news": {"query": "x", "gl": "us"},
}
TOKENS = [
    b"\x00",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"%00",
    b"%ff",
    b"%2f",
    b"\xff",
    b"\xc3\xa9",
    b" ",
    b"\t",
    b":",
]
TOKENS += [
    b'"',
    b"\\",
    b"\\ud800",
    b"{",
    b"}",
    b"[" * 70,
    b",",
    b"null",
    b"NaN",
    b"1e999",
    b"-0",
    b"9" * 5_000,
]
TOKENS += [
    b"\r\nContent-Length: 0",
    b"\r\nTransfer-Encoding: chunked",
    b"\r\nExpect: 100-continue",
    b"0\r\n\r\n",
]
TOKENS += [
    b"?",
    b"&a=b",
    b"#",
    b"/",
    b"/../",
    b"HTTP/1.0",
    b"\r\nConnection: Upgrade\r\nUpgrade: h2c",
    b"a" * 300,
]


class Edit(NamedTuple):
    """One damage: what happens, where from 0 to 1, over how many bytes, and with which others."""

    kind: Literal["insert", "replace", "delete", "repeat", "cut", "append"]
    place: float
    length: int
    token: bytes


EDITS = st.lists(
    st.builds(
        Edit,
        kind=st.sampled_from(["insert", "replace", "delete", "repeat", "cut", "append"]),
        place=st.floats(0, 1, exclude_max=True),
        length=st.integers(1, 40),
        token=st.sampled_from(TOKENS) | st.binary(min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=4,
)
DAMAGES = st.lists(st.tuples(st.integers(0, len(ROUTES) - 1), EDITS), min_size=8, max_size=16)


@pytest.fixture(scope="module")
def service(server: RealServer) -> Iterator[Standing]:
    """The service, with little patience for slow clients."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HttpProtocol, "head_timeout", 0.2)
        with standing(server, "mutations", body_timeout=0.2, sync_timeout=5) as made:
            yield made


def _good(service: Standing, number: int) -> bytes:
    """Return a good request for a route; those that cost something lack the credits."""
    route = ROUTES[number]
    path = route.path.replace("{task_id}", "unknown").replace("{task_id:path}", "unknown")
    body = json.dumps(BODIES.get(path, PROMPT)).encode() if route.method == "POST" else None
    return request(route.method, path, service.keys["initech"], body)


def _damaged(data: bytes, edits: Sequence[Edit]) -> bytes:
    for kind, place, length, token in edits:
        at = int(place * len(data))
        match kind:
            case "insert":
                data = data[:at] + token + data[at:]
            case "replace":
                data = data[:at] + token + data[at + len(token) :]
            case "delete":
                data = data[:at] + data[at + length :]
            case "repeat":
                data = data[:at] + data[at : at + length] * 3 + data[at + length :]
            case "cut":
                data = data[:at]
            case "append":
                data += data[at:]
    return data


def _survives(service: Standing, damages: Sequence[tuple[int, Sequence[Edit]]]) -> None:
    before = service.left()
    for answers in say_at_once(service.port, (_damaged(_good(service, n), edits) for n, edits in damages)):
        for answer in answers:
            assert_proper(answer)
    assert_unharmed(service, before)


def test_every_route_has_a_good_request(service: Standing) -> None:
    """What is damaged below would be answered: with what was asked for, or for want of credits."""
    before = service.left()
    every = say_at_once(service.port, (_good(service, number) for number in range(len(ROUTES))))

    statuses = {
        route.name: [answer.status for answer in answers]
        for route, answers in zip(ROUTES, every, strict=True)
    }
    assert {name: found for name, found in statuses.items() if found not in ([200], [403], [404])} == {}
    assert_unharmed(service, before)


@given(damages=DAMAGES)
@settings(
    max_examples=10,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_damaged_requests_do_no_damage(service: Standing, damages: list[tuple[int, list[Edit]]]) -> None:
    """Bytes are put in, taken out, repeated and cut off, in heads and bodies, a dozen requests at once."""
    _survives(service, damages)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@given(damages=DAMAGES)
@settings(max_examples=1_000, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_many_damaged_requests_do_no_damage(service: Standing, damages: list[tuple[int, list[Edit]]]) -> None:
    """The same for a long time, and another way each time."""
    _survives(service, damages)
