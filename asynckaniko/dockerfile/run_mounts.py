"""RUN --mount: one value of the flag to a typed mount, with BuildKit's defaults.

Dockerfile reference, "RUN --mount". A value is one CSV record of `key=value` fields; variables
are expanded field by field, so that a value may hold a comma. `from` takes no variables: which
stages are needed must be known before any of them runs.

Errors here have no span: the caller knows the line.
"""

import posixpath
import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from asynckaniko.dockerfile.wording import hint, shown
from asynckaniko.errors import DockerfileError
from asynckaniko.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BindMount:
    """A directory or file of the context, or of what `from_` names. Writes are thrown away."""

    target: str
    """Relative to the WORKDIR, which an empty one means itself; so in all mounts."""
    source: str = "/"
    from_: str = ""
    readonly: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMount:
    """A directory that outlives the build. `from_` and `source` give its first content."""

    target: str
    id: str
    """The target as written, unless given."""
    sharing: str = "shared"
    """`shared`, `private` or `locked`."""
    source: str = "/"
    from_: str = ""
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    readonly: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TmpfsMount:
    """An empty file system in memory. `size` in bytes; 0 leaves it to the kernel."""

    target: str
    size: int = 0
    readonly: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretMount:
    """A secret as a file at `target`, in the variable `env`, or both; empty means not so."""

    id: str
    target: str = ""
    env: str = ""
    required: bool = False
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SshMount:
    """An agent's socket; SSH_AUTH_SOCK names it. Without `target` the step picks a place."""

    id: str = "default"
    target: str = ""
    required: bool = False
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


RunMount: TypeAlias = BindMount | CacheMount | TmpfsMount | SecretMount | SshMount

_TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARING = ("shared", "private", "locked")
_ALIASES = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
    "rw": "readwrite",
}
_KEYS = (
    *("type", "from", "source", "target", "readonly", "readwrite", "id", "sharing", "required"),
    *("size", "mode", "uid", "gid", "env"),
)
_SWITCHES = frozenset({"readonly", "readwrite", "required"})
_OWNERSHIP = frozenset({"mode", "uid", "gid"})
_ONLY_FOR = {
    "size": {"tmpfs"},
    "required": {"secret", "ssh"},
    "mode": {"cache", "secret", "ssh"},
    "uid": {"cache", "secret", "ssh"},
    "gid": {"cache", "secret", "ssh"},
    "sharing": {"cache"},
}
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_FIELD = re.compile(r'"((?:[^"]|"")*+)"(?=,|\Z)|([^",]*+)(?=,|\Z)')
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{0,9})?) ?(?:([kmgtp])(?:i?b)?|b)?", re.ASCII | re.IGNORECASE)
_LARGEST_ID = (1 << 32) - 1


def parse_mount(text: str, expand: Callable[[str], str] | None = None) -> RunMount:
    """Read one --mount value; `expand` resolves the variables of each field.

    Raises:
        DockerfileError: a key, type or value that is not one, or keys that do not go together.
    """
    given = _read_fields(text, expand)
    kind = given.get("type", "bind")
    for key in given:
        if key in _ONLY_FOR and kind not in _ONLY_FOR[key]:
            reason = "not allowed" if key in _OWNERSHIP else "unexpected"
            raise DockerfileError(
                f"{key} is {reason} for mount type {kind!r} in --mount={shown(text)}"
            )
    target = given.get("target", "")
    if target and posixpath.normpath(target) in ("/", "//"):
        raise DockerfileError(f"invalid mount target {shown(target)!r} in --mount={shown(text)}")
    match kind:
        case "secret":
            return _secret(given, text)
        case "ssh":
            return _ssh(given, text)
        case "tmpfs":
            size = _bytes(given["size"]) if "size" in given else 0
            return TmpfsMount(target=target, size=size, readonly=_readonly(given, default=False))
        case "cache":
            return CacheMount(
                target=target,
                id=given.get("id") or posixpath.normpath(target),
                sharing=given.get("sharing", "shared"),
                source=given.get("source") or "/",
                from_=given.get("from", ""),
                mode=_mode(given, 0o755),
                uid=_id(given, "uid"),
                gid=_id(given, "gid"),
                readonly=_readonly(given, default=False),
            )
        case _:
            return BindMount(
                target=target,
                source=given.get("source") or "/",
                from_=given.get("from", ""),
                readonly=_readonly(given, default=True),
            )


def mount_source(text: str) -> str:
    """Return what `from` of a --mount value names, empty without one. It needs no variables.

    Raises:
        DockerfileError: not a CSV record, or a variable in `from`.
    """
    source = ""
    for field in _fields(text):
        key, _, value = field.partition("=")
        if key.lower() == "from":
            if "$" in value[:-1]:
                raise DockerfileError(
                    "'from' doesn't support variable expansion, define alias stage instead:"
                    f" --mount={shown(text)}"
                )
            source = value
    return source


def _read_fields(text: str, expand: Callable[[str], str] | None) -> dict[str, str]:
    """Read the fields under their full names; a switch without a value is true."""
    given: dict[str, str] = {}
    for field in _fields(text):
        written, equals, value = field.partition("=")
        key = _ALIASES.get(written.lower(), written.lower())
        if key not in _KEYS:
            near = hint(key, (*_KEYS, *_ALIASES))
            raise DockerfileError(f"unexpected key {shown(written)!r} in {shown(field)!r}{near}")
        if not equals and key not in _SWITCHES:
            raise DockerfileError(f"invalid field {shown(field)!r} must be a key=value pair")
        if not equals:
            value = "true"
        elif expand is not None and key != "from":
            value = expand(value)
        if key in ("type", "sharing"):
            value = _one_of(key, value, _TYPES if key == "type" else _SHARING)
        elif key in _SWITCHES:
            # The last of readonly and readwrite counts.
            is_true = _boolean(written, value)
            key, is_true = ("readonly", not is_true) if key == "readwrite" else (key, is_true)
            value = "true" if is_true else ""
        given[key] = value
    return given


def _fields(text: str) -> list[str]:
    """Split one CSV record (RFC 4180): a field with commas or quotes stands in double quotes."""
    found: list[str] = []
    position = 0
    while match := _FIELD.match(text, position):
        quoted, plain = match.groups()
        found.append(plain if quoted is None else quoted.replace('""', '"'))
        position = match.end() + 1
        if position > len(text):
            break
    if position <= len(text) or not text:
        raise DockerfileError(
            f"--mount={shown(text)} cannot be read: a stray quote, or nothing at all"
        )
    return found


def _one_of(key: str, value: str, known: tuple[str, ...]) -> str:
    if value.lower() not in known:
        what = "mount type" if key == "type" else "sharing value"
        raise DockerfileError(f"unsupported {what} {shown(value)!r}{hint(value.lower(), known)}")
    return value.lower()


def _boolean(key: str, value: str) -> bool:
    if value not in _TRUE | _FALSE:
        raise DockerfileError(f"invalid value for {key}: {shown(value)}")
    return value in _TRUE


def _readonly(given: Mapping[str, str], *, default: bool) -> bool:
    return bool(given["readonly"]) if "readonly" in given else default


def _mode(given: Mapping[str, str], default: int) -> int:
    text = given.get("mode")
    if text is None:
        return default
    if not re.fullmatch("0*[0-7]{1,4}", text):
        raise DockerfileError(f"invalid value {shown(text)} for mode: it is octal, like 0755")
    return int(text, 8)


def _id(given: Mapping[str, str], key: str) -> int:
    text = given.get(key, "0")
    if not re.fullmatch("0*[0-9]{1,10}", text) or int(text[-10:]) > _LARGEST_ID:
        raise DockerfileError(f"invalid value {shown(text)} for {key}: it is a number")
    return int(text[-10:])


def _bytes(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise DockerfileError(f"invalid value for size: {shown(text)}; write it like 64m or 1g")
    number, unit = match.groups()
    return int(float(number) * 1024 ** (" kmgtp".index(unit.lower()) if unit else 0))


def _secret(given: Mapping[str, str], text: str) -> SecretMount:
    if given.get("from"):
        raise DockerfileError(f"secret mount should not have a from: --mount={shown(text)}")
    if given.get("source") and given.get("id"):
        raise DockerfileError(f"both source and id can't be set: --mount={shown(text)}")
    target = given.get("target", "")
    name = given.get("id") or given.get("source") or posixpath.basename(target.rstrip("/"))
    if not name:
        raise DockerfileError(
            f"invalid secret mount. one of id, target required: --mount={shown(text)}"
        )
    in_variable = "env" in given
    return SecretMount(
        id=name,
        target=target or ("" if in_variable else f"/run/secrets/{posixpath.basename(name)}"),
        env=given.get("env") or (name if in_variable else ""),
        required=bool(given.get("required")),
        mode=_mode(given, 0o400),
        uid=_id(given, "uid"),
        gid=_id(given, "gid"),
    )


def _ssh(given: Mapping[str, str], text: str) -> SshMount:
    if given.get("source"):
        raise DockerfileError(f"ssh does not support source: --mount={shown(text)}")
    return SshMount(
        id=given.get("id") or "default",
        target=given.get("target", ""),
        required=bool(given.get("required")),
        mode=_mode(given, 0o600),
        uid=_id(given, "uid"),
        gid=_id(given, "gid"),
    )
