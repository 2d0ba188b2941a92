"""COPY of a local context, as a stream and as a finished layer (rootfs.copy_tree)."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from asynckaniko.rootfs.copy_tree import produce
from perf.micro._result import Result, rate, rate_of
from perf.micro._trees import many_small_files

_IGNORE = ("**/node_modules", "**/*.log", "dist", ".git", "docs/**", "!docs/README.md", "*.tmp")


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name, (Path(name) / "out").open("wb") as output:
        context = Path(name) / "context"
        files = many_small_files(context)
        command = ["tar", "-cf", f"{name}/out.tar", "-C", str(context), "."]
        tar = rate_of("tar -cf", files, "files", command)
        cases: Sequence[tuple[str, dict[str, Any]]] = (
            ("as a stream", {"output": "tar"}),
            ("as a stream, .dockerignore", {"output": "tar", "ignore": _IGNORE}),
            ("as a gzip layer", {"output": "layer"}),
            ("as a gzip layer, --chown --chmod", {"owner": [1, 2], "chmod": "u=rwX,go=rX"}),
        )
        for what, more in cases:
            work = partial(_copy, context, output.fileno(), more)
            yield rate(f"{files} small files {what}", files, "files", work).beside(tar)


def _copy(context: Path, output: int, more: dict[str, Any]) -> None:
    os.lseek(output, 0, os.SEEK_SET)
    os.ftruncate(output, 0)
    destination = {"path": "app", "exists": False, "is_directory": False, "missing_parents": []}
    job = {
        "source": {"directory": os.fspath(context)},
        "sources": ["."],
        "destination": {**destination, "trailing_slash": True},
        "keep_owner": False,
        "output": "layer",
        "compression": "gzip",
        **more,
    }
    produce(job, [output])
