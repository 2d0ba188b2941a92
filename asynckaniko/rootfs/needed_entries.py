"""Which entries of a context's archive are unpacked: what the Dockerfile can read, once it is told.

Whoever builds must not see a difference. So what is passed over is checked by name, and only plain
cases are decided here. Everything else is `InDoubt`: a link on the way to what is needed, a hard
link to what is not there, a name that comes twice, a needed path that never came. Then the whole
archive is unpacked, from its beginning, with the results and errors that it has.
"""

import json  # noqa: TID251  paths are file names: lone surrogates must survive
import os
from typing import NoReturn

from asynckaniko.errors import ArchiveError
from asynckaniko.rootfs.paths import clean
from asynckaniko.rootfs.tar_member import Kind, Member

_MOST_REMEMBERED = 250_000
"""Names, so that memory is bounded. Of an archive with more, everything is unpacked."""
_MESSAGE_SIZE = 4096
"""PIPE_BUF: what comes in one piece."""
_LONGEST_LINK = 255
_LONGEST_PATH = 1024
_FILE, _DIRECTORY = Kind.FILE, Kind.DIRECTORY


class InDoubt(Exception):
    """Something was passed over that may be needed, or may be an error."""


class NeededEntries:
    """Decides for each entry, in order. All are needed until the pipe `message` says which.

    A message is JSON of `required` and `optional` paths, with all that is below them, and of
    `prefixes` of paths, for wildcards; or null: all is needed.
    """

    def __init__(self, message: int) -> None:
        self._message = message
        self._directories = {b""}
        self._others: set[bytes] = set()
        """All entries by clean path, and the directories that they imply."""
        self._links: list[bytes] = []
        self._required: list[bytes] = []
        self._leading: frozenset[bytes] = frozenset()
        """Needed paths and the directories that lead to them."""
        self._below: tuple[bytes, ...] = ()
        self._prefixes: tuple[bytes, ...] = ()
        self._is_told = False
        self._has_passed = False
        self.is_open = True
        """Whether anything is decided here, or still may be; otherwise all is needed."""

    def listen(self) -> None:
        """Take the message if it is there. Does not block."""
        if self._is_told or not self.is_open:
            return
        try:
            message = json.loads(os.read(self._message, _MESSAGE_SIZE) or b"null")
        except BlockingIOError:
            return
        if message is None:
            self._give_up()
            return
        self._is_told = True
        self._required = [os.fsencode(path) for path in message["required"]]
        paths = [*self._required, *(os.fsencode(path) for path in message["optional"])]
        self._prefixes = tuple(os.fsencode(prefix) for prefix in message["prefixes"])
        self._below = (*(path + b"/" for path in paths), *self._prefixes)
        above = [parent for path in (*paths, *self._prefixes) for parent in _parents(path)]
        self._leading = frozenset((*paths, *above))
        if any(map(self._leads, self._links)):
            self._give_up()

    def passes_over(self, member: Member) -> bool:
        """Tell that an entry, no device, is not to be unpacked. Raises InDoubt."""
        if len(self._others) + len(self._directories) > _MOST_REMEMBERED:
            return self.doubt()
        try:
            path = clean(member.name)
        except ArchiveError:
            return self.doubt()
        parent = path.rpartition(b"/")[0]
        if parent not in self._directories and not self._enter(parent):
            return self.doubt()
        kind = member.kind
        if kind is _DIRECTORY:
            if path in self._others:
                return self.doubt()
            self._directories.add(path)
        elif path in self._others or path in self._directories:
            return self.doubt()
        else:
            self._others.add(path)
        is_needed = not self._is_told or path in self._leading or path.startswith(self._below)
        if kind is not _FILE and kind is not _DIRECTORY and self._is_odd(member, path, is_needed):
            return self.doubt()
        if is_needed:
            return False
        if member.xattrs or len(path) > _LONGEST_PATH:
            return self.doubt()
        self._has_passed = True
        return True

    def finish(self) -> None:
        """Check at the archive's end that what is needed was there. Raises InDoubt.

        Nothing is decided or doubted any more.
        """
        if self._is_told and self.is_open:
            for path in self._required:
                if path not in self._others and path not in self._directories:
                    self.doubt()
        self._give_up()

    def doubt(self) -> bool:
        """Unpack everything from here on. Raises InDoubt if something was passed over."""
        if self._has_passed:
            self._fail()
        self._give_up()
        return False

    def _fail(self) -> NoReturn:
        self._give_up()
        raise InDoubt

    def _give_up(self) -> None:
        self.is_open = False
        self._directories = set()
        self._others = set()
        self._links = []

    def _enter(self, path: bytes) -> bool:
        """Note a directory that an entry is in, and those above it; False if one is none."""
        for parent in (path, *_parents(path)):
            if parent in self._others:
                return False
            self._directories.add(parent)
        return True

    def _is_odd(self, member: Member, path: bytes, is_needed: bool) -> bool:
        """Tell whether a link is one that only unpacking everything does justice to."""
        match member.kind:
            case Kind.SYMLINK:
                if not self._is_told:
                    self._links.append(path)
                return self._leads(path) or not 0 < len(member.link) <= _LONGEST_LINK
            case Kind.HARD_LINK:
                try:
                    target = clean(member.link)
                except ArchiveError:
                    return True
                is_there = target in self._leading or target.startswith(self._below)
                return target not in self._others or (is_needed and self._is_told and not is_there)
        return False

    def _leads(self, path: bytes) -> bool:
        """Tell whether a link at `path` would be followed on the way to what is needed."""
        return path in self._leading or path.startswith(self._prefixes)


def _parents(path: bytes) -> list[bytes]:
    """List the directories above a clean path, the root last."""
    parents = []
    while path:
        path = path.rpartition(b"/")[0]
        parents.append(path)
    return parents
