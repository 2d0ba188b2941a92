"""The built-in credential helpers, by kaniko's names: env, google, ecr, acr, gitlab.

Each knows the registries it is for and keeps what it got until shortly before it expires.
"""

import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import anyio

from asynckaniko.registry import clouds, ecr
from asynckaniko.registry.credentials import (
    AuthFile,
    AuthText,
    Credential,
    CredentialSource,
    Lease,
    Secret,
)
from asynckaniko.registry.endpoints import canonical_host
from asynckaniko.registry.retry import Clock
from asynckaniko.registry.wire import Wire
from asynckaniko.settings import CredentialOptions

_NOTHING_SECONDS = 600.0
"""How long a source that had nothing is not asked again."""
_EARLY = 0.9
_log = logging.getLogger(__name__)


Ask: TypeAlias = Callable[[str], Awaitable[Lease | None]]
"""Asks a cloud for the credentials of one registry host; None where it has none for us."""


class CloudCredentials:
    """Credentials that a cloud gives for the registries whose host fits `hosts`."""

    def __init__(self, hosts: str, ask: Ask, *, clock: Clock) -> None:
        self._hosts = re.compile(hosts)
        self._ask = ask
        self._clock = clock
        self._kept: dict[str, tuple[Credential | None, float]] = {}
        self._asking = anyio.Lock()

    async def find(self, registry: str, name: str) -> Credential | None:
        if not self._hosts.fullmatch(registry):
            return None
        async with self._asking:
            credential, until = self._kept.get(registry, (None, 0.0))
            if self._clock.monotonic() >= until:
                began = self._clock.monotonic()
                lease = await self._ask(registry)
                credential = lease.credential if lease else None
                life_seconds = lease.life_seconds * _EARLY if lease else _NOTHING_SECONDS
                self._kept[registry] = (credential, began + life_seconds)
        return credential

    def forget(self) -> None:
        self._kept = {host: kept for host, kept in self._kept.items() if kept[0] is None}


class VariableCredentials:
    """KANIKO_<HOST>_USER and KANIKO_<HOST>_PASSWORD.

    HOST is in upper case with `_` for `.`, `-` and `:`, or what is left of it without its first
    parts: REGISTRY_EXAMPLE_COM, EXAMPLE_COM, COM.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    async def find(self, registry: str, name: str) -> Credential | None:
        parts = registry.split(".")
        for first in range(len(parts)):
            host = re.sub(r"[.:-]", "_", ".".join(parts[first:])).upper()
            user = self._variables.get(f"KANIKO_{host}_USER", "")
            password = self._variables.get(f"KANIKO_{host}_PASSWORD", "")
            if user and password:
                return Credential(user, Secret(password), source=f"KANIKO_{host}_PASSWORD")
        return None

    def forget(self) -> None:
        """Variables do not change."""


class GitlabCredentials:
    """What GitLab gives its jobs: CI_REGISTRY, CI_REGISTRY_USER and CI_REGISTRY_PASSWORD."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._registry = canonical_host(variables.get("CI_REGISTRY", ""))
        self._credential = Credential(
            variables.get("CI_REGISTRY_USER", ""),
            Secret(variables.get("CI_REGISTRY_PASSWORD", "")),
            source="CI_REGISTRY_PASSWORD",
        )

    async def find(self, registry: str, name: str) -> Credential | None:
        is_known = bool(self._credential.username and self._credential.password)
        return self._credential if is_known and registry == self._registry else None

    def forget(self) -> None:
        """Variables do not change."""


def credential_sources(
    options: CredentialOptions, auth_files: Sequence[Path], *, wire: Wire, clock: Clock
) -> tuple[CredentialSource, ...]:
    """Make the sources that the options name, in the order in which they are asked."""
    variables = options.variables
    google = clouds.Google(wire, variables)
    azure = clouds.Azure(wire, variables)
    amazon = ecr.Amazon()
    make: dict[str, Callable[[], CredentialSource]] = {
        "env": lambda: VariableCredentials(variables),
        "google": lambda: CloudCredentials(clouds.GOOGLE_HOSTS, google.ask, clock=clock),
        "ecr": lambda: CloudCredentials(ecr.HOSTS, amazon.ask, clock=clock),
        "acr": lambda: CloudCredentials(clouds.AZURE_HOSTS, azure.ask, clock=clock),
        "gitlab": lambda: GitlabCredentials(variables),
    }
    sources: list[CredentialSource] = []
    if options.auth_text.strip():
        sources.append(AuthText(options.auth_text, where="DOCKER_AUTH_CONFIG"))
    sources += [AuthFile(path) for path in auth_files]
    for name in options.helpers:
        if name in make:
            sources.append(make[name]())
        else:
            _log.warning("there is no credential helper %r; there are %s", name, ", ".join(make))
    return tuple(sources)
