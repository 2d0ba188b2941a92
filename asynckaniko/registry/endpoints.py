"""Which hosts serve a registry, by which scheme, and how they prove who they are.

Schemes, in the order they are tried: https only, unless the host was declared insecure (http, and
https where that turns out to be spoken) or is this machine (https, then http, as ggcr does).
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import TypeVar

from yarl import URL

from asynckaniko.errors import UsageError
from asynckaniko.oci.reference import DOCKER_HUB, Repository
from asynckaniko.records import dataclass
from asynckaniko.settings import RegistryOptions

_HUB_HOST = "registry-1.docker.io"
_HUB_ALIASES = frozenset({DOCKER_HUB, "index.docker.io", "registry.hub.docker.com", _HUB_HOST})
_MIRROR = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<host>\[[0-9a-fA-F:.]+\](?::\d{1,5})?|[A-Za-z0-9._-]+(?::\d{1,5})?)"
    r"(?:/(?P<prefix>[a-z0-9._/-]*))?"
)
_DEFAULT_PORTS = {"https": 443, "http": 80}

Value = TypeVar("Value")


class Direction(Enum):
    """Pulls and pushes may have different security settings."""

    PULL = "pull"
    PUSH = "push"


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """Whom to trust and whom to be on a connection."""

    verify: bool = True
    ca_files: tuple[Path, ...] = ()
    """Trusted beside the system's."""
    client: tuple[Path, Path] | None = None
    """Certificate and key."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One host that serves the repositories of a registry."""

    host: str
    """`host[:port]` to connect to."""
    schemes: tuple[str, ...]
    direction: Direction
    account: str
    """The registry name under which credentials are looked up."""
    prefix: str = ""
    """Repository path that stands before every name here."""
    is_mirror: bool = False

    def name(self, repository: Repository) -> str:
        """Return the repository's name at this endpoint."""
        return f"{self.prefix}/{repository.name}" if self.prefix else repository.name


class Endpoints:
    """Answers where to go, from RegistryOptions alone."""

    def __init__(self, options: RegistryOptions) -> None:
        self._options = options
        self._insecure = _hosts(options.insecure_registries)
        self._unverified = _hosts(options.skip_tls_verify_registries)
        self._certificates = _by_host(options.certificates)
        self._client_certificates = _by_host(options.client_certificates)
        self._mirrors = _by_host(options.mirrors)

    def pull(self, repository: Repository) -> tuple[Endpoint, ...]:
        """List where to read from, in the order to try.

        Raises:
            UsageError: a mirror that is no host.
        """
        registry = canonical_host(repository.registry)
        mirrors = tuple(self._mirror(text) for text in self._mirrors.get(registry, ()))
        if mirrors and not self._options.fall_back_to_origin:
            return mirrors
        return (*mirrors, self._origin(registry, Direction.PULL))

    def push(self, repository: Repository) -> Endpoint:
        """Return where to write to: always the registry itself."""
        return self._origin(canonical_host(repository.registry), Direction.PUSH)

    def tls(self, url: URL, direction: Direction) -> TlsIdentity:
        """Return how to deal with the server of `url`, which a redirect may have named."""
        hosts = _names_of(url)
        everywhere = {
            Direction.PULL: self._options.skip_tls_verify_pull,
            Direction.PUSH: self._options.skip_tls_verify_push,
        }[direction]
        own = next((self._certificates[host] for host in hosts if host in self._certificates), None)
        return TlsIdentity(
            verify=not (everywhere or any(host in self._unverified for host in hosts)),
            ca_files=(*self._options.ca_files, *((own,) if own else ())),
            client=next(
                (
                    self._client_certificates[host]
                    for host in hosts
                    if host in self._client_certificates
                ),
                None,
            ),
        )

    def _origin(self, registry: str, direction: Direction) -> Endpoint:
        host = _HUB_HOST if registry == DOCKER_HUB else registry
        return Endpoint(host, self._schemes(registry, direction), direction, account=registry)

    def _mirror(self, text: str) -> Endpoint:
        match = _MIRROR.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"registry mirror {text!r}: expected [http[s]://]host[:port][/prefix]")
        host = match["host"].lower()
        scheme = match["scheme"]
        account = canonical_host(host)
        return Endpoint(
            host=_HUB_HOST if account == DOCKER_HUB else host,
            schemes=(scheme,) if scheme else self._schemes(host, Direction.PULL),
            direction=Direction.PULL,
            account=account,
            prefix=(match["prefix"] or "").strip("/"),
            is_mirror=True,
        )

    def _schemes(self, host: str, direction: Direction) -> tuple[str, ...]:
        everywhere = {
            Direction.PULL: self._options.insecure_pull,
            Direction.PUSH: self._options.insecure_push,
        }[direction]
        if everywhere or host in self._insecure:
            return ("http", "https")
        if is_loopback(host_name(host)):
            return ("https", "http")
        return ("https",)


def canonical_host(host: str) -> str:
    """Fold case and the names of Docker Hub."""
    folded = host.lower()
    return DOCKER_HUB if folded in _HUB_ALIASES else folded


def host_name(host: str) -> str:
    """Return `host[:port]` without port and brackets."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).strip("[]")


def is_loopback(name: str) -> bool:
    """Tell whether a host name or address means this machine without asking DNS."""
    folded = name.lower().rstrip(".")
    if folded == "localhost" or folded.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(folded).is_loopback
    except ValueError:
        return False


def is_link_local(name: str) -> bool:
    """Tell whether `name` is an address like 169.254.169.254, where clouds keep credentials."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_link_local


def _names_of(url: URL) -> tuple[str, ...]:
    """List the ways in which settings may name the server of `url`."""
    host = url.host or ""
    bare = f"[{host}]" if ":" in host else host
    names = [f"{bare}:{url.port}"]
    if url.port == _DEFAULT_PORTS.get(url.scheme):
        names.append(bare)
    return tuple(canonical_host(name) for name in names)


def _hosts(hosts: Iterable[str]) -> frozenset[str]:
    return frozenset(canonical_host(host) for host in hosts)


def _by_host(values: Mapping[str, Value]) -> dict[str, Value]:
    return {canonical_host(host): value for host, value in values.items()}
