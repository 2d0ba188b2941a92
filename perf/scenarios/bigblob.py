"""A gibibyte in three files, half of which does not compress."""

import random
from pathlib import Path

from perf.inputs import freeze, text

_MEBIBYTE = 1 << 20
_SIZES = (400, 312, 312)
_DOCKERFILE = """\
FROM {base}
COPY blob0.bin blob1.bin blob2.bin /data/
CMD ["sh"]
"""


def bigblob(directory: Path, base: str) -> None:
    """Protects: throughput of hashing and compression, and memory that does not grow with size."""
    (directory / "Dockerfile").write_text(_DOCKERFILE.format(base=base))
    generator = random.Random(3)
    for number, size in enumerate(_SIZES):
        with (directory / f"blob{number}.bin").open("wb") as file:
            for piece in range(size):
                noise = piece % 2 == 1
                file.write(
                    generator.randbytes(_MEBIBYTE)
                    if noise
                    else text(generator, _MEBIBYTE // 16).encode() * 16
                )
    freeze(directory)
