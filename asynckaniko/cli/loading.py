"""Import what a command needs in little time. For programs only: it acts on the whole process."""

import gc
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def loading() -> Iterator[None]:
    """Put imports into this block, before there are threads.

    The garbage collector rests meanwhile, and does not look again at what was imported: modules
    are not garbage. The TLS contexts that aiohttp makes when it is imported are left without
    authorities: reading those takes as long as all else in aiohttp together, twice. Nothing here
    connects with these contexts. If something did, no certificate would be good enough for it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        with _without_authorities():
            yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@contextmanager
def _without_authorities() -> Iterator[None]:
    # The method is that of a base class in C; this hides it for a while.
    kind: Any = ssl.SSLContext
    kind.set_default_verify_paths = _load_none
    try:
        yield
    finally:
        del kind.set_default_verify_paths


def _load_none(_: ssl.SSLContext) -> None:
    return
