"""Run scenarios with this checkout, earlier commits and other programs; print and write tables.

`growth --help` and `profile --help` tell of the other two commands.
"""

import argparse
import json
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from perf import micro
from perf.bars import draw_bars
from perf.bench import RESULTS, WORK, Bench, circumstances, progress
from perf.contenders import ROOT, THIS, Contender, checkouts, of_checkout, of_texts
from perf.inputs import base_image
from perf.report import Run, ratios, table, wall_ratios
from perf.scenarios import SCENARIOS, SOURCES
from perf.scenarios.source import Place, Source
from perf.traffic import listen
from tests.support.registry import run_registry

_REGRESSION = 3
"""Exit code of a --against that found this checkout slower than allowed."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m perf", description=__doc__)
    made.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)}; all if none")
    made.add_argument("--repeats", type=int, default=5)
    made.add_argument("--base-size", type=int, default=200, metavar="MB")
    made.add_argument("--base", metavar="REFERENCE", help="use this image, over plain http")
    made.add_argument("--files", type=int, default=50_000, help="in the archive of context")
    made.add_argument(
        "--transfer-size",
        type=int,
        default=1024,
        metavar="MB",
        help="of the image of pull, push",
    )
    made.add_argument("--commit", action="append", default=[], help="compare with this revision")
    made.add_argument(
        "--against", metavar="COMMIT", help="compare with it, and fail where this is slower"
    )
    made.add_argument(
        "--threshold",
        type=float,
        default=1.1,
        metavar="RATIO",
        help="of wall times, that --against allows [default: 1.1]",
    )
    made.add_argument("--peer", action="append", default=[], metavar="NAME[@SCENARIO]=COMMAND")
    made.add_argument("--cleanup", action="append", default=[], metavar="NAME=COMMAND")
    made.add_argument("--timeout", type=float, default=900.0, metavar="SECONDS")
    made.add_argument(
        "--work", type=Path, default=WORK, metavar="DIR", help="contexts, state, registry"
    )
    made.add_argument(
        "--results", type=Path, metavar="STEM", help="of .json, .md and .svg [perf/results/TIME]"
    )
    made.add_argument("--micro", action="store_true", help="measure the loops instead")
    return made


def main(arguments: Sequence[str]) -> int:
    chosen = parser().parse_args(arguments)
    if chosen.micro:
        return micro.main(chosen.scenarios)
    if unknown := sorted(set(chosen.scenarios) - set(SCENARIOS)):
        parser().error(f"no scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    try:
        peers = of_texts(chosen.peer, chosen.cleanup)
    except ValueError as error:
        parser().error(str(error))
    work = chosen.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    about = circumstances(work)
    commits = list(dict.fromkeys([*chosen.commit, *filter(None, [chosen.against])]))
    with checkouts(commits, work) as earlier:
        contenders = [of_checkout(THIS, ROOT), *earlier, *peers]
        runs = list(_runs(chosen, work, contenders))
    report = f"{table(runs, reference=THIS)}\n\n{ratios(runs, reference=THIS)}"
    print(report)
    stem = chosen.results or RESULTS / time.strftime("%Y%m%d-%H%M%S")
    _write(stem, about, runs, report)
    if not all(run.usage.exit_code == 0 for run in runs):
        return 1
    return judge(runs, chosen.against, chosen.threshold) if chosen.against else 0


def _runs(chosen: argparse.Namespace, work: Path, contenders: Sequence[Contender]) -> Iterator[Run]:
    """Interleave them, so that a ratio compares runs of the same minute."""
    names = chosen.scenarios or list(SCENARIOS)
    with served(names, chosen, work) as bench:
        for repeat in range(chosen.repeats):
            for scenario in names:
                source = bench.sources.get(scenario) or Source("")
                there = [*contenders, *source.peers]
                # In turns, so that nobody always comes first.
                for contender in there if repeat % 2 == 0 else reversed(there):
                    if source.fills_cache and not contender.names_a_cache(scenario):
                        print(f"{scenario} {contender.name}: no {{cache}}", file=sys.stderr)
                        continue
                    run = bench.run(contender, scenario, repeat)
                    progress(run, work)
                    yield run


@contextmanager
def served(names: Sequence[str], chosen: argparse.Namespace, work: Path) -> Iterator[Bench]:
    """Have the scenarios' contexts, base image and servers ready until the block ends."""
    shutil.rmtree(work / "registry", ignore_errors=True)
    with (
        listen() as listener,
        run_registry(work / "registry", notify=listener.url) as registry,
        ExitStack() as stack,
    ):
        base = chosen.base or base_image(chosen.base_size, work).push(registry, "library/base")
        sources = {}
        for name in names:
            directory = work / "contexts" / name
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
            SCENARIOS[name](directory, base)
            if name in SOURCES:
                size = chosen.transfer_size
                place = Place(directory, work, registry.host, chosen.files, size)
                sources[name] = stack.enter_context(SOURCES[name](place))
        yield Bench(work, registry, listener, chosen.timeout, sources)


def _write(stem: Path, about: dict[str, str], runs: Sequence[Run], report: str) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    document = about | {"runs": [asdict(run) for run in runs]}
    head = ", ".join(about.values())
    Path(f"{stem}.json").write_text(json.dumps(document, indent=1))
    Path(f"{stem}.md").write_text(f"{head}\n\n{report}\n")
    draw_bars(runs, THIS, head, Path(f"{stem}.svg"))
    print(f"Written: {stem}.json, .md and .svg", file=sys.stderr)


def judge(runs: Sequence[Run], commit: str, threshold: float) -> int:
    """Print how each scenario compares with a commit; return 3 if one is slower than allowed."""
    slower = 0
    for scenario in dict.fromkeys(run.scenario for run in runs):
        found = wall_ratios(runs, scenario, THIS, commit)
        ratio = statistics.median(found)
        verdict = "slower than allowed" if ratio > threshold else "ok"
        slower += ratio > threshold
        print(f"{scenario}: {ratio:.2f} of {commit} (allowed {threshold:.2f}): {verdict}")
    return _REGRESSION if slower else 0
