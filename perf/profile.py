"""Run one scenario under a sampling profiler; write folded stacks and a flame graph.

py-spy sees Python functions, and puts each process below the one that started it; perf sees C
functions and the kernel's. py-spy is taken where it is there, unless --with says otherwise.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from perf.bench import RESULTS, WORK, progress
from perf.comparison import parser as comparison_parser
from perf.comparison import served
from perf.contenders import ROOT, THIS, Contender, of_checkout
from perf.flamegraph import draw_flames, fold, read_folded
from perf.scenarios import SCENARIOS

_MISSING = {
    "py-spy": "py-spy is missing: make perf installs it (the group perf of pyproject.toml)",
    "perf": "perf is missing: on Debian it is in the package linux-perf",
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m perf profile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("scenario", choices=SCENARIOS)
    made.add_argument("--with", dest="profiler", choices=_MISSING, help="[default: what is there]")
    made.add_argument("--rate", type=int, default=99, metavar="HZ")
    made.add_argument("--work", type=Path, default=WORK, metavar="DIR")
    made.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    made.add_argument("--base-size", type=int, default=200, metavar="MB")
    return made


def find(wanted: str | None) -> tuple[str, str]:
    """Return name and path of the profiler to use.

    Raises:
        FileNotFoundError: it is not there, or none is; says where each comes from.
    """
    beside = Path(sys.executable).parent
    for name in [wanted] if wanted else _MISSING:
        found = shutil.which(name) or shutil.which(name, path=str(beside))
        if found:
            return name, found
    raise FileNotFoundError(
        "; ".join(_MISSING[name] for name in _MISSING if wanted in {None, name})
    )


def main(arguments: Sequence[str]) -> int:
    chosen = parser().parse_args(arguments)
    try:
        name, program = find(chosen.profiler)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    work = chosen.work.absolute()
    for directory in (work, chosen.results):
        directory.mkdir(parents=True, exist_ok=True)
    raw = work / f"profile-{chosen.scenario}.{name}"
    raw.unlink(missing_ok=True)
    flags = ["--base-size", str(chosen.base_size)]
    with served([chosen.scenario], comparison_parser().parse_args(flags), work) as bench:
        watched = _below(_recording(name, program, raw, chosen.rate))
        run = bench.run(watched, chosen.scenario, 0)
    progress(run, work)
    if run.usage.exit_code or not raw.exists():
        return 1
    stacks = fold(_script(program, raw)) if name == "perf" else read_folded(_lines(raw))
    if not stacks:
        print(f"{raw}: no samples", file=sys.stderr)
        return 1
    stem = chosen.results / f"profile-{chosen.scenario}-{name}"
    folded = stem.with_suffix(".folded")
    folded.write_text("".join(f"{stack} {count}\n" for stack, count in sorted(stacks.items())))
    title = f"{chosen.scenario}, {name} at {chosen.rate} Hz"
    draw_flames(stacks, title, stem.with_suffix(".svg"))
    print(f"Written: {folded} and {stem.with_suffix('.svg').name}", file=sys.stderr)
    return 0


def _recording(name: str, program: str, output: Path, rate: int) -> tuple[str, ...]:
    if name == "perf":
        words = f"record --quiet --freq {rate} --call-graph fp --output {output} --"
    else:
        words = f"record --subprocesses --format raw --rate {rate} --output {output} --"
    return (program, *words.split())


def _below(profiler: Sequence[str]) -> Contender:
    plain = of_checkout(THIS, ROOT)
    return replace(
        plain,
        template=(*profiler, *plain.template),
        program=(*profiler, *plain.program),
    )


def _script(program: str, data: Path) -> list[str]:
    command = [program, "script", "--input", str(data)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def _lines(raw: Path) -> list[str]:
    return raw.read_text(errors="replace").splitlines()
