"""Users and groups of an image, read from its etc/passwd and etc/group.

The rules are those of BuildKit's executor/oci/user.go and moby/sys/user, which Docker and runc
share: a numeric spec needs no entry, names do, and the first matching entry wins.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator

from asynckaniko.linux import syscalls
from asynckaniko.records import dataclass

_MOST_BYTES = 1 << 20
_HIGHEST_ID = 2**31 - 1
_HIGHEST_PAIR_ID = 2**32 - 1


class UnknownAccount(LookupError):
    """A user or group that the image does not have; the text is what Docker says."""


@dataclass(frozen=True, slots=True)
class User:
    """A line of passwd."""

    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class Group:
    """A line of group."""

    name: str
    gid: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a process is to run as. `groups` always contains `gid` (CVE-2023-25173)."""

    uid: int
    gid: int
    groups: tuple[int, ...]


class Accounts:
    """The passwd and group files of one root filesystem. A missing file has no entries."""

    def __init__(self, passwd: bytes, group: bytes) -> None:
        self.users = tuple(_parse_users(passwd))
        self.groups = tuple(_parse_groups(group))

    @classmethod
    def read(cls, root: int) -> "Accounts":
        """Read them below the directory descriptor `root`, whatever their paths are links to.

        Raises OSError when one exists and is not a regular file of at most 1 MiB.
        """
        return cls(_read_file(root, "etc/passwd"), _read_file(root, "etc/group"))

    def identify(self, spec: str) -> Identity:
        """Resolve USER: `uid:gid`, `uid`, `name`, `name:group`; empty is root.

        Raises UnknownAccount.
        """
        if (pair := _parse_pair(spec)) is not None:
            uid, gid = pair
            return Identity(uid, gid, (gid,))
        user_part, _, group_part = spec.partition(":")
        user = self._user(user_part)
        if group_part:
            gid = self._group(group_part)
            return Identity(user.uid, gid, (gid,))
        groups = tuple(
            group.gid for group in self.groups if user.name and user.name in group.members
        )
        if user.gid not in groups:
            groups = (user.gid, *groups)
        return Identity(user.uid, user.gid, groups)

    def owner(self, spec: str) -> tuple[int, int]:
        """Resolve --chown: as `identify`, but a lone number is the uid and the gid.

        Raises UnknownAccount.
        """
        user_part, colon, group_part = spec.partition(":")
        if not colon and (number := _number(user_part)) is not None:
            number = _in_range(number, _HIGHEST_PAIR_ID)
            return number, number
        identity = self.identify(spec if group_part else user_part)
        return identity.uid, identity.gid

    def home(self, uid: int) -> str:
        """Return the home directory of the first user with `uid`; `/` without one."""
        return next((user.home for user in self.users if user.uid == uid and user.home), "/")

    def _user(self, spec: str) -> User:
        number = _number(spec or "0")
        for user in self.users:
            if user.uid == number if number is not None else user.name == spec:
                return user
        if number is None:
            raise UnknownAccount(f"unable to find user {spec}: no matching entries in passwd file")
        return User("", _in_range(number, _HIGHEST_ID), 0, "/")

    def _group(self, spec: str) -> int:
        number = _number(spec)
        for group in self.groups:
            if group.gid == number if number is not None else group.name == spec:
                return group.gid
        if number is None:
            raise UnknownAccount(f"unable to find group {spec}: no matching entries in group file")
        return _in_range(number, _HIGHEST_ID)


def lookup_owner(root: int, spec: str) -> tuple[int, int]:
    """Resolve --chown against the root filesystem of the directory descriptor `root`.

    Names are looked up only when there is one in `spec`. Raises UnknownAccount, OSError.
    """
    return look_up_owner(spec, lambda: Accounts.read(root))


def look_up_owner(spec: str, read: Callable[[], Accounts]) -> tuple[int, int]:
    """Resolve --chown against the accounts that `read` returns; it is called for names only.

    Raises UnknownAccount, and what `read` raises.
    """
    numeric = all(_number(part) is not None for part in spec.split(":"))
    return (Accounts(b"", b"") if numeric else read()).owner(spec)


def _parse_pair(spec: str) -> tuple[int, int] | None:
    """Read `uid:gid`, which needs no look-up; `root` counts as a number here, empty is 0:0."""
    if not spec:
        return 0, 0
    user, colon, group = spec.partition(":")
    if not colon:
        return None
    uid, gid = (0 if part == "root" else _number(part) for part in (user, group))
    if uid is None or gid is None:
        return None
    return _in_range(uid, _HIGHEST_PAIR_ID), _in_range(gid, _HIGHEST_PAIR_ID)


def _number(spec: str) -> int | None:
    """Read an id; None for a name, and for digits beyond any integer a program would take."""
    return int(spec) if spec.isascii() and spec.isdigit() and len(spec) < 20 else None


def _in_range(number: int, highest: int) -> int:
    if number > highest:
        raise UnknownAccount(f"uids and gids must be in range 0-{highest}, not {number}")
    return number


def _parse_users(content: bytes) -> Iterator[User]:
    for fields in _lines(content):
        name, _, uid, gid, _, home, _ = (*fields, *[""] * 7)[:7]
        yield User(name, _lenient_number(uid), _lenient_number(gid), home)


def _parse_groups(content: bytes) -> Iterator[Group]:
    for fields in _lines(content):
        name, _, gid, members = (*fields, *[""] * 4)[:4]
        yield Group(name, _lenient_number(gid), tuple(members.split(",")) if members else ())


def _lines(content: bytes) -> Iterator[list[str]]:
    for line in content.decode("utf-8", "surrogateescape").split("\n"):
        if stripped := line.strip():
            yield stripped.split(":")


def _lenient_number(text: str) -> int:
    """Read an id as Docker does: what is no number counts as 0."""
    return int(text) if len(text) <= 10 and text.isascii() and text.isdigit() else 0


def _read_file(root: int, path: str) -> bytes:
    try:
        # O_NONBLOCK: a FIFO in the place of the file must not stop the build.
        descriptor = syscalls.openat2(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", f"/{path}")
        if status.st_size > _MOST_BYTES:
            raise OSError(errno.EFBIG, f"larger than {_MOST_BYTES} bytes", f"/{path}")
        return os.read(descriptor, _MOST_BYTES)
    finally:
        os.close(descriptor)
