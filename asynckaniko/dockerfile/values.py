"""Small notations: durations, signals, EXPOSE ports.

Durations are Go's `time.ParseDuration`, signals the names of signal(7), ports Docker's
`[ip:][host:]container[/protocol]`, of which an image keeps the container's part only.
Errors here have no span: the caller knows the line.
"""

import ipaddress
import re
from collections.abc import Iterable

from asynckaniko.dockerfile.wording import hint, shown
from asynckaniko.errors import DockerfileError
from asynckaniko.records import dataclass

_UNITS = {
    "ns": 1,
    "us": 10**3,
    "\u00b5s": 10**3,  # both characters that look like a micro sign
    "\u03bcs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DURATION_PART = r"(\d{1,19}(?:\.\d{0,30})?|\.\d{1,30})(ns|us|\u00b5s|\u03bcs|ms|s|m|h)"
_DURATION = re.compile(rf"([+-]?)((?:{_DURATION_PART})+|0)", re.ASCII)
_LONGEST_DURATION = (1 << 63) - 1

_SIGNALS = (
    *("ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT"),
    *("KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM"),
    *("TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ"),
    *("RTMIN", *(f"RTMIN+{number}" for number in range(1, 16))),
    *(*(f"RTMAX-{number}" for number in range(14, 0, -1)), "RTMAX"),
)

_PROTOCOLS = ("tcp", "udp", "sctp")
_PORT = re.compile(r"\+?\d{1,10}", re.ASCII)
_HIGHEST_PORT = 65535
_MOST_PORTS = 3 * (_HIGHEST_PORT + 1)
"""Every port with every protocol: a longer list repeats itself."""


def parse_duration(text: str) -> int:
    """Read `1m30s` as nanoseconds.

    Raises:
        DockerfileError: not a duration, or one beyond 292 years.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise DockerfileError(f"invalid duration {shown(text)!r}: write it like 30s or 1m30s")
    total = sum(
        _nanoseconds(number, _UNITS[unit])
        for number, unit in re.findall(_DURATION_PART, match[2], re.ASCII)
    )
    if total > _LONGEST_DURATION:
        raise DockerfileError(f"invalid duration {shown(text)!r}: too long")
    return -total if match[1] == "-" else total


def _nanoseconds(number: str, unit: int) -> int:
    whole, _, fraction = number.partition(".")
    scale: int = 10 ** len(fraction)
    return int(whole or 0) * unit + int(fraction or 0) * unit // scale


def check_signal(text: str) -> str:
    """Return `text` if it names a signal (any case, with or without SIG) or is a number.

    Raises:
        DockerfileError: it is neither.
    """
    if re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII):
        if int(text) == 0:
            raise DockerfileError(f"invalid signal: {shown(text)}")
        return text
    name = text.upper().removeprefix("SIG")
    if name not in _SIGNALS:
        raise DockerfileError(f"invalid signal: {shown(text)}{hint(name, _SIGNALS)}")
    return text


@dataclass(frozen=True, slots=True)
class ExposedPort:
    """One word of EXPOSE. `protocol` is as written, empty if it was not."""

    first: int
    last: int
    protocol: str = ""
    is_mapping: bool = False
    """It names an address or a port of the host, which an image cannot keep."""

    def ports(self) -> Iterable[str]:
        protocol = self.protocol.lower() or "tcp"
        return (f"{port}/{protocol}" for port in range(self.first, self.last + 1))


def parse_ports(words: Iterable[str]) -> list[str]:
    """Read the expanded words of EXPOSE as `port/protocol`, ranges spelt out.

    Raises:
        DockerfileError: not a port, not a protocol, or more ports than there are.
    """
    found: list[str] = []
    for word in words:
        found.extend(parse_port(word).ports())
        if len(found) > _MOST_PORTS:
            raise DockerfileError(f"EXPOSE lists more than {_MOST_PORTS} ports")
    return found


def parse_port(text: str) -> ExposedPort:
    """Read one word of EXPOSE.

    Raises:
        DockerfileError: not a port or not a protocol.
    """
    address, host, container = _split_port(text)
    container, _, protocol = container.partition("/")
    if not container:
        raise DockerfileError(f"invalid port: {shown(text)!r}: no port specified")
    if protocol.lower() not in _PROTOCOLS and protocol:
        near = hint(protocol.lower(), _PROTOCOLS)
        raise DockerfileError(
            f"invalid port: {shown(text)!r}: invalid proto: {shown(protocol)}{near}"
        )
    if address:
        _check_address(address, text)
    first, last = _port_range(container, text)
    if host:
        host_first, host_last = _port_range(host, text)
        if last != first and last - first != host_last - host_first:
            raise DockerfileError(
                f"invalid port: {shown(text)!r}: the ranges of container and host differ in length"
            )
    return ExposedPort(first, last, protocol, is_mapping=bool(address or host))


def _split_port(text: str) -> tuple[str, str, str]:
    """Split at the last two colons: addresses have colons of their own."""
    *rest, container = text.split(":")
    if not rest:
        return "", "", container
    *address, host = rest
    return ":".join(address), host, container


def _check_address(address: str, text: str) -> None:
    bare = address
    if address.startswith("[") and address.endswith("]"):
        bare = address[1:-1]
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        raise DockerfileError(
            f"invalid port: {shown(text)!r}: invalid IP address: {shown(address)}"
        ) from None


def _port_range(ports: str, text: str) -> tuple[int, int]:
    start, dash, end = ports.partition("-")
    first = _port_number(start, text)
    last = _port_number(end, text) if dash else first
    if last < first:
        raise DockerfileError(
            f"invalid port: {shown(text)!r}: {shown(ports)} ends before it starts"
        )
    return first, last


def _port_number(number: str, text: str) -> int:
    if not _PORT.fullmatch(number):
        raise DockerfileError(
            f"invalid port: {shown(text)!r}: {shown(number)!r} is not a port number"
        )
    port = int(number)
    if port > _HIGHEST_PORT:
        raise DockerfileError(
            f"invalid port: {shown(text)!r}: {port} is out of range (0-{_HIGHEST_PORT})"
        )
    return port
