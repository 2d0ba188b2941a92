"""Which proxy a request goes through, by the rules of Go's net/http (and so of kaniko).

This machine and cloud metadata are always reached directly. NO_PROXY lists `*`, addresses, CIDR
blocks, hosts (with all below them) and `.suffixes` (without the host itself), each with an optional
port.
"""

import ipaddress
from collections.abc import Iterator
from typing import Self, TypeAlias

from yarl import URL

from asynckaniko.errors import UsageError
from asynckaniko.records import dataclass
from asynckaniko.registry.endpoints import is_link_local, is_loopback
from asynckaniko.settings import RegistryOptions

_METADATA_HOSTS = frozenset({"metadata.google.internal", "metadata"})
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class _Exception:
    """One entry of NO_PROXY."""

    host: str = ""
    with_itself: bool = True
    network: _Network | None = None
    port: int | None = None

    def fits(self, host: str, port: int | None) -> bool:
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            try:
                return ipaddress.ip_address(host) in self.network
            except ValueError:
                return False
        return host.endswith(f".{self.host}") or (self.with_itself and host == self.host)


class Proxies:
    """Chooses for each URL."""

    def __init__(
        self, by_scheme: dict[str, URL], exceptions: tuple[_Exception, ...], *, never: bool
    ) -> None:
        self._by_scheme = by_scheme
        self._exceptions = exceptions
        self._never = never

    @classmethod
    def of(cls, options: RegistryOptions) -> Self:
        """Read the options.

        Raises:
            UsageError: a proxy that is no http(s) URL; without its password.
        """
        given = {"https": options.https_proxy, "http": options.http_proxy}
        entries = [entry.strip().lower() for entry in options.no_proxy.split(",")]
        return cls(
            {scheme: _proxy(text, scheme) for scheme, text in given.items() if text.strip()},
            tuple(_exceptions(entries)),
            never="*" in entries,
        )

    def choose(self, url: URL) -> URL | None:
        """Return the proxy for `url`, with its userinfo; None to connect directly."""
        host = (url.host or "").lower().rstrip(".")
        if self._never or is_loopback(host) or is_link_local(host) or host in _METADATA_HOSTS:
            return None
        if any(exception.fits(host, url.port) for exception in self._exceptions):
            return None
        return self._by_scheme.get(url.scheme)


def _proxy(text: str, scheme: str) -> URL:
    try:
        url = URL(text.strip() if "://" in text else f"http://{text.strip()}")
        host = url.host
    except ValueError:
        host = None
    if not host or url.scheme not in ("http", "https"):
        raise UsageError(f"{scheme.upper()}_PROXY must be [http://][user:password@]host[:port]")
    return url.origin().with_user(url.user).with_password(url.password)


def _exceptions(entries: list[str]) -> Iterator[_Exception]:
    for entry in entries:
        try:
            yield _Exception(network=ipaddress.ip_network(entry.strip("[]"), strict=False))
            continue
        except ValueError:
            pass
        host, colon, port = entry.rpartition(":")
        name, number = (host, int(port)) if colon and port.isdigit() else (entry, None)
        try:
            yield _Exception(network=ipaddress.ip_network(name.strip("[]")), port=number)
        except ValueError:
            bare = name.removeprefix("*")
            if bare.strip("."):
                yield _Exception(bare.lstrip("."), not bare.startswith("."), port=number)
