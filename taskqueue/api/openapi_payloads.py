"""What requests hold, told so that whatever fits it is accepted: payloads and addresses.

The models of payloads check some rules by functions, which their schemas know nothing of. They are
told here. Where a rule has no form in a schema, what is told is narrower than what is accepted:
addresses are ASCII, a host is a name, and `gl` and `country` are not both given, although the
service takes them if they say the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from taskqueue.api.options import ApiOptions
from taskqueue.contract import countries, payload_model, states
from taskqueue.webhooks import DeliveryRefused

Json = dict[str, Any]

GOTO: Final = r"^https?://(www\.)?google\.com/(goto|url)([?#][!-~]*)?$"
"""A link of `POST /v1/monitor/google/goto`."""

_NONE: Final[Json] = {"maxLength": 0}
_SOME: Final[Json] = {"minLength": 1}
_TEXT: Final = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"
_SHORT_TEXT: Final = r"^[^\u0000]*$"
_STATES_OF: Final = "US"

_GOOGLE: Final = r"https?://(www\.)?google\.(com|cat|[a-z]{2}|com?\.[a-z]{2}|it\.ao|off\.ai)/search\?"
_QUERY: Final = "[!$%'-;=?-Z_a-z~&-]"
# The first letter of `q`: neither a plus nor a %20, which are spaces, nor a control character.
_Q: Final = f"q=([!$'-*,-;?-Z_a-z~]|%2[1-9A-Fa-f]|%[3-7][0-9A-Fa-f]){_QUERY}*"
_SEARCH: Final = rf"{_GOOGLE}({_QUERY}*&)?{_Q}"

_NAME: Final = r"([A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?\.)*[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?"
_ANY_PORT: Final = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_PORTS: Final = (80, 443, 8443)
_UNUSUAL_PORT: Final = 4711


def payload_schema(task_type: str, options: ApiOptions) -> tuple[Json, Json]:
    """Return the schema of a task type's payload, and those that it names, by their names."""
    model: Any = payload_model(task_type, strict=options.strict)
    schema = model.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}")
    parts: Json = schema.pop("$defs", {})
    fields: Json = schema["properties"]
    for name in ("prompt", "query"):
        _narrow(fields, name, _TEXT)
    for name in ("hl", "location", "uule"):
        _narrow(fields, name, _SHORT_TEXT)
    served = countries(model.served_as)
    if "gl" in fields:
        _narrow(fields, "country", f"^({_one_of(served, any_case=model.any_case)})?$")
        _narrow(fields, "gl", f"^({_one_of(served, any_case=True)})?$")
        return _placed(schema, served), parts
    _narrow(fields, "country", f"^({_one_of(served)})$")
    codes = [state.code for state in states(_STATES_OF)]
    _narrow(fields, "state", f"^({_one_of(codes, any_case=True)})$")
    schema["dependentSchemas"] = {"state": {"properties": {"country": {"const": _STATES_OF}}}}
    return schema, parts


def webhook_pattern(options: ApiOptions) -> str:
    """Return the form of the addresses of webhooks that these options allow."""
    schemes = [scheme for scheme in ("https", "http") if _allows(options, f"{scheme}://example.com:443")]
    ports = [str(port) for port in _PORTS if _allows(options, f"{schemes[0]}://example.com:{port}")]
    told = _ANY_PORT if _allows(options, f"{schemes[0]}://example.com:{_UNUSUAL_PORT}") else "|".join(ports)
    return rf"^({'|'.join(schemes)})://{_NAME}(:({told}))?([/?][!$-\[\]_a-z~]*)?$"


def _allows(options: ApiOptions, url: str) -> bool:
    if options.egress is not None:
        try:
            options.egress.parse(url)
        except DeliveryRefused:
            return False
    return True


def _placed(schema: Json, served: Iterable[str]) -> Json:
    """Tell the rules of Google's engines: one place, one town, and what a search address owns."""
    fields, rules = schema["properties"], [_one_place()]
    if "uule" in fields:
        rules.append({"anyOf": [{"properties": {name: _NONE}} for name in ("location", "uule")]})
    if "url" not in fields:
        return {**_without(schema, "anyOf"), "required": [next(iter(fields))], "allOf": rules}
    fields["url"]["pattern"] = f"^({_SEARCH})?$"
    owned = {"query": False, "pages": False, "location": _NONE, "uule": _NONE}
    gl = _one_of(served, any_case=True)
    with_gl = (
        rf"^{_GOOGLE}({_QUERY}*&)?({_Q}&({_QUERY}*&)?gl=({gl})(&{_QUERY}*)?|gl=({gl})&({_QUERY}*&)?{_Q})$"
    )
    schema["anyOf"] = [
        {"required": ["query"], "properties": {"url": _NONE}, "allOf": rules},
        {"required": ["url"], "properties": {**owned, "url": _SOME}, "allOf": [_one_place()]},
        {
            "required": ["url"],
            "properties": {**owned, "url": {"pattern": with_gl}, "country": _NONE, "gl": _NONE},
        },
    ]
    return schema


def _one_place() -> Json:
    def only(given: str, other: str) -> Json:
        return {"required": [given], "properties": {given: _SOME, other: _NONE}}

    return {"anyOf": [only("gl", "country"), only("country", "gl")]}


def _narrow(fields: Json, name: str, pattern: str) -> None:
    if name in fields:
        fields[name] = {**fields[name], "pattern": pattern}


def _without(schema: Json, name: str) -> Json:
    return {key: value for key, value in schema.items() if key != name}


def _one_of(codes: Iterable[str], *, any_case: bool = False) -> str:
    """Return a pattern of codes of two letters, by their first ones: `A[DEF]|B[AB]`."""
    seconds: defaultdict[str, str] = defaultdict(str)
    for code in codes:
        seconds[code[0]] += code[1]
    if not any_case:
        return "|".join(f"{first}[{rest}]" for first, rest in seconds.items())
    return "|".join(f"[{first}{first.lower()}][{rest}{rest.lower()}]" for first, rest in seconds.items())
