"""Holds every answer of the service against its own OpenAPI document."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # has no types of its own
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

_CONTRACT_HEADERS = re.compile(r"x-(?!content-type|accel).*|retry-after|allow|www-authenticate")
_URN = "urn:service"


class Conformance:
    """Checks answers against one document.

    Args:
        document: OpenAPI 3.1.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        resource: Resource[Any] = Resource.from_contents(document, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(_URN, resource)
        self._templates = [
            (re.compile(re.sub(r"\{\w+\}", "[^/]+", path) + r"\Z"), path) for path in document["paths"]
        ]

    def check(self, method: str, path: str, response: httpx.Response) -> None:
        """Fail if *response* is not what the document says of the operation; unknown paths pass."""
        found = self._operation(method, path)
        if found is None:
            assert response.status_code in {401, 404, 405, 429, 503}, (method, path, response.status_code)
            return
        template, operation = found
        status = str(response.status_code)
        assert status in operation["responses"], f"{method} {template} does not document {status}"
        declared = operation["responses"][status]
        self._check_headers(declared.get("headers", {}), response, f"{method} {template} {status}")
        kind = response.headers["content-type"].partition(";")[0]
        assert kind in declared["content"], f"{method} {template} {status} does not document {kind}"
        if kind == "application/json":
            pointer = "/".join(
                part.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D")
                for part in (
                    "paths",
                    template,
                    method.lower(),
                    "responses",
                    status,
                    "content",
                    kind,
                    "schema",
                )
            )
            self.validate(f"#/{pointer}", response.json())

    def validate(self, pointer: str, value: Any) -> None:
        """Fail if *value* does not fit the schema at *pointer*."""
        Draft202012Validator({"$ref": f"{_URN}{pointer}"}, registry=self._registry).validate(value)

    def accepts(self, pointer: str, value: Any) -> bool:
        """Whether *value* fits the schema at *pointer*."""
        validator = Draft202012Validator({"$ref": f"{_URN}{pointer}"}, registry=self._registry)
        return bool(validator.is_valid(value))

    def _operation(self, method: str, path: str) -> tuple[str, dict[str, Any]] | None:
        for literal in (True, False):
            for pattern, template in self._templates:
                if ("{" not in template) is literal and pattern.match(path):
                    operation = self.document["paths"][template].get(method.lower())
                    if operation is not None:
                        return template, operation
        return None

    def _check_headers(self, declared: dict[str, Any], response: httpx.Response, where: str) -> None:
        names = {name.lower() for name in declared}
        for name in response.headers:
            if _CONTRACT_HEADERS.fullmatch(name):
                assert name in names, f"{where} does not document the header {name}"
        for name, header in declared.items():
            told = self._resolved(header)
            value = response.headers.get(name)
            if value is None:
                assert not told.get("required"), f"{where} has no header {name}"
                continue
            schema = told["schema"]
            Draft202012Validator(schema).validate(int(value) if schema["type"] == "integer" else value)

    def _resolved(self, header: dict[str, Any]) -> dict[str, Any]:
        pointer = header.get("$ref")
        if pointer is None:
            return header
        found: dict[str, Any] = self.document["components"]["headers"][pointer.rpartition("/")[2]]
        return found


class CheckedTransport(httpx.AsyncBaseTransport):
    """Calls an application in this process, and holds its answers against the document.

    Args:
        app: The service.
        conformance: Of its document.
    """

    def __init__(self, app: Any, conformance: Conformance) -> None:
        self._inner = httpx.ASGITransport(app=app)
        self._conformance = conformance

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        await response.aread()
        if request.method != "HEAD":
            path = request.url.raw_path.decode("ascii").partition("?")[0]
            self._conformance.check(request.method, path, response)
            if response.status_code >= 400:
                assert_envelope(response)
        return response


def checked_client(app: Any, key: str | None, conformance: Conformance | None = None) -> httpx.AsyncClient:
    """Return a client of an application in this process, every answer of which is held against its document.

    Args:
        app: The service.
        key: The API key that it shows; None shows none.
        conformance: Of the service's document, where it is at hand.
    """
    return httpx.AsyncClient(
        transport=CheckedTransport(app, conformance or Conformance(app.openapi())),
        base_url="http://service",
        headers={} if key is None else {"Authorization": f"Bearer {key}"},
    )


def assert_envelope(response: httpx.Response) -> None:
    """Fail if an error has not exactly the contract's shape."""
    body = json.loads(response.content)
    assert set(body) == {"success", "error"}
    assert body["success"] is False
    assert (
        {"code", "message", "timestamp"} <= set(body["error"]) <= {"code", "message", "timestamp", "details"}
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["error"]["timestamp"])
    assert ("retry-after" in response.headers) is (response.status_code == 503)
