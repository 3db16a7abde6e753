"""The header of a script is its signature and its documentation: both must be true.

Sizes, chosen so that a script is read on one screen: a script of its own has at most 60 lines of
code (no blanks, no comments), a part that scripts share at most 240. The one exception says so.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from taskqueue import scripts
from taskqueue.keys import Keys
from taskqueue.ranking import policy
from taskqueue.scripts import Script, ScriptError, load, script_names
from tests.lua.bytecode import globals_of, lua_runtime

LINES_OF_A_SCRIPT = 60
LINES_OF_A_PART = 240
# The bands, rates and dues of a thousand tasks, and their write, belong to one decision.
LONGER = {"enqueue": 130}

SCRIPTS = script_names()
PARTS = sorted(set(scripts._read_all()) - set(SCRIPTS))
POLICIES = ["strict", "fair_within_priority", "fair_tenants"]

KINDS_OF_KEYS = {"string", "hash", "zset", "set", "list"}
KINDS_OF_ARGUMENTS = {"str", "int"}
NEEDS_MEMORY = {"enqueue", "redrive", "create_key", "rotate_key"}
WRITES_NOTHING = {"fetch", "list", "stats", "find_keys", "find_webhook_secrets", "providers"}

# What a server offers to a script, less what the rules of the house forbid.
ALLOWED_GLOBALS = {
    "KEYS", "ARGV", "redis", "string", "math", "table",
    "ipairs", "next", "pairs", "setmetatable", "tonumber", "unpack",
}  # fmt: skip

HEADER = re.compile(r"--\[\[.*?\]\]", re.DOTALL)
COMMENT = re.compile(r"--[^\n]*")
BINDING = re.compile(r"^(?:local )?([\w, ]+?) = ([^\n]*\b(?:KEYS|ARGV)\[[^\n]*)$", re.MULTILINE)
PARAMETER = re.compile(r"^  (\w+)(?:\.\.\.)?\s+(\w+)\s", re.MULTILINE)


def script(name: str) -> Script:
    """Return a script as the server gets it."""
    return load(name, policy("strict").lua)


def body(name: str) -> str:
    """Return the text of a script or a part without header and comments."""
    return COMMENT.sub("", HEADER.sub("", scripts._read(name)))


def included(name: str) -> list[str]:
    """Return the names of the parts that a script is made of, itself last."""
    found = re.findall(r"^-- include: ([a-z_ ]+)$", scripts._read(name), re.MULTILINE)
    assert found, f"{name} includes nothing"
    return [f"_{part}" for part in " ".join(found).split() if part != "policy"] + [name]


def assembled(name: str) -> str:
    """Return the code of a script and all of its parts."""
    return "\n".join(body(part) for part in included(name))


# Names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_begins_with_the_same_arguments(name: str) -> None:
    """KEYS[1] is the settings of the queue, ARGV[1] the prefix, ARGV[2] the time: parts rely on that."""
    assert script(name).keys[0] == "meta"
    assert script(name).argv[:2] == ("prefix", "now")
    assert included(name)[0] == "_base"


@pytest.mark.parametrize("name", SCRIPTS)
def test_names_in_the_header_are_names_in_the_body(name: str) -> None:
    """What is bound to KEYS[n] or ARGV[n] is called what the header calls it, or has that in its name."""
    for local, table, position in bindings(body(name)):
        declared = declared_at(script(name), table, position)
        words = local.split("_")

        assert set(words) & {declared, declared.removesuffix("s")} or local == declared, (
            f"{name}: {table}[{position}] is {declared!r} in the header and {local!r} in the body"
        )


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_argument_of_the_header_is_used(name: str) -> None:
    """By its number, or, if it is a list, from its number on; and none is used that the header has not."""
    code = assembled(name)
    for table, names in (("KEYS", script(name).keys), ("ARGV", script(name).argv)):
        used = {int(number) for number in re.findall(rf"\b{table}\[(\d+)\]", code)}
        used |= claim_arguments(name) if table == "ARGV" else set()
        single = {at for at, declared in enumerate(names, 1) if not declared.endswith("...")}
        is_list = names[-1].endswith("...")

        assert single <= used, f"{name}: {table} of the header that nothing reads"
        assert max(used) <= len(names), f"{name}: {table}[{max(used)}] is not in the header"
        if is_list:
            assert re.search(rf"#{table}\b|{table}\[[^\]\d]", code), f"{name}: nothing walks over {names[-1]}"


def bindings(code: str) -> list[tuple[str, str, int]]:
    """Return (local name, table, position) of every `local a, b = KEYS[1], tonumber(ARGV[2])`."""
    found = []
    for names, values in BINDING.findall(code):
        locals_, expressions = names.split(", "), split_values(values)
        if len(locals_) != len(expressions):
            assert re.match(r"\w+\(", values), f"neither as many values as names, nor a call: {values}"
            continue
        for local, value in zip(locals_, expressions, strict=True):
            argument = re.fullmatch(r'(?:tonumber\()?(KEYS|ARGV)\[(\d+)\]\)?(?: == "1")?', value.strip())
            if argument:
                found.append((local, argument[1], int(argument[2])))
    return found


def split_values(values: str) -> list[str]:
    """Split at commas that stand in no brackets."""
    parts, depth = [""], 0
    for letter in values:
        depth += letter in "([{"
        depth -= letter in ")]}"
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def declared_at(of: Script, table: str, position: int) -> str:
    """Return the name that the header gives to an argument."""
    names = of.keys if table == "KEYS" else of.argv
    assert position <= len(names), f"{of.name}: {table}[{position}] is not in the header"
    return names[position - 1].removesuffix("...")


def claim_arguments(name: str) -> set[int]:
    """Return the numbers of the arguments that `claim_tasks(first, ...)` reads, if it is called so."""
    call = re.search(r"claim_tasks\((\d+),", body(name))
    offsets = re.findall(r"ARGV\[at(?: \+ (\d))?\]", body("_claiming"))
    return {int(call[1]) + int(offset or 0) for offset in offsets} if call else set()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_claim_is_asked_for_in_the_order_that_its_header_says(name: str) -> None:
    """claim.lua declares worker, request, lease, limit, types; the shared part reads them in this order."""
    if "_claiming" not in included(name):
        return
    part = body("_claiming")
    wanted = [declared.removesuffix("...") for declared in script("claim").argv[2:]]

    first = re.search(r"local (\w+), (\w+) = ARGV\[at\], ARGV\[at \+ 1\]", part)
    second = re.search(r"local (\w+), (\w+) = tonumber\(ARGV\[at \+ 2\]\), tonumber\(ARGV\[at \+ 3\]\)", part)

    assert first
    assert second
    assert [*first.groups(), *second.groups(), "types"] == wanted
    assert re.search(r"for index = at \+ 4, #ARGV, 3 do", part)


# What the header says ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_section_says_something(name: str) -> None:
    """The purpose is a sentence, keys and arguments have a known kind and a word about them."""
    sections = script(name).sections

    assert list(sections) == ["PURPOSE", "KEYS", "ARGV", "RETURNS", "MOVES", "COST"]
    assert all(section.strip() for section in sections.values())
    assert sections["PURPOSE"].endswith(".")
    assert {kind for _, kind in PARAMETER.findall(sections["KEYS"])} <= KINDS_OF_KEYS
    assert {kind for _, kind in PARAMETER.findall(sections["ARGV"])} <= KINDS_OF_ARGUMENTS
    assert re.search(r"\bO\(", sections["COST"])
    states = set(re.findall(r"\b[A-Z]{4,}\b", sections["MOVES"]))
    assert states <= {"QUEUED", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_word_that_is_promised_can_be_returned(name: str) -> None:
    """Words in quotes under RETURNS, and the words of a table there, stand in the code."""
    missing = {word for word in promised(name) if f'"{word}"' not in assembled(name)}

    assert missing == set()


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_word_that_is_returned_is_promised(name: str) -> None:
    """What stands behind `return {` in the script itself is under RETURNS; so is a queue that was wiped."""
    words = set(re.findall(r'(?:return|reply =|answer =) \{ "([a-z_]+)"', body(name)))

    assert words <= promised(name)
    assert ("no_queue" in promised(name)) == ("_meta" in included(name))


def promised(name: str) -> set[str]:
    """Return the words under RETURNS: those in quotes, and those of a table with a word a line."""
    returns = script(name).sections["RETURNS"]
    rows = re.findall(r"^ {6}([a-z_]+) {2,}\S", returns, re.MULTILINE) if "word," in returns else []
    return {*re.findall(r'"([a-z_]+)"', returns), *rows}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_says_what_it_is(name: str) -> None:
    """Its first line is a comment, a whole sentence by its end."""
    first, *_ = scripts._read(name).partition("local ")
    comment = " ".join(line.removeprefix("-- ") for line in first.splitlines() if line.startswith("--"))

    assert scripts._read(name).startswith("-- ")
    assert len(comment) > 30
    assert re.search(r"[.:)]", comment)


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_used(name: str) -> None:
    """By some script, or as the rank of a policy."""
    if not name.startswith("_rank_"):
        assert [used for used in SCRIPTS if name in included(used)]


# Rules of the house ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SCRIPTS, *PARTS])
def test_a_file_fits_its_size(name: str) -> None:
    """See the docstring of this module."""
    code = [line for line in body(name).splitlines() if line.strip()]
    most = LONGER.get(name, LINES_OF_A_SCRIPT if name in SCRIPTS else LINES_OF_A_PART)

    assert len(code) <= most


@pytest.mark.parametrize("rule", POLICIES)
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_uses_no_globals_but_the_languages(name: str, rule: str) -> None:
    """Nothing is written to a global, on any path; no pcall, which would hide a failed command."""
    found = globals_of(load(name, policy(rule).lua, shebang=False).source)

    assert found.written == set()
    assert found.read <= ALLOWED_GLOBALS


def test_globals_are_found_in_inner_functions() -> None:
    """The finder itself: reads and writes, at the top and deep inside."""
    found = globals_of(
        "local a = KEYS[1] b = a local function f() return function() c = pcall(d, 1.5, true) end end"
    )

    assert found.read == {"KEYS", "pcall", "d"}
    assert found.written == {"b", "c"}


@pytest.mark.parametrize("name", [*SCRIPTS, *PARTS])
def test_no_command_reads_without_a_bound(name: str) -> None:
    """No KEYS or SCAN of the server, no whole set but the names of types, no range without a limit."""
    code = body(name)

    assert not re.search(r'"(KEYS|SCAN|EVAL|FLUSHDB|FLUSHALL|RANDOMKEY|SORT)"', code)
    assert set(re.findall(r'"SMEMBERS", ([\w.]+)', code)) <= {"keys.types", "types"}
    for command in re.findall(r'call\("Z(?:REV)?RANGEBYSCORE"[^\n]*', code):
        assert '"LIMIT"' in command
    assert not re.search(r'"Z(?:REV)?RANGE", [\w.()]+, 0, -1', code)
    assert not re.search(r'"LRANGE"|"HKEYS"|"HVALS"', code)


@pytest.mark.parametrize("name", [*SCRIPTS, *PARTS])
def test_commands_go_through_one_word(name: str) -> None:
    """`call`, which is redis.call: an error of a command ends the script; and none that fakeredis has not."""
    assert body(name).count("redis.") == (1 if name == "_base" else 0)
    assert not re.search(r"\b(cmsgpack|struct|bit|cjson|pcall|sha1hex|loadstring)\b", body(name))


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_flags_say_what_a_script_needs(name: str) -> None:
    """Only what brings new tasks needs memory; a full server must still be able to drain."""
    first = scripts._read(name).splitlines()[0]

    if name in NEEDS_MEMORY:
        assert first == "#!lua"
    elif name in WRITES_NOTHING:
        assert first == "#!lua flags=no-writes"
    else:
        assert first == "#!lua flags=allow-oom"


@pytest.mark.parametrize("name", [*SCRIPTS, *PARTS])
def test_numbers_become_text_by_one_function(name: str) -> None:
    """Lua's own conversion loses digits from 1e14 on: next to `..` stands a text, or text(number)."""
    code = body(name)
    numbers = set(re.findall(r"([\w.]+) = (?:tonumber|floor|min|max|math\.\w+|#|\d)", code)) | {"now"}
    for line in code.splitlines():
        for operand in re.findall(r"([\w.]+)(?= \.\.)|(?<=\.\. )([\w.]+)(?![\w.(\[])", line):
            used = operand[0] or operand[1]
            _, dot, field = used.rpartition(".")

            assert used not in numbers, f"{name}: {line.strip()}"
            is_number = dot and not used.startswith("keys.") and field in NUMERIC_FIELDS
            assert not is_number, f"{name}: {line.strip()}"


NUMERIC_FIELDS = {
    "attempt", "created", "crashes", "deliveries", "delayed", "due", "held", "most", "priority", "processing",
    "retention", "room", "score", "sequence", "stride", "virtual", "weight",
}  # fmt: skip


# Keys --------------------------------------------------------------------------------------------


def test_lua_spells_keys_as_python_does() -> None:
    """Both are evaluated: every key that _keys.lua makes is the one that taskqueue/keys.py makes."""
    keys = Keys("some.queue")
    lua = lua_runtime()
    spelled = lua.execute(f'local prefix = "{keys.prefix}"\n{scripts._read("_keys")}\nreturn keys'.encode())
    arguments = {"ready": ("GROK", "acme"), "idem": ("acme", "digest")}

    names = [name.decode() for name in spelled]
    assert len(names) > 15
    for name in names:
        theirs, ours = spelled[name.encode()], getattr(keys, name)
        if callable(ours):
            given = arguments.get(name, ("x",))
            ours, theirs = ours(*given), theirs + ":".join(given).encode()
        assert theirs.decode() == ours


def test_a_name_that_starts_with_a_word_of_the_keys_cannot_be_taken_for_another() -> None:
    """Two kinds of keys never make the same key, whatever a user calls a type, a tenant or a task."""
    keys = Keys("q")
    kinds = [keys.task, keys.run, keys.waiters, keys.lanes, keys.wake, keys.delayed, keys.finished]
    kinds += [keys.limit_type, keys.limit_tenant, keys.count_type, keys.count_tenant, keys.claims, keys.inbox]
    kinds += [keys.api_key, keys.api_keys, keys.rate, keys.account]
    names = ["a", "task", "type", "tenant", "run", "meta", "GROK"]

    made = [kind(name) for kind in kinds for name in names]
    made += [keys.ready(type_, group) for type_ in names for group in (*names, "a!")]
    made += [keys.idem(tenant, "digest") for tenant in names]
    assert len(set(made)) == len(made)


# Reading them ------------------------------------------------------------------------------------


def test_a_call_names_exactly_what_the_header_does() -> None:
    """One argument too few or too many, or of another name, is a mistake of ours and never sent."""
    fetch = script("fetch")
    right: dict[str, Any] = dict.fromkeys(
        [*fetch.keys, *(name.removesuffix("...") for name in fetch.argv)], ""
    )
    fetch.arguments(**right)

    (name, value), *rest = right.items()
    for wrong in (dict(rest), {**right, "more": 1}, {**dict(rest), f"{name}_": value}):
        with pytest.raises(ScriptError, match=r"fetch\.lua takes \['.*'\], got \['.*'\]"):
            fetch.arguments(**wrong)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("return 1", "must open with a #!lua line and a --[[ header ]]"),
        ("#!lua\n--[[\nother: says nothing\n]]\n", "the header must be 'fetch: ...', then KEYS"),
        ("#!lua\n--[[\nfetch: says nothing\n\nARGV\n\nKEYS\n]]\n", "the header must be 'fetch: ...', then"),
    ],
)
def test_a_file_of_another_shape_is_refused(monkeypatch: pytest.MonkeyPatch, text: str, told: str) -> None:
    """Without its header nobody knows how to call it."""
    monkeypatch.setattr("taskqueue.scripts._read", lambda name: text)

    with pytest.raises(ScriptError, match=re.escape(told)):
        script("fetch")
