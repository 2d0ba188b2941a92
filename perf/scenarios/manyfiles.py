"""A tree of 50,000 small files, as a package manager leaves it."""

import random
from pathlib import Path

from perf.inputs import freeze, text

_FILES = 50_000
_FOLDERS = ("lib", "dist", "src", "esm", "internal")
_DOCKERFILE = """\
FROM {base}
WORKDIR /app
COPY node_modules /app/node_modules
CMD ["node"]
"""


def manyfiles(directory: Path, base: str) -> None:
    """Protects: the cost of a file in COPY, and that none is written to disk for nobody."""
    (directory / "Dockerfile").write_text(_DOCKERFILE.format(base=base))
    generator = random.Random(2)
    pool = [text(generator, 16_000) for _ in range(128)]
    written = package = 0
    while written < _FILES:
        place = directory / "node_modules" / f"package-{package:04d}"
        for number in range(min(generator.randrange(20, 100), _FILES - written)):
            folders = (generator.choice(_FOLDERS) for _ in range(generator.randrange(4)))
            folder = place.joinpath(*folders)
            folder.mkdir(parents=True, exist_ok=True)
            size = min(int(generator.expovariate(1 / 2048)) + 20, 15_000)
            start = generator.randrange(16_000 - size)
            head = f"// {generator.getrandbits(64):x}\n"
            (folder / f"f{number:03d}.js").write_text(head + generator.choice(pool)[start:][:size])
            written += 1
        package += 1
    freeze(directory)
