"""Memory that a process has but will hardly need again."""

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from asynckaniko.linux import syscalls

_MAPPING = re.compile(rb"([0-9a-f]+)-([0-9a-f]+) r-.p [0-9a-f]+ [0-9a-f:]+ [1-9]")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_ANONYMOUS = b"Anonymous:"  # pages that are no longer, or never were, a file's


def forget_files() -> None:
    """Let go of pages of files that are mapped to be read: libraries, mostly what loading took.

    A page that is touched after all comes back from the kernel's cache. Mappings with pages of
    the process's own (relocated, or changed by a debugger) stay. For a process with one thread.
    """
    # Thrift only: where /proc hides the mappings, or they are locked in memory, they stay.
    with suppress(OSError):
        for start, end in _files():
            syscalls.madvise(start, end - start, syscalls.MADV_DONTNEED)


def _files() -> list[tuple[int, int]]:
    found = []
    mapping = None
    with open("/proc/self/smaps", "rb") as lines:
        for line in lines:
            if not line[:1].isupper():
                mapping = _MAPPING.match(line)
            elif mapping and line.startswith(_ANONYMOUS) and line.split()[1] == b"0":
                found.append((int(mapping[1], 16), int(mapping[2], 16)))
    return found


@contextmanager
def growing() -> Iterator[None]:
    """Let the garbage collector rest while a block makes much that stays.

    It would look through all of it again and again. For a process with one thread.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def keep_free(size: int) -> None:
    """Let malloc of glibc keep up to `size` bytes that were freed at the end of a heap.

    By default it gives them back after every large block, and the kernel clears the next one's
    pages anew. Blocks of less than `size` come from the heap then. For a process that soon ends.
    """
    syscalls.mallopt(_M_MMAP_THRESHOLD, size)
    syscalls.mallopt(_M_TRIM_THRESHOLD, size)


def give_back_free() -> None:
    """Give what was freed back to the system, from between what is in use too.

    malloc of glibc keeps it where larger and smaller blocks alternate, more and more of it. Other
    C libraries have no such call, and another malloc.
    """
    syscalls.malloc_trim()
