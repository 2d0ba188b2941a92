"""Trees to read, from a fixed seed: text-like content that compresses as sources do."""

import random
from pathlib import Path

_DIRECTORIES, _FILES_EACH, _MEAN_SIZE, _LARGEST = 200, 50, 3000, 60_000
_LARGE_SIZE = 100_000_000


def many_small_files(root: Path) -> int:
    """Fill `root`; return how many files it has."""
    source = random.Random(1)
    words = _words(source)
    for number in range(_DIRECTORIES):
        directory = root / f"pkg{number % 20}" / f"mod{number}"
        directory.mkdir(parents=True)
        for name in range(_FILES_EACH):
            size = min(_LARGEST, int(source.expovariate(1 / _MEAN_SIZE)))
            (directory / f"file{name}.js").write_bytes(_text(source, words, size))
    return _DIRECTORIES * _FILES_EACH


def one_large_file(root: Path) -> int:
    """Fill `root`; return the file's size."""
    source = random.Random(2)
    pieces = [_text(source, _words(source), 1_000_000) for _ in range(5)]
    root.mkdir()
    with (root / "large").open("wb") as file:
        for _ in range(_LARGE_SIZE // 1_000_000):
            file.write(source.choice(pieces)[: source.randrange(900_000, 1_000_000)])
        file.truncate(_LARGE_SIZE)
    return _LARGE_SIZE


def sample(size: int) -> bytes:
    """Make bytes of which a third is noise: they compress about as a root file system does.

    No piece comes twice: zstd would find it again, however far back.
    """
    source = random.Random(3)
    words, piece = _words(source), 1 << 16
    out = bytearray()
    for number in range(size // piece):
        noise = number % 3 == 2
        out += source.randbytes(piece) if noise else _text(source, words, piece)
    return bytes(out)


def _words(source: random.Random) -> list[bytes]:
    letters = b"abcdefghijklmnopqrstuvwxyz"
    return [bytes(source.choices(letters, k=source.randint(2, 9))) for _ in range(3000)]


def _text(source: random.Random, words: list[bytes], size: int) -> bytes:
    return b" ".join(source.choices(words, k=size // 6 + 1))[:size]
