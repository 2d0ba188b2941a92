"""Find the credentials for a registry: docker config files and credential helpers."""

import base64
import binascii
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, Protocol

import anyio
import orjson
from anyio import CapacityLimiter, to_thread

from asynckaniko.errors import UsageError
from asynckaniko.oci.reference import DOCKER_HUB
from asynckaniko.records import dataclass
from asynckaniko.registry.endpoints import canonical_host

_HUB_KEY = "https://index.docker.io/v1/"
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HELPER_SECONDS = 60.0
_TOKEN_USER = "<token>"  # noqa: S105 - the name under which helpers give an identity token
_log = logging.getLogger(__name__)


class Secret:
    """A text that is never shown by accident: not in reprs, logs, errors or events."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(***)" if self._value else "Secret()"


_NONE = Secret("")


@dataclass(frozen=True, slots=True)
class Credential:
    """What to show a registry or its token server; one of the three kinds is set."""

    username: str = ""
    password: Secret = _NONE
    identity_token: Secret = _NONE
    """Exchanged for access tokens (OAuth2 refresh token)."""
    registry_token: Secret = _NONE
    """An access token as it is."""
    source: str = field(default="", compare=False)
    """Where it was found, for messages."""

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        pair = f"{self.username}:{self.password.reveal()}"
        return "Basic " + base64.b64encode(pair.encode()).decode()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every text that must not be printed."""
        kinds = (self.password, self.identity_token, self.registry_token)
        texts = [kind.reveal() for kind in kinds if kind]
        if self.password:
            texts.append(self.basic.removeprefix("Basic "))
        return tuple(texts)


@dataclass(frozen=True, slots=True)
class Lease:
    """Credentials and how long they hold."""

    credential: Credential
    life_seconds: float


class CredentialSource(Protocol):
    """One place that may know credentials. `registry` is a canonical host: docker.io is the Hub."""

    async def find(self, registry: str, name: str) -> Credential | None:
        """Return what is known for repository `name` of `registry`."""
        ...

    def forget(self) -> None:
        """Look again next time: what was found has been refused."""
        ...


class Credentials:
    """Asks sources in order; the first that knows something is right."""

    def __init__(self, sources: Sequence[CredentialSource]) -> None:
        self._sources = tuple(sources)

    async def find(self, registry: str, name: str) -> Credential | None:
        for source in self._sources:
            if credential := await source.find(registry, name):
                return credential
        return None

    def forget(self) -> None:
        for source in self._sources:
            source.forget()


class AuthFile:
    """A docker `config.json` or podman `auth.json`. One that does not exist knows nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reading = CapacityLimiter(1)
        self._config: AuthConfig | None = None

    async def find(self, registry: str, name: str) -> Credential | None:
        if self._config is None:
            content = await to_thread.run_sync(self._read, limiter=self._reading)
            self._config = AuthConfig.parse(content, where=str(self._path))
        return await self._config.find(registry, name)

    def forget(self) -> None:
        self._config = None

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return b"{}"
        except OSError as error:
            raise UsageError(f"auth file {self._path}: {error.strerror}") from error


class AuthText:
    """The content of such a file, given as a value."""

    def __init__(self, text: str, *, where: str) -> None:
        """`where` names the text in messages."""
        self._text = text
        self._where = where
        self._config: AuthConfig | None = None

    async def find(self, registry: str, name: str) -> Credential | None:
        if self._config is None:
            self._config = AuthConfig.parse(self._text.encode(), where=self._where)
        return await self._config.find(registry, name)

    def forget(self) -> None:
        self._config = None


class AuthConfig:
    """The content of an auth file; helpers' answers are kept until `forget`."""

    def __init__(
        self,
        auths: Mapping[str, Any],
        *,
        helpers: Mapping[str, str],
        default_helper: str,
        where: str,
    ) -> None:
        self._auths = auths
        self._helpers = helpers
        self._default_helper = default_helper
        self._where = where
        self._answers: dict[tuple[str, str], Credential | None] = {}

    @classmethod
    def parse(cls, content: bytes, *, where: str) -> "AuthConfig":
        """Read the JSON.

        Raises:
            UsageError: it is none, or not of this kind; never with a part of it.
        """
        try:
            document = orjson.loads(content.strip() or b"{}")
        except orjson.JSONDecodeError as error:
            place = f"line {error.lineno}, column {error.colno}"
            raise UsageError(f"auth file {where}: not JSON at {place}") from None
        fields = document if isinstance(document, dict) else {"auths": document}
        auths, helpers = fields.get("auths", {}), fields.get("credHelpers", {})
        default = fields.get("credsStore", "")
        if not (isinstance(auths, dict) and isinstance(helpers, dict) and isinstance(default, str)):
            raise UsageError(f"auth file {where}: not a docker config.json")
        return cls(
            {_normal_key(key): entry for key, entry in auths.items()},
            helpers={_normal_key(key): str(helper) for key, helper in helpers.items()},
            default_helper=default,
            where=where,
        )

    async def find(self, registry: str, name: str) -> Credential | None:
        """Look up, most specific path first: host/a/b, host/a, host; then the default helper.

        Helpers serve the whole repository or the whole host. An entry in the file goes before the
        default helper: config files are copied from desktops whose helper does not exist here.
        """
        keys = list(_paths(registry, name))
        for key in keys:
            helper = self._helpers.get(key) if key in (keys[0], keys[-1]) else None
            if helper and (answer := await self._ask(helper, key)):
                return answer
            if credential := self._entry(key):
                return credential
        if self._default_helper:
            return await self._ask(self._default_helper, registry)
        return None

    def _entry(self, key: str) -> Credential | None:
        entry = self._auths.get(key)
        if not isinstance(entry, dict):
            return None
        source = f"{self._where} ({key})"
        username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
        if entry.get("auth"):
            username, password = _decode(str(entry["auth"]), source)
        identity, token = entry.get("identitytoken"), entry.get("registrytoken")
        if not (password or identity or token or username):
            return None
        return Credential(
            username,
            Secret(password),
            identity_token=Secret(str(identity or "")),
            registry_token=Secret(str(token or "")),
            source=source,
        )

    async def _ask(self, helper: str, key: str) -> Credential | None:
        known = (helper, key)
        if known not in self._answers:
            self._answers[known] = await ask_helper(helper, key, where=self._where)
        return self._answers[known]


async def ask_helper(helper: str, key: str, *, where: str) -> Credential | None:
    """Run `docker-credential-<helper> get`; None where it has nothing or cannot be run.

    Raises:
        UsageError: `helper` is no program name.
    """
    if not _HELPER.fullmatch(helper):
        raise UsageError(f"auth file {where}: {helper!r} is no credential helper's name")
    program = f"docker-credential-{helper}"
    server = _HUB_KEY if key == DOCKER_HUB else key
    try:
        with _input(server) as stdin, anyio.fail_after(_HELPER_SECONDS):
            done = await anyio.run_process([program, "get"], stdin=stdin, check=False)
    except OSError as error:  # TimeoutError is one
        reason = "no answer in time" if isinstance(error, TimeoutError) else error.strerror
        _log.warning("credentials for %s: %s: %s", key, program, reason)
        return None
    return _helper_answer(done, program=program, key=key)


@contextmanager
def _input(text: str) -> Iterator[int]:
    """Give standard input that a program may leave unread without anybody's pipe breaking."""
    file = os.memfd_create("input")
    try:
        os.write(file, text.encode())
        os.lseek(file, 0, os.SEEK_SET)
        yield file
    finally:
        os.close(file)


def _helper_answer(done: CompletedProcess[bytes], *, program: str, key: str) -> Credential | None:
    try:
        answer = orjson.loads(done.stdout) if done.returncode == 0 else None
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        # Helpers say on standard output that they know nothing; it is no failure.
        _log.info("%s has no credentials for %s (exit status %d)", program, key, done.returncode)
        return None
    username, secret = str(answer.get("Username") or ""), Secret(str(answer.get("Secret") or ""))
    if not secret:
        return None
    if username == _TOKEN_USER:
        return Credential(identity_token=secret, source=program)
    return Credential(username, secret, source=program)


def _paths(registry: str, name: str) -> Iterator[str]:
    parts = name.split("/") if name else []
    for count in range(len(parts), 0, -1):
        yield f"{registry}/{'/'.join(parts[:count])}"
    yield registry


def _normal_key(key: str) -> str:
    """Write a key of `auths` as host[/path]: https://index.docker.io/v1/ is docker.io."""
    bare = re.sub(r"^https?://", "", key.strip())
    if bare != key.strip():
        bare = re.sub(r"/v[12]/?$", "", bare)
    host, slash, path = bare.strip("/").partition("/")
    return canonical_host(host) + slash + path


def _decode(auth: str, source: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(auth + "=" * (-len(auth) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise UsageError(f"auth file {source}: auth is not base64 of user:password") from None
    username, colon, password = text.partition(":")
    if not colon:
        raise UsageError(f"auth file {source}: auth is not base64 of user:password")
    return username, password.rstrip("\0")
