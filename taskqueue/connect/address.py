"""A server's URL, taken apart and checked. Pure: no socket is opened, no client is made.

    redis://[user:password@]host[:port][/db]              one server
    rediss://...                                          the same over TLS
    unix:///path/to/socket[?db=N]                         one server, on this machine
    redis+sentinel://[user:password@]h1[:p1],h2/service[/db]   the master that the Sentinels name
    redis+cluster://[user:password@]h1[:p1],h2[:p2]       a cluster, found through these nodes
    rediss+sentinel://  rediss+cluster://                 the same over TLS
    embedded:///folder[?fsync=always&linger=SECONDS]      our own server, see taskqueue/embedded
    memory://[NAME]                                       no server: for tests

Passwords never get into `shown`, a repr or an error. Those in a URL are percent-encoded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from taskqueue.errors import InvalidSetting
from taskqueue.settings import redact

Kind = Literal["redis", "unix", "sentinel", "cluster", "embedded", "memory"]

_SCHEMES: Mapping[str, tuple[Kind, bool]] = {
    "redis": ("redis", False),
    "rediss": ("redis", True),
    "unix": ("unix", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
    "embedded": ("embedded", False),
    "memory": ("memory", False),
}
_LOGIN = frozenset({"username", "password"})
_OPTIONS: Mapping[Kind, frozenset[str]] = {
    "redis": _LOGIN | {"db"},
    "unix": _LOGIN | {"db"},
    "sentinel": _LOGIN | {"db", "sentinel_username", "sentinel_password"},
    "cluster": _LOGIN,
    "embedded": frozenset({"fsync", "linger"}),
    "memory": frozenset(),
}
_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_OPTIONS = frozenset({*_TLS_FILES, "ssl_cert_reqs", "ssl_check_hostname"})
_CERT_REQS = Literal["required", "optional", "none"]
_PORT, _SENTINEL_PORT, _HIGHEST_PORT = 6379, 26379, 65_535
_NUMBER = re.compile(r"[0-9]{1,5}")
_SCHEME = re.compile(r"[A-Za-z0-9+.-]*")
_USER = re.compile(r"[^/?#@]*")
_LONGEST_LINGER = 86_400.0  # seconds
_MEMORY_NAME = re.compile(r"[A-Za-z0-9._-]{0,64}")


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are to a server. Either part may be missing."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Tls:
    """How a server's certificate is checked, and what ours is; paths of PEM files."""

    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    cert_reqs: _CERT_REQS = "required"
    check_hostname: bool = True


@dataclass(frozen=True, slots=True)
class Address:
    """One server, or one set of servers that act as one.

    Attributes:
        kind: What the rest means.
        shown: The URL without its password, for people.
        hosts: Name and port of the server, the Sentinels, or the first nodes of a cluster.
        path: The socket of `unix`, the folder of `embedded` (empty: the default one), the name of `memory`.
        db: Number of the database.
        service: What the Sentinels call the master.
        login: For the server itself.
        sentinel_login: For the Sentinels, which have users of their own.
        tls: None without TLS.
        fsync: `"everysec"` or `"always"`, of `embedded`.
        linger: Seconds that an `embedded` server stays after its last user.
    """

    kind: Kind
    shown: str
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    db: int = 0
    service: str = ""
    login: Login = Login()
    sentinel_login: Login = Login()
    tls: Tls | None = None
    fsync: str = "everysec"
    linger: float = 3.0


def parse_address(url: str, setting: str = "url") -> Address:
    """Take *url* apart.

    Args:
        url: See the top of this module.
        setting: What errors call it, such as the name of the environment variable it came from.

    Raises:
        InvalidSetting: If the scheme is unknown or any part breaks its rule. No error shows a password.
    """
    return _Parser(url, setting).parse()


def scrubbed(url: str) -> str:
    """Return *url* without what may be a password, whether it is a proper URL or not."""
    before, at, after = url.rpartition("@")
    if not at:
        return redact(url)
    scheme, separator, login = before.partition("://")
    is_url = bool(separator) and _SCHEME.fullmatch(scheme) is not None
    options = "".join(before.partition("?")[1:])
    if redact(options) != options:
        # The @ may be of a password among the options, which goes on behind it.
        return f"{scheme}://***" if is_url else "***"
    if not is_url:
        return f"***@{redact(after)}"
    user, colon, _ = login.partition(":")
    # A login of one word, or no URL at all: all of it may be secret.
    named = f"{user}:" if colon and _USER.fullmatch(user) else ""
    return f"{scheme}://{named}***@{redact(after)}"


class _Parser:
    """One URL on its way to an address; every refusal goes through `_refusal`."""

    def __init__(self, url: str, setting: str) -> None:
        self._setting = setting
        self._shown = scrubbed(url)
        scheme = url.partition("://")[0].lower()
        if "://" not in url or scheme not in _SCHEMES:
            accepted = ", ".join(f"{name}://" for name in _SCHEMES)
            raise self._refusal(f"a URL that begins with one of {accepted}")
        self._kind, self._is_tls = _SCHEMES[scheme]
        try:
            self._parts: SplitResult = urlsplit(url)
        except ValueError:
            # The message of urlsplit quotes the URL as it is.
            raise self._refusal("a well-formed URL", hide=True) from None
        if self._parts.fragment:
            raise self._refusal("without `#`; write %23 where a password or a name has one")
        if "@" in self._parts.query:
            # What looks like options is the rest of a password: they must not be quoted.
            raise self._refusal("with the `@`, `/`, `?` and `#` of a password written %40, %2F, %3F, %23")
        self._options = self._read_options()

    def parse(self) -> Address:
        if self._kind == "embedded":
            return self._embedded()
        if self._kind == "memory":
            return self._memory()
        if self._kind == "unix":
            return self._unix()
        return self._remote()

    def _remote(self) -> Address:
        userinfo, _, hosts = self._parts.netloc.rpartition("@")
        service, db = self._service_and_db()
        options = self._options
        return Address(
            kind=self._kind,
            shown=self._shown,
            hosts=self._hosts(hosts),
            db=db,
            service=service,
            login=self._login(userinfo),
            sentinel_login=Login(options.get("sentinel_username"), options.get("sentinel_password")),
            tls=self._tls() if self._is_tls else None,
        )

    def _unix(self) -> Address:
        userinfo, _, host = self._parts.netloc.rpartition("@")
        path = unquote(self._parts.path)
        if host or path in ("", "/") or "\0" in path:
            raise self._refusal("the absolute path of a socket after three slashes: unix:///run/redis.sock")
        db = self._number(self._options.get("db", "0"))
        return Address(kind="unix", shown=self._shown, path=path, db=db, login=self._login(userinfo))

    def _embedded(self) -> Address:
        path = unquote(self._parts.path)
        if self._parts.netloc or "\0" in path:
            raise self._refusal("an absolute folder after three slashes: embedded:///home/me/queue, or none")
        fsync = self._options.get("fsync", "everysec")
        if fsync not in ("everysec", "always"):
            raise self._refusal("with fsync=everysec or fsync=always")
        try:
            linger = float(self._options.get("linger", "3"))
        except ValueError:
            linger = -1.0
        if not 0 <= linger <= _LONGEST_LINGER:
            raise self._refusal("with linger= seconds, from 0 to 86400")
        folder = path.rstrip("/")
        return Address(kind="embedded", shown=self._shown, path=folder, fsync=fsync, linger=linger)

    def _memory(self) -> Address:
        name = unquote(self._parts.netloc)
        if self._parts.path not in ("", "/") or not _MEMORY_NAME.fullmatch(name):
            raise self._refusal("memory:// and a name of up to 64 letters, digits, `.`, `_` and `-`, or none")
        return Address(kind="memory", shown=self._shown, path=name)

    def _read_options(self) -> dict[str, str]:
        pairs = parse_qsl(self._parts.query, keep_blank_values=True)
        accepted = _OPTIONS[self._kind] | (_TLS_OPTIONS if self._is_tls else frozenset())
        unknown = next((name for name, _ in pairs if name not in accepted), None)
        if unknown is not None:
            known = f"one of {', '.join(sorted(accepted))}" if accepted else "none is known for this scheme"
            needs_tls = "; TLS needs rediss://" if unknown in _TLS_OPTIONS else ""
            raise self._refusal(f"without the option {unknown!r} ({known}{needs_tls})")
        return dict(pairs)

    def _login(self, userinfo: str) -> Login:
        username, colon, password = userinfo.partition(":")
        if userinfo and not colon:
            # Some take it for a user, some for a password: whoever wrote it shall say.
            raise self._refusal("with `user:password@` or `:password@` before the host")
        return Login(
            username=unquote(username) or self._options.get("username"),
            password=unquote(password) or self._options.get("password"),
        )

    def _hosts(self, text: str) -> tuple[tuple[str, int], ...]:
        names = text.split(",")
        if len(names) > 1 and self._kind == "redis":
            raise self._refusal("one host; several belong to redis+sentinel:// or redis+cluster://")
        return tuple(self._host(name) for name in names)

    def _host(self, text: str) -> tuple[str, int]:
        if text.startswith("["):
            name, bracket, after = text[1:].partition("]")
            is_formed = bool(bracket) and after[:1] in ("", ":")
            port = after[1:]
        else:
            name, _, port = text.partition(":")
            is_formed = ":" not in port
        if not is_formed or (port and not (_NUMBER.fullmatch(port) and 0 < int(port) <= _HIGHEST_PORT)):
            # What stands in the place of the port may be a password that lost its `@`.
            rule = "with host:port, the port from 1 to 65535, IPv6 addresses in [ ]"
            raise self._refusal(rule, hide=True)
        default = _SENTINEL_PORT if self._kind == "sentinel" else _PORT
        host = unquote(name)
        if "\0" in host:
            raise self._refusal("with a host that has no NUL", hide=True)
        return host or "localhost", int(port) if port else default

    def _service_and_db(self) -> tuple[str, int]:
        words = [unquote(word) for word in self._parts.path.strip("/").split("/") if word]
        service = ""
        if self._kind == "sentinel":
            if not words:
                raise self._refusal("with the name of the master: redis+sentinel://h1,h2,h3/service/db")
            service = words.pop(0)
        if len(words) > 1 or (words and "db" in self._options):
            raise self._refusal("with one number of a database")
        db = self._number(words[0] if words else self._options.get("db", "0"))
        if self._kind == "cluster" and db != 0:
            raise self._refusal("without a database: a cluster has only number 0")
        return service, db

    def _number(self, text: str) -> int:
        if not _NUMBER.fullmatch(text):
            raise self._refusal(
                "with a database that is a number from 0 on, such as redis://localhost:6379/0"
            )
        return int(text)

    def _tls(self) -> Tls:
        cert_reqs = self._options.get("ssl_cert_reqs", "required").lower()
        known: tuple[_CERT_REQS, ...] = get_args(_CERT_REQS)
        chosen = next((value for value in known if value == cert_reqs), None)
        if chosen is None:
            raise self._refusal(f"with ssl_cert_reqs= {', '.join(known)}")
        check = self._options.get("ssl_check_hostname", "true").lower()
        if check not in ("true", "false"):
            raise self._refusal("with ssl_check_hostname= true or false")
        files = {name.removeprefix("ssl_"): self._options.get(name) for name in _TLS_FILES}
        if any("\0" in (file or "") for file in files.values()):
            raise self._refusal(f"with paths after {', '.join(_TLS_FILES)}, which have no NUL")
        # A host name can only be checked against a certificate that is.
        return Tls(**files, cert_reqs=chosen, check_hostname=check == "true" and chosen != "none")

    def _refusal(self, rule: str, *, hide: bool = False) -> InvalidSetting:
        shown = f"{self._shown.partition('://')[0]}://..." if hide else self._shown
        return InvalidSetting(self._setting, shown, rule)
