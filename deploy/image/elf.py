"""Make ELF files independent of the system they lie in: own loader, own libraries, own paths.

A dynamic program finds its libraries by the loader that it names, by the loader's cache and
preload files, and by its DT_RPATH. The last wins over the environment, but only if no library on
the way has a DT_RUNPATH: so every file gets a DT_RPATH.

Standard library, patchelf and binutils.
"""

import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

_NEEDED = re.compile(r"^\s*(\S+)(?: => (/\S+))? \(0x", re.MULTILINE)


def is_elf(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def libraries(files: Iterable[Path]) -> dict[str, Path]:
    """Find all libraries that `files` need, directly or not, by name; the loader is one of them."""
    found: dict[str, Path] = {}
    for file in files:
        said = subprocess.run(["ldd", file], capture_output=True, text=True).stdout
        if "not found" in said:
            raise SystemExit(f"{file}: a library is missing:\n{said}")
        for name, path in _NEEDED.findall(said):
            if path or name.startswith("/"):
                found.setdefault(Path(name).name, Path(path or name))
    return found


def strip(path: Path) -> None:
    # Before patchelf: strip does not understand what that leaves.
    subprocess.run(["strip", "--strip-unneeded", path], check=True)


def settle(path: Path, *, library_directory: str, loader: str) -> None:
    """Let `path` look for libraries beside itself, where it says so, and in one directory."""
    own = _patchelf("--print-rpath", path)
    places = [place for place in own.split(":") if place.startswith("$ORIGIN")]
    _patchelf("--force-rpath", "--set-rpath", ":".join([*places, library_directory]), path)
    if _has_interpreter(path):
        _patchelf("--set-interpreter", loader, path)


def replace_strings(path: Path, replacements: Mapping[str, str]) -> None:
    """Replace paths that are compiled in; the new one must be as long as the old."""
    content = path.read_bytes()
    for old, new in replacements.items():
        if len(old) != len(new):
            raise SystemExit(f"{old} and {new} differ in length")
        if old.encode() not in content:
            raise SystemExit(f"{path} does not contain {old}: look where it has gone")
        content = content.replace(old.encode(), new.encode())
    path.write_bytes(content)


def _has_interpreter(path: Path) -> bool:
    headers = subprocess.run(
        ["readelf", "--program-headers", "--wide", path], capture_output=True, text=True, check=True
    ).stdout
    return " INTERP " in headers


def _patchelf(*words: str | Path) -> str:
    done = subprocess.run(["patchelf", *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()
