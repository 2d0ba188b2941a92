"""Play all single faults and many pairs: `python -m tests.fault.registry.soak --pairs 1000`.

A script that fails is printed with its rules; `--only NAME` plays it alone.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import anyio

from tests.fault.registry.scripts import (
    USERS,
    FaultScript,
    Stage,
    When,
    double_faults,
    sign_in,
    single_faults,
)
from tests.support.registry import run_registry


async def play(scripts: Iterable[FaultScript], directory: Path) -> int:
    """Play the scripts one after the other; returns how many failed."""
    failures = total = errors = 0
    with run_registry(directory / "registry", users=USERS) as registry:
        sign_in(registry)
        stage = Stage(registry, directory)
        await stage.prepare()
        for script in scripts:
            verdict = await stage.play(script)
            total += 1
            errors += verdict.error is not None
            if verdict.complaints:
                failures += 1
                print(script.name, *script.rules, *verdict.complaints, sep="\n    ")
    print(f"{total} scripts: {total - errors} ended well, {errors} typed, {failures} failed")
    return failures


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pairs", type=int, default=1000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", default="")
    given = options.parse_args()
    scripts = [*single_faults(*When), *double_faults(given.pairs, seed=given.seed)]
    chosen = [script for script in scripts if given.only in ("", script.name)]
    with tempfile.TemporaryDirectory() as directory:
        failures = anyio.run(play, chosen, Path(directory), backend_options={"use_uvloop": True})
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
