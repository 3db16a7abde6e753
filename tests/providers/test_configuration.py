"""What stands in a file and in the environment becomes providers and chains, or problems, all at once."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from scheduler import Scheduler
from scheduler.providers import Problem, Providers
from scheduler.providers.configuration import (
    Configuration,
    ConfigurationRefused,
    is_configured,
    read_configuration,
)
from scheduler.providers.simulated import Simulated, SimulatedProviderSettings
from taskqueue.errors import InvalidSetting

SECRET = "a-secret-that-nobody-may-see-0123456789"

OWN = """
from pydantic import SecretStr, field_validator, model_validator
from scheduler.providers import Provider, ProviderSettings

class Settings(ProviderSettings):
    api_key: SecretStr
    spare_key: SecretStr | None = None
    model: str = "small"
    tags: list[str] = []
    size: int = 1

    @field_validator("api_key")
    @classmethod
    def _is_ours(cls, value):
        if value.get_secret_value().startswith("foreign"):
            raise ValueError(f"{value.get_secret_value()} is no key of ours")
        return value

class Own(Provider):
    types = ("CHATGPT", "GROK")
    Settings = Settings

    async def answer(self, payload, call):
        return {"text": payload.prompt}

class Broken(Own):
    def __init__(self, name, settings):
        raise RuntimeError(f"no {settings.api_key.get_secret_value()}")

class Unfinished(Provider):
    pass

class Misdeclared(Own):
    types = "CHATGPT"

class Raising(Own):
    class Settings(Settings):
        @field_validator("model")
        @classmethod
        def _explodes(cls, value):
            raise KeyError(value)

class Paired(Own):
    class Settings(Settings):
        @model_validator(mode="after")
        def _go_together(self):
            if self.model == "large" and self.size < 10:
                raise ValueError("a large model has a size of 10 or more")
            return self

class Prefixed(Own):
    class Settings(Settings):
        @field_validator("api_key")
        @classmethod
        def _begins_well(cls, value):
            if not value.get_secret_value().startswith("sk-"):
                raise ValueError("a key begins with sk-")
            return value

class Unsettled(Own):
    Settings = dict

class Foreign:
    pass
"""

Read = Callable[..., Configuration]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write a file and read it, with an environment of its own."""

    def write_and_read(text: str = "", **environ: str) -> Configuration:
        path = tmp_path / "providers.toml"
        path.write_text(text)
        return read_configuration(path, environ)

    return write_and_read


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with providers of one's own, on the path; its name."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def told(found: Configuration) -> dict[str, str]:
    """Return the problems: where and key -> what, one below the other."""
    problems: dict[str, str] = {}
    for where, key, what in found.problems:
        place = f"{where}: {key}" if key else where
        problems[place] = f"{problems[place]}\n{what}" if place in problems else what
    return problems


def settings_of(found: Configuration, name: str) -> SimulatedProviderSettings:
    """Return the settings of a simulated provider."""
    settings = found.providers[name].settings
    assert isinstance(settings, SimulatedProviderSettings)
    return settings


def test_a_file_names_providers_and_their_chains(read: Read) -> None:
    """What is not said has its default."""
    found = read("""
        [providers.first]
        kind = "simulated"
        seed = 7

        [providers.second]
        kind = "simulated"

        [types]
        CHATGPT = ["first", "second"]
        GROK = ["second"]
    """)

    assert found.problems == []
    assert found.chains == {"CHATGPT": ("first", "second"), "GROK": ("second",)}
    assert isinstance(found.providers["first"], Simulated)
    assert found.providers["first"].name == "first"
    assert [settings_of(found, name).seed for name in ("first", "second")] == [7, 0]
    assert found.kinds == {"first": "simulated", "second": "simulated"}
    assert not found.strict


def test_everything_that_is_wrong_is_told_together(read: Read, own: str) -> None:
    """Eleven mistakes, each with the file and its key; what is right works without the rest."""
    found = read(f"""
        color = "red"

        [providers.good]
        kind = "simulated"

        [providers."bad name"]
        kind = "simulated"

        [providers.nameless]
        model = "x"

        [providers.unknown]
        kind = "oracle"

        [providers.mixed]
        kind = "{own}:Own"
        api_key = {{ env = "NOT_SET" }}
        timeout = -1
        modle = "large"
        size = "many"

        [types]
        CHATGPT = ["good", "mixed", "nobody"]
        GROK = ["mixed"]
        TEAPOT = ["good"]
        GEMINI = "good"
    """)
    problems = told(found)

    assert set(problems) == {
        f"providers.toml: {key}"
        for key in (
            "color",
            "providers.bad name",
            "providers.nameless.kind",
            "providers.unknown.kind",
            "providers.mixed.api_key.env",
            "providers.mixed.timeout",
            "providers.mixed.modle",
            "providers.mixed.size",
            "types.CHATGPT",
            "types.GROK",
            "types.TEAPOT",
            "types.GEMINI",
        )
    }
    assert "known are providers, types, strict" in problems["providers.toml: color"]
    assert "must be one of openai" in problems["providers.toml: providers.unknown.kind"]
    assert "MODULE:CLASS" in problems["providers.toml: providers.unknown.kind"]
    assert problems["providers.toml: providers.mixed.timeout"] == (
        "-1 is not accepted; it should be greater than 0"
    )
    assert "is model meant?" in problems["providers.toml: providers.mixed.modle"]
    assert "valid integer" in problems["providers.toml: providers.mixed.size"]
    assert "NOT_SET is not set" in problems["providers.toml: providers.mixed.api_key.env"]
    assert "'nobody' is no provider" in problems["providers.toml: types.CHATGPT"]
    assert "not served" in problems["providers.toml: types.GROK"]
    assert "a list of 1 to 16" in problems["providers.toml: types.GEMINI"]
    assert found.chains == {"CHATGPT": ("good",)}
    assert list(found.providers) == ["good"]


def test_settings_are_held_against_each_other_without_the_secret(read: Read, own: str) -> None:
    """A key that is missing does not hide what is wrong with the rest."""
    problems = told(
        read(f"""
            [providers.a]
            kind = "{own}:Paired"
            api_key = {{ env = "NOT_SET" }}
            model = "large"
            [types]
            CHATGPT = ["a"]
        """)
    )

    assert "NOT_SET is not set" in problems["providers.toml: providers.a.api_key.env"]
    assert problems["providers.toml: providers.a"] == "a large model has a size of 10 or more"


@pytest.mark.parametrize("key", ["limits", "rate", "concurrency", "tokens", "breaker"])
def test_limits_do_not_stand_in_the_file(read: Read, key: str) -> None:
    """They are changed while workers run; the problem says how."""
    found = read(f'[providers.a]\nkind = "simulated"\n{key} = 5\n[types]\nGROK = ["a"]')

    problem = told(found)[f"providers.toml: providers.a.{key}"]
    assert "taskqueue limits set --provider a" in problem


@pytest.mark.parametrize(
    ("chain", "what"),
    [
        ('["a", "a"]', "'a' stands there twice"),
        ('["sick", "sick", "a"]', "'sick' stands there twice"),
        ('["a", 5]', "5 is no provider"),
        ('["a", ["a"]]', "is no provider"),
        ('["searching", "a"]', "'searching' answers only GOOGLE, GOOGLE_NEWS"),
    ],
)
def test_a_chain_has_different_providers_that_answer_its_type(read: Read, chain: str, what: str) -> None:
    """The rest of the chain works."""
    found = read(f"""
        [providers.a]
        kind = "simulated"
        [providers.sick]
        kind = "simulated"
        seed = "x"
        [providers.searching]
        kind = "searxng"
        base_url = "http://127.0.0.1:1"
        [types]
        CHATGPT = {chain}
    """)

    assert what in told(found)["providers.toml: types.CHATGPT"]
    assert found.chains == {"CHATGPT": ("a",)}


@pytest.mark.parametrize("chain", ["[]", str(["a"] * 17), "true", "{ a = 1 }"])
def test_a_chain_has_1_to_16_names(read: Read, chain: str) -> None:
    """Or its type is not served."""
    found = read(f'[providers.a]\nkind = "simulated"\n[types]\nCHATGPT = {chain}')

    assert "a list of 1 to 16 names" in told(found)["providers.toml: types.CHATGPT"]
    assert found.chains == {}


def test_providers_without_a_chain_are_asked_by_nobody(read: Read) -> None:
    """Which is told: the table of types was forgotten."""
    assert (
        'such as CHATGPT = ["NAME"]'
        in told(read('[providers.a]\nkind = "simulated"'))["providers.toml: types"]
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[providers", "it is no TOML: "),
        ('[providers.a]\nkind = "x"\nkind = "y"', "it is no TOML: "),
        ("a = " + "[" * 100_000, "it is nested too deeply"),
        ("# " + "x" * 1024 * 1024, "it is longer than 1,048,576 bytes"),
        ("a = " + "9" * 5_000, "it is no TOML: "),
    ],
)
def test_a_file_that_is_no_toml_is_one_problem(read: Read, text: str, what: str) -> None:
    """With the file, and where TOML says so the line."""
    (problem,) = read(text).problems

    assert (problem.where, problem.key) == ("providers.toml", "")
    assert problem.what.startswith(what) or what in problem.what


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    """Some editors write one."""
    path = tmp_path / "providers.toml"
    path.write_bytes(b"\xef\xbb\xbfstrict = true")

    found = read_configuration(path, {})

    assert (found.problems, found.strict) == ([], True)


def test_a_file_that_cannot_be_read_is_one_problem(tmp_path: Path) -> None:
    """One that is missing, a folder, and bytes that are no text."""
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")

    said = [read_configuration(path, {}).problems for path in (tmp_path / "none.toml", tmp_path, binary)]

    assert [len(problems) for problems in said] == [1, 1, 1]
    assert said[0][0] == Problem(
        str(tmp_path / "none.toml"), "", "it cannot be read: No such file or directory"
    )
    assert "directory" in said[1][0].what.lower()
    assert said[2][0].where == "binary.toml"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("providers = 5", "providers"),
        ("types = 5", "types"),
        ("[providers]\na = 5", "providers.a"),
        ('strict = "yes"', "strict"),
        ("[providers.a]\nkind = 5", "providers.a.kind"),
    ],
)
def test_tables_are_tables(read: Read, text: str, key: str) -> None:
    """And strict is a truth value."""
    found = read(text)

    assert f"providers.toml: {key}" in told(found)
    assert not found.strict


# ------------------------------------------------------------------------------------- the environment


def test_the_environment_adds_to_the_file_and_beats_it(read: Read) -> None:
    """Numbers, truth values and lists are read as the setting wants them; an empty variable is none."""
    found = read(
        """
        [providers.first-one]
        kind = "simulated"
        seed = 1
        failure_rate = 0.5

        [types]
        CHATGPT = ["first-one"]
        GROK = ["first-one"]
        """,
        TASKQUEUE_PROVIDERS__FIRST_ONE__SEED="2",
        TASKQUEUE_PROVIDERS__FIRST_ONE__STREAM="false",
        TASKQUEUE_PROVIDERS__FIRST_ONE__FAILURE_RATE="",
        TASKQUEUE_PROVIDERS__SPARE__KIND="simulated",
        TASKQUEUE_PROVIDERS__SPARE__MODE="failing",
        TASKQUEUE_TYPES__CHATGPT="spare, first-one",
        TASKQUEUE_TYPES__GEMINI="",
    )

    assert found.problems == []
    assert found.chains == {"CHATGPT": ("spare", "first-one"), "GROK": ("first-one",)}
    first, spare = settings_of(found, "first-one"), settings_of(found, "spare")
    assert (first.seed, first.stream, first.failure_rate) == (2, False, 0.5)
    assert spare.mode == "failing"


def test_the_environment_can_stand_alone(own: str) -> None:
    """Without any file; text that looks like a number stays text where text is wanted."""
    found = read_configuration(
        None,
        {
            "TASKQUEUE_PROVIDERS__MINE__KIND": f"{own}:Own",
            "TASKQUEUE_PROVIDERS__MINE__API_KEY": f" {SECRET}\n",
            "TASKQUEUE_PROVIDERS__MINE__MODEL": "4",
            "TASKQUEUE_PROVIDERS__MINE__SIZE": "5",
            "TASKQUEUE_PROVIDERS__MINE__TAGS": '["a", "b"]',
            "TASKQUEUE_TYPES__GROK": "mine",
        },
    )

    assert found.problems == []
    settings = found.providers["mine"].settings.model_dump()
    assert {name: settings[name] for name in ("model", "size", "tags")} == {
        "model": "4",
        "size": 5,
        "tags": ["a", "b"],
    }
    assert found.providers["mine"].secrets == (SECRET,)


def test_text_that_only_begins_like_a_list_stays_text(read: Read, own: str) -> None:
    """Where text is wanted; where a list is, the variable is named."""
    environ = {"KEY": SECRET, "TASKQUEUE_PROVIDERS__A__MODEL": "[draft"}
    text = f'[providers.a]\nkind = "{own}:Own"\napi_key = {{ env = "KEY" }}\n[types]\nGROK = ["a"]'

    found = read(text, **environ)
    refused = read(text, **environ, TASKQUEUE_PROVIDERS__A__TAGS="[draft")

    assert found.problems == []
    assert found.providers["a"].settings.model_dump()["model"] == "[draft"
    assert set(told(refused)) == {"TASKQUEUE_PROVIDERS__A__TAGS", "providers.toml: types.GROK"}


def test_the_environment_mends_no_provider_that_is_no_table(read: Read) -> None:
    """What is wrong in the file is told."""
    problems = told(read("[providers]\na = 5", TASKQUEUE_PROVIDERS__A__KIND="simulated"))

    assert set(problems) == {"providers.toml: providers.a"}


def test_a_problem_of_the_environment_names_the_variable(read: Read) -> None:
    """Also where the same key, or a longer one, is wrong in the file."""
    found = read(
        '[providers.a]\nkind = "simulated"\n[types]\nGOOGLE_NEWS = ["b"]',
        TASKQUEUE_PROVIDERS__A__SEED="many",
        TASKQUEUE_PROVIDERS__OTHER__SEED="1",
        TASKQUEUE_PROVIDERS__A="x",
        TASKQUEUE_TYPES__GOOGLE="nobody",
    )

    problems = told(found)
    assert set(problems) == {
        "TASKQUEUE_PROVIDERS__A",
        "TASKQUEUE_PROVIDERS__A__SEED",
        "TASKQUEUE_PROVIDERS__OTHER__KIND",
        "TASKQUEUE_TYPES__GOOGLE",
        "providers.toml: types.GOOGLE_NEWS",
    }
    assert problems["TASKQUEUE_PROVIDERS__A"] == "it must be TASKQUEUE_PROVIDERS__NAME__SETTING"
    assert problems["TASKQUEUE_PROVIDERS__OTHER__KIND"] == "it is missing"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"TASKQUEUE_PROVIDERS": "file"}, False),
        ({"TASKQUEUE_TYPES__GROK": ""}, False),
        ({"TASKQUEUE_TYPES__GROK": "a"}, True),
        ({"TASKQUEUE_PROVIDERS__A__KIND": "simulated"}, True),
    ],
)
def test_whether_anything_is_configured(environ: Mapping[str, str], expected: bool) -> None:
    """A file is; of the environment only what is about providers is."""
    assert is_configured(None, environ) is expected
    assert is_configured("providers.toml", environ)


# --------------------------------------------------------------------------------------------- secrets


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        (f'api_key = "{SECRET}"', "a secret does not stand in this file"),
        (f'api_key = {{ env = "KEY", value = "{SECRET}" }}', "a secret does not stand in this file"),
        ("api_key = 5", "a secret does not stand in this file"),
        ("", "it is missing: write { env ="),
    ],
)
def test_a_secret_stands_elsewhere(read: Read, own: str, setting: str, what: str) -> None:
    """In a variable or in a file, and the problem says how to write that."""
    problems = told(read(f'[providers.a]\nkind = "{own}:Own"\n{setting}\n[types]\nGROK = ["a"]', KEY=SECRET))

    assert what in problems["providers.toml: providers.a.api_key"]
    assert '{ file = "/path" }' in problems["providers.toml: providers.a.api_key"]
    assert SECRET not in str(problems)


def test_a_secret_that_is_missing_is_no_wrong_one(read: Read, own: str) -> None:
    """That it is missing is told, and not that what stands for it is refused as well."""
    text = f'[providers.a]\nkind = "{own}:Prefixed"\napi_key = {{ env = "KEY" }}\n[types]\nGROK = ["a"]'

    problems = told(read(text))
    assert problems.pop("providers.toml: types.GROK").startswith("none of its providers can be used")
    assert problems == {"providers.toml: providers.a.api_key.env": "the variable KEY is not set, or is empty"}
    assert "a key begins with sk-" in told(read(text, KEY=SECRET))["providers.toml: providers.a.api_key"]
    assert read(text, KEY="sk-1").problems == []


def test_a_secret_comes_from_a_file_beside_the_configuration(read: Read, own: str, tmp_path: Path) -> None:
    """Or from anywhere, by its whole path; the line end of the file is no part of it."""
    (tmp_path / "key").write_text(f"{SECRET}\n")
    found = read(f"""
        [providers.a]
        kind = "{own}:Own"
        api_key = {{ file = "key" }}
        spare_key = {{ file = "{tmp_path}/key" }}
        [types]
        GROK = ["a"]
    """)

    assert found.problems == []
    assert found.providers["a"].secrets == (SECRET, SECRET)


@pytest.mark.parametrize(
    ("path", "content", "what"),
    [
        ("no-such-file", b"", "No such file"),
        ("key", b"", "1 to 16,384 bytes"),
        ("key", b"x" * 16_385, "1 to 16,384 bytes"),
        ("key", b"\xff\xfe", "no UTF-8"),
        ("~nobody-has-this-name/key", b"", "no path"),
        ("a\\u0000b", b"", "no path"),
    ],
)
def test_a_file_without_a_secret_is_told(
    tmp_path: Path, own: str, path: str, content: bytes, what: str
) -> None:
    """Why, and for which key."""
    (tmp_path / "key").write_bytes(content)
    (tmp_path / "providers.toml").write_text(
        f'[providers.a]\nkind = "{own}:Own"\napi_key = {{ file = "{path}" }}\n[types]\nGROK = ["a"]'
    )

    problems = told(read_configuration(tmp_path / "providers.toml", {}))

    assert what in problems["providers.toml: providers.a.api_key.file"]


@pytest.mark.parametrize("kind", ["Own", "Broken", "Raising"])
def test_no_secret_is_ever_shown(
    read: Read, own: str, kind: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Not by a validator that repeats it, a class that cannot be made, a repr, nor a log."""
    caplog.set_level(logging.DEBUG)
    secret = f"foreign-{SECRET}" if kind == "Own" else SECRET
    text = f"""
        strict = true
        [providers.a]
        kind = "{own}:{kind}"
        api_key = {{ env = "KEY" }}
        model = "{secret if kind == "Raising" else "x"}"
        [types]
        GROK = ["a"]
    """
    found = read(text, KEY=secret)
    with pytest.raises(ConfigurationRefused) as refused:
        Providers.load(tmp_path / "providers.toml", environ={"KEY": secret})
    loose = read(text.replace("strict = true", ""), KEY=SECRET)
    (tmp_path / "providers.toml").write_text(text.replace("strict = true", ""))
    providers = Providers.load(tmp_path / "providers.toml", environ={"KEY": secret})

    seen = "\n".join(
        [
            *map(str, found.problems),
            repr(found),
            repr(loose),
            *(repr(provider.settings) for provider in loose.providers.values()),
            str(refused.value),
            repr(refused.value),
            repr(providers),
            caplog.text,
        ]
    )
    assert len(found.problems) == 2
    assert "[hidden]" in seen
    assert SECRET not in seen


# ----------------------------------------------------------------------------------- where classes are


def test_a_class_of_ones_own_is_named_by_its_module(read: Read, own: str) -> None:
    """As `MODULE:CLASS`."""
    found = read(
        f'[providers.a]\nkind = "{own}:Own"\napi_key = {{ env = "KEY" }}\n[types]\nCHATGPT = ["a"]',
        KEY=SECRET,
    )

    assert found.problems == []
    assert type(found.providers["a"]).__name__ == "Own"


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("no_such_module_anywhere:Own", "No module named 'no_such_module_anywhere'"),
        ("OWN:Missing", "AttributeError"),
        ("OWN:Foreign", "is no subclass of scheduler.providers.Provider"),
        ("OWN:Misdeclared", "has types that are no tuple of some of AIMODE"),
        ("OWN:Settings", "is no subclass"),
        ("OWN:Unsettled", "has Settings that are no subclass of scheduler.providers.ProviderSettings"),
        (":", "cannot be imported"),
        ("x" * 10_000, "there is no kind 'xxx"),
    ],
)
def test_a_kind_that_is_none_is_told(read: Read, own: str, kind: str, what: str) -> None:
    """With what to do; a long one is cut."""
    kind = kind.replace("OWN", own)

    problem = told(read(f'[providers.a]\nkind = "{kind}"'))["providers.toml: providers.a.kind"]

    assert what in problem
    assert len(problem) < 500


def test_a_class_that_lacks_its_method_is_told(read: Read, own: str) -> None:
    """It cannot be made."""
    problem = told(read(f'[providers.a]\nkind = "{own}:Unfinished"'))["providers.toml: providers.a"]

    assert problem.startswith("it cannot be made: TypeError")
    assert "answer" in problem


def test_a_kind_whose_package_is_missing_says_what_to_install(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the extra that brings it."""
    monkeypatch.delitem(sys.modules, "scheduler.providers.upstream", raising=False)
    monkeypatch.delitem(sys.modules, "scheduler.providers.tools.http", raising=False)
    monkeypatch.setitem(sys.modules, "httpx", None)

    problem = told(read('[providers.a]\nkind = "upstream"'))["providers.toml: providers.a.kind"]

    assert problem == "it needs the package 'httpx': pip install 'taskqueue-engine[search]'"


def test_another_package_brings_kinds_by_entry_points(read: Read, own: str, tmp_path: Path) -> None:
    """Its distribution is found on the path, as an installed one is."""
    info = tmp_path / "acme_providers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-providers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[taskqueue.providers]\nacme = {own}:Own\nsick = {own}:Foreign\n")

    found = read(
        """
        [providers.a]
        kind = "acme"
        api_key = { env = "KEY" }
        [providers.b]
        kind = "sick"
        [providers.c]
        kind = "other"
        [types]
        GROK = ["a"]
        """,
        KEY=SECRET,
    )

    problems = told(found)
    assert found.chains == {"GROK": ("a",)}
    assert "no subclass" in problems["providers.toml: providers.b.kind"]
    assert "simulated, acme, sick, or MODULE:CLASS" in problems["providers.toml: providers.c.kind"]


# ----------------------------------------------------------------------------------- what it is used for


def test_loading_logs_every_problem_and_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The file is that of the environment where none is named."""
    path = tmp_path / "providers.toml"
    path.write_text(
        '[providers.a]\nkind = "simulated"\n[providers.b]\nkind = "oracle"\n'
        '[types]\nGROK = ["a"]\nGEMINI = ["b"]'
    )

    providers = Providers.load(environ={"TASKQUEUE_PROVIDERS": str(path)})

    assert providers.types == ("GROK",)
    assert len(caplog.records) == len(providers.configuration.problems) == 2
    assert "providers.toml: providers.b.kind: there is no kind 'oracle'" in caplog.text


def test_a_strict_configuration_is_refused_with_all_that_is_wrong(tmp_path: Path) -> None:
    """One problem a line, however many there are."""
    path = tmp_path / "providers.toml"
    sick = "".join(f'[providers.sick{n}]\nkind = "oracle"\n' for n in range(20))
    path.write_text(f'strict = true\n[providers.a]\nkind = "simulated"\n{sick}[types]\nGROK = ["a"]')

    with pytest.raises(InvalidSetting) as refused:
        Providers.load(path, environ={})

    lines = str(refused.value).splitlines()
    assert len(lines) == 21
    assert "providers.toml: providers.sick19.kind: there is no kind 'oracle'" in lines[-1]


def test_a_strict_configuration_without_problems_works(tmp_path: Path) -> None:
    """As any other."""
    path = tmp_path / "providers.toml"
    path.write_text('strict = true\n[providers.a]\nkind = "simulated"\n[types]\nGROK = ["a"]')

    assert Providers.load(path, environ={}).types == ("GROK",)


def test_handlers_of_ones_own_win(tmp_path: Path) -> None:
    """Types that have one are left out of the group."""
    path = tmp_path / "providers.toml"
    path.write_text('[providers.a]\nkind = "simulated"\n[types]\nGROK = ["a"]\nGEMINI = ["a"]')
    scheduler = Scheduler()

    @scheduler.handler("GROK")
    async def grok(payload: dict[str, str]) -> dict[str, str]:
        return payload

    scheduler.include(Providers.load(path, environ={}).handlers(skipping=scheduler.types))

    assert scheduler.types == ("GROK", "GEMINI")
