"""The cache key of a step: a digest over its named ingredients (cache.key)."""

import hashlib
from collections.abc import Iterator
from functools import partial

from asynckaniko.cache.key import Ingredients
from perf.micro._result import Result, rate

_FILES, _STEPS = 50_000, 1000


def run() -> Iterator[Result]:
    files = [f"/src/pkg{n % 100}/file{n} 644 0:0 {n:064x}" for n in range(_FILES)]
    plain = "".join(files).encode()
    least = rate("sha256 of the same", _FILES, "files", partial(hashlib.sha256, plain))
    key = rate(f"COPY of {_FILES} files", _FILES, "files", partial(_copy_key, files))
    yield key.beside(least)
    yield rate("keys of RUNs, parent after parent", _STEPS, "keys", _run_keys)


def _copy_key(files: list[str]) -> str:
    return Ingredients.of(parent="0" * 64, instruction="COPY src /src", files=files).key()


def _run_keys() -> None:
    key = "0" * 64
    for number in range(_STEPS):
        environment = ("PATH=/usr/bin:/bin", f"NAME={number}")
        key = Ingredients.of(
            parent=key, instruction=f"RUN make {number}", environment=environment, shell="/bin/sh"
        ).key()
