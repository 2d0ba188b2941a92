"""Run scenarios and print the table; `python -m perf --help`."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from perf import micro
from perf.contenders import ROOT, THIS, Contender, checkouts, of_checkout, of_text
from perf.inputs import base_image
from perf.measure import measure
from perf.report import Run, table
from perf.scenarios import SCENARIOS, SOURCES
from perf.scenarios.source import Place, Source
from perf.traffic import Listener, listen
from tests.support.registry import Registry, run_registry

WORK = ROOT / "perf/work"
RESULTS = ROOT / "perf/results"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m perf", description=__doc__)
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)}; all if none")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--base-size", type=int, default=200, metavar="MB")
    parser.add_argument("--base", metavar="REFERENCE", help="use this image, over plain http")
    parser.add_argument("--files", type=int, default=50_000, help="in the archive of context")
    parser.add_argument(
        "--transfer-size",
        type=int,
        default=1024,
        metavar="MB",
        help="of the image of pull and push",
    )
    parser.add_argument("--commit", action="append", default=[], help="compare with this revision")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--cleanup", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--timeout", type=float, default=900.0, metavar="SECONDS")
    parser.add_argument("--micro", action="store_true", help="measure the loops instead")
    chosen = parser.parse_args()
    unknown = set(chosen.scenarios) - set(SCENARIOS)
    if unknown and not chosen.micro:
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    return chosen


@dataclass(frozen=True)
class Bench:
    """What all measurements of one session share."""

    registry: Registry
    listener: Listener
    sources: Mapping[str, Source]
    timeout_seconds: float

    def run(self, contender: Contender, scenario: str, repeat: int) -> Run:
        """Run once with nothing kept from before."""
        state = WORK / "state"
        source = self.sources.get(scenario)
        context = source.context if source else str(WORK / "contexts" / scenario)
        name = f"{contender.name}-{scenario}-{time.monotonic_ns()}".lower()
        values = {
            "state": str(state),
            "registry": self.registry.host,
            "context": context,
            "destination": f"{self.registry.host}/perf/{name}:1",
        }
        contender = contender.told(source.words if source else ())
        clean(state, contender.cleanup_command(**values))
        self.listener.take()
        usage = measure(
            contender.command(**values),
            directory=WORK,
            environment={
                **os.environ,
                **contender.environment,
                **(source.environment if source else {}),
            },
            log=WORK / f"{contender.name}-{scenario}.log",
            timeout_seconds=self.timeout_seconds,
        )
        traffic = self.listener.take()
        clean(state, contender.cleanup_command(**values))
        return Run(scenario, contender.name, repeat, usage, traffic)


def clean(state: Path, command: Sequence[str]) -> None:
    if command:
        subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    shutil.rmtree(state, ignore_errors=True)
    # What the last run wrote must not be written back at the next one's expense.
    os.sync()


def make_contexts(names: Sequence[str], base: str) -> None:
    for name in names:
        directory = WORK / "contexts" / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        SCENARIOS[name](directory, base)


def main() -> int:
    chosen = options()
    if chosen.micro:
        return micro.main(chosen.scenarios)
    WORK.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(WORK / "registry", ignore_errors=True)
    names = chosen.scenarios or list(SCENARIOS)
    runs: list[Run] = []
    with (
        listen() as listener,
        run_registry(WORK / "registry", notify=listener.url) as registry,
        checkouts(chosen.commit, WORK) as earlier,
        ExitStack() as served,
    ):
        base = chosen.base or base_image(chosen.base_size, WORK).push(registry, "library/base")
        make_contexts(names, base)

        def place(name: str) -> Place:
            directory = WORK / "contexts" / name
            size = chosen.transfer_size
            return Place(directory, WORK, registry.host, chosen.files, size)

        sources = {
            name: served.enter_context(SOURCES[name](place(name)))
            for name in names
            if name in SOURCES
        }
        bench = Bench(registry, listener, sources, chosen.timeout)
        peers = [of_text(text, chosen.cleanup) for text in chosen.peer]
        contenders = [of_checkout(THIS, ROOT), *earlier, *peers]
        # Interleaved, so that a ratio compares runs of the same minute.
        for repeat in range(chosen.repeats):
            for scenario in names:
                source = sources.get(scenario)
                for contender in [*contenders, *(source.peers if source else ())]:
                    run = bench.run(contender, scenario, repeat)
                    runs.append(run)
                    print(progress(run), file=sys.stderr, flush=True)
    print(table(runs, reference=THIS))
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    file.write_text(json.dumps([asdict(run) for run in runs], indent=1))
    return 0 if all(run.usage.exit_code == 0 for run in runs) else 1


def progress(run: Run) -> str:
    usage = run.usage
    status = "" if usage.exit_code == 0 else f" FAILED {usage.exit_code}: see perf/work/*.log"
    return f"{run.scenario} {run.contender} {usage.wall:.2f}s wall {usage.cpu:.2f}s CPU{status}"


if __name__ == "__main__":
    sys.exit(main())
