"""A tree of 50,000 small files, as a package manager leaves it."""

from pathlib import Path

from perf.inputs import freeze, packages

_FILES = 50_000
_DOCKERFILE = """\
FROM {base}
WORKDIR /app
COPY node_modules /app/node_modules
CMD ["node"]
"""


def manyfiles(directory: Path, base: str) -> None:
    """Protects: the cost of a file in COPY, and that none is written to disk for nobody."""
    (directory / "Dockerfile").write_text(_DOCKERFILE.format(base=base))
    packages(directory / "node_modules", files=_FILES, seed=2)
    freeze(directory)
