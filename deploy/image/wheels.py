#!/usr/bin/env python3
"""Download the wheels that the executor image is made of: the package's dependencies, all extras.

    wheels.py DIRECTORY

With the pip of the Python that runs this, so with the machine's index, proxy and certificates;
for the Python of Debian 12, whichever this one is. A directory that is up to date is left alone.
"""

import hashlib
import platform
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

PYTHON = "3.11"
"""Debian 12's."""
NEWEST_GLIBC = 36
"""Debian 12's minor version of glibc: wheels for that or an older one work there."""
PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def main() -> int:
    directory = Path(sys.argv[1])
    wanted = requirements()
    stamp = directory / "requirements.sha256"
    digest = hashlib.sha256("\n".join([PYTHON, *wanted]).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return 0
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "-qq", "--dest", str(directory)]
    command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}"]
    command += [f"--platform={tag}" for tag in platforms(platform.machine())]
    subprocess.run([*command, *wanted], check=True)
    stamp.write_text(digest)
    return 0


def requirements() -> list[str]:
    """List the project's dependencies, those of its extras included."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    extras = project.get("optional-dependencies", {})
    return sorted({*project["dependencies"], *(one for extra in extras.values() for one in extra)})


def platforms(machine: str) -> list[str]:
    """List the platform tags of wheels that run on Debian 12, best first (PEP 600)."""
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(NEWEST_GLIBC, 16, -1)]
    return [*tags, f"manylinux2014_{machine}", f"linux_{machine}"]


if __name__ == "__main__":
    sys.exit(main())
