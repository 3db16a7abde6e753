"""What people and programs hand in: JSON, requests, payloads, keys, secrets, settings, files."""

from __future__ import annotations

import io
import json
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from taskqueue.accounts import KeyMalformed
from taskqueue.accounts.apikeys import check_key_id, id_of
from taskqueue.accounts.secret import load_secret
from taskqueue.api.auth import presented_key
from taskqueue.api.cursors import open_cursor, seal
from taskqueue.api.errors import ApiError
from taskqueue.api.exchange import Exchange
from taskqueue.api.options import ApiOptions
from taskqueue.api.submission import Refused, read_task
from taskqueue.cli.reading import BadDocument, Document, read_documents
from taskqueue.contract import (
    TASK_TYPES,
    PayloadInvalid,
    PriceList,
    UnknownModel,
    check_payload,
    countries,
    payload_model,
    states,
)
from taskqueue.contract.places import is_served, is_state
from taskqueue.errors import InvalidSetting
from taskqueue.settings import Settings, parse_duration
from taskqueue.strict_json import NotJson, loads, parse
from taskqueue.webhooks import EgressPolicy, SecretBox, SecretUnreadable
from taskqueue.webhooks.signing import SECRET_PREFIX, key_of
from tests.security.fuzzing import CANARY, Parser, assert_hidden, text_of
from tests.security.parsers.addresses import holds_password, is_no_login

OPERATORS_SECRET = b"0123456789abcdef" * 2
DATASET, BOUND = "dataset", ("ann", "QUEUED", "")
_PRICES = PriceList.default()
_OPTIONS = ApiOptions(prices=_PRICES, types=TASK_TYPES, egress=EgressPolicy())
_BOX = SecretBox(OPERATORS_SECRET)


def read_json(data: bytes) -> object:
    """A value is the same once it was written and read; both doors read alike, and others can write it."""
    value = loads(data)
    again = json.dumps(value).encode()
    assert json.dumps(loads(again)).encode() == again
    assert parse(data.decode()) == value
    to_json(value)
    return value


class Drip(io.BytesIO):
    """A slow pipe: a few bytes at a time."""

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(61)


def read_file(data: bytes) -> bool:
    """A file is read alike however slowly it comes; of a bad one more may be read before the bad part."""
    found = list(read_documents(io.BytesIO(data)))
    slowly = list(read_documents(Drip(data)))
    good = [each for each in found if isinstance(each, Document)]
    assert good == [each for each in slowly if isinstance(each, Document)][: len(good)]
    for each in found:
        assert each.line >= 1
        if isinstance(each, BadDocument):
            each.problem.encode()
        else:
            json.dumps(each.value, allow_nan=False, ensure_ascii=False).encode()
    try:
        data.decode()
    except UnicodeDecodeError:
        assert any(isinstance(each, BadDocument) for each in found)
    else:
        assert found == slowly
    return len(good) == len(found)


def read_payload(data: bytes) -> object:
    """A normalized payload stays as it is, fits its model, and has a price that it cannot pass."""
    value = loads(data)
    refusal: PayloadInvalid | None = None
    for task_type in TASK_TYPES:
        for strict in (True, False):
            try:
                payload = check_payload(task_type, value, strict=strict)
            except PayloadInvalid as error:
                refusal = error
                for field, message in error.problems:
                    assert message.isprintable()
                    assert field.isprintable()
                continue
            assert check_payload(task_type, payload, strict=strict) == payload
            payload_model(task_type, strict=strict).model_validate(payload)
            price = _PRICES.price(task_type, payload)
            assert 0 <= price.charge <= price.hold
            assert _PRICES.charge(task_type, payload, {"productResults": [0] * 2_000}) <= price.hold
    if refusal is not None:
        raise refusal
    return value


def read_place(data: bytes) -> list[str]:
    """The name of a model has countries, or is refused; a country has states, or none."""
    text = text_of(data)
    assert all(is_state("US", state.code) for state in states(text))
    found = countries(text)
    assert all(is_served(country, text) for country in found)
    return found


def read_submission(data: bytes) -> object:
    """A request is a task with a known type and a price, or every bad field is named."""
    value = loads(data)
    if not isinstance(value, dict):
        return None
    try:
        spec = read_task(value, "ann", _OPTIONS)
    except Refused as refused:
        to_json([list(problem) for problem in refused.problems])
        raise
    assert spec.type in TASK_TYPES
    assert spec.hold is None or spec.hold > spec.cost
    return spec


def read_query(data: bytes) -> dict[str, str]:
    """The parameters of an address; a refusal can be sent."""
    exchange = Exchange({"query_string": data, "headers": []}, _never)
    try:
        found = exchange.query("status", "limit", "cursor")
    except ApiError as error:
        error.reply()
        raise
    for value in found.values():
        value.encode()
    return found


async def _never() -> Any:
    raise AssertionError


def read_header(data: bytes) -> str:
    """The API key of a header: what was not there is not in it."""
    key = presented_key([(b"host", b"x"), (b"authorization", data)])
    assert b"Bearer " + key.encode("latin-1") == data
    return key


def read_cursor(data: bytes) -> object:
    """A cursor has one spelling, and opens for one list only."""
    cursor = text_of(data)
    position = open_cursor(cursor, DATASET, BOUND)
    if position is not None:
        assert seal(position, DATASET, BOUND) == cursor
        assert open_cursor(cursor, DATASET, ("bob", *BOUND[1:])) is None
        assert open_cursor(cursor, "other", BOUND) is None
    return position


def read_key(data: bytes) -> str:
    """The id of a key is part of it; neither refusal repeats what was presented."""
    text = text_of(data)
    try:
        check_key_id(text)
    except InvalidSetting as error:
        assert_hidden(text, error)
    found = id_of(text)
    assert check_key_id(found) == found
    assert found in text
    return found


def read_secret(data: bytes) -> bytes:
    """A secret has at least 32 bytes, and is in no refusal."""
    text = text_of(data)
    try:
        secret = load_secret(text or "-")
    except InvalidSetting as error:
        assert_hidden(text.strip(), error)
        raise
    assert len(secret) >= 32
    return secret


def read_signing_key(data: bytes) -> bytes:
    """The key of a webhook secret, which no refusal shows."""
    text = text_of(data)
    try:
        key = key_of(text)
    except ValueError as error:
        assert_hidden(text.removeprefix(SECRET_PREFIX), error)
        raise
    assert key
    return key


def read_sealed(data: bytes) -> bytes:
    """Nothing opens but what was sealed."""
    plain = _BOX.open(data, "ann")
    assert plain == b"whsec_fuzz"
    return plain


def read_duration(data: bytes) -> timedelta:
    """A duration is none that is negative, and can be told in seconds."""
    found = parse_duration(text_of(data))
    assert found >= timedelta(0)
    assert parse_duration(f"{found.total_seconds():.6f}") == found or found > timedelta(days=10**6)
    return found


def read_setting(data: bytes) -> Settings:
    """One setting, as a line `name=value`; a secret is in no refusal."""
    name, _, value = text_of(data).partition("=")
    if not name.isidentifier():
        return Settings.load()
    try:
        settings = Settings.load(**{name: value})
    except InvalidSetting as error:
        assert_hidden(value if name == "secret" else "", error)
        raise
    if name == "url" and holds_password(value) and not is_no_login(value):
        assert_hidden(CANARY, settings, settings.shown_url)
    assert timedelta(0) < settings.lease <= timedelta(hours=1)
    assert settings.secret_text is None or len(settings.secret_text) >= 43
    return settings


def read_prices(data: bytes) -> PriceList:
    """A price list names a price for every type, and none that is negative or above its hold."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        prices = PriceList.from_file(Path(file.name))
    for task_type in TASK_TYPES:
        price = prices.price(task_type, {"pages": 3, "state": "NY"}, sync=True)
        assert 0 <= price.charge <= price.hold < 10**10
    return prices


PARSERS = (
    Parser("json", read_json, (NotJson,)),
    Parser("input-file", read_file),
    Parser("payload", read_payload, (NotJson, PayloadInvalid), weight=2),
    Parser("place", read_place, (UnknownModel,)),
    Parser("submission", read_submission, (NotJson, Refused)),
    Parser("query", read_query, (ApiError,)),
    Parser("authorization", read_header, (ApiError,)),
    Parser("cursor", read_cursor),
    Parser("api-key", read_key, (KeyMalformed,)),
    Parser("secret", read_secret, (InvalidSetting,)),
    Parser("signing-key", read_signing_key, (ValueError,)),
    Parser("sealed", read_sealed, (SecretUnreadable,)),
    Parser("duration", read_duration, (ValueError,)),
    Parser("setting", read_setting, (InvalidSetting,), weight=2),
    Parser("prices", read_prices, (InvalidSetting,), weight=2),
)
