"""One measured run of a command, with nothing kept from before, beside a registry on loopback."""

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from perf.contenders import ROOT, Contender
from perf.measure import Usage, measure
from perf.report import Run
from perf.scenarios.source import Source
from perf.traffic import Listener, Traffic
from tests.support.registry import Registry

WORK = ROOT / "perf/work"
RESULTS = ROOT / "perf/results"


@dataclass(frozen=True)
class Bench:
    """What the runs of one session share."""

    work: Path
    """Holds the state directories: its file system is measured too."""
    registry: Registry
    listener: Listener
    timeout_seconds: float
    sources: Mapping[str, Source] = field(default_factory=dict)
    filled: set[tuple[str, str]] = field(default_factory=set)
    """Commands whose cache is filled, with the scenario."""

    def run(self, contender: Contender, scenario: str, repeat: int) -> Run:
        """Run once, with an empty state directory and a new destination."""
        state = self.work / "state"
        source = self.sources.get(scenario) or Source(str(self.work / "contexts" / scenario))
        name = f"{contender.name}-{scenario}-{time.monotonic_ns()}"
        values = self._values(contender, source, name)
        contender = contender.told(scenario, source.words, source.images)
        if source.fills_cache and (failed := self._fill_cache(contender, scenario, source)):
            return Run(scenario, contender.name, repeat, failed, Traffic(0, 0, 0))
        clean(state, contender.cleanup_command(**values))
        self.listener.take()
        mark = self.registry.mark()
        usage = self._measure(contender, scenario, source, values)
        # A notification of a pull names the whole blob, whatever range was asked for.
        answers = [request for request in self.registry.requests(mark) if request.method == "GET"]
        traffic = replace(self.listener.take(), pulled=sum(answer.size for answer in answers))
        clean(state, contender.cleanup_command(**values))
        return Run(scenario, contender.name, repeat, usage, traffic)

    def _fill_cache(self, contender: Contender, scenario: str, source: Source) -> Usage | None:
        """Run once for the cache that all repeats use; return how that failed."""
        if (contender.name, scenario) in self.filled:
            return None
        values = self._values(contender, source, f"{contender.name}-{scenario}-first")
        state = Path(values["state"])
        clean(state, contender.cleanup_command(**values))
        usage = self._measure(contender, scenario, source, values)
        if usage.exit_code:
            return usage
        self.filled.add((contender.name, scenario))
        return None

    def _values(self, contender: Contender, source: Source, name: str) -> dict[str, str]:
        # HEAD~1 is a fine name for a commit, and none for a repository.
        repository = f"{self.registry.host}/perf/{_plain(name)}"
        return {
            "state": str(self.work / "state"),
            "registry": self.registry.host,
            "context": source.context,
            "repository": repository,
            "destination": f"{repository}:1",
            "cache": f"{self.registry.host}/perf/cache-{_plain(contender.name)}",
        }

    def _measure(
        self, contender: Contender, scenario: str, source: Source, values: Mapping[str, str]
    ) -> Usage:
        return measure(
            contender.command(**values),
            directory=self.work,
            environment={**os.environ, **contender.environment, **source.environment},
            log=self.work / f"{_plain(contender.name)}-{scenario}.log",
            timeout_seconds=self.timeout_seconds,
        )


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")


def clean(state: Path, command: Sequence[str]) -> None:
    if command:
        subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    shutil.rmtree(state, ignore_errors=True)
    # What the last run wrote must not be written back at the next one's expense.
    os.sync()


def progress(run: Run, work: Path) -> None:
    """Tell on standard error how a run went."""
    usage = run.usage
    status = "" if usage.exit_code == 0 else f" FAILED {usage.exit_code}: see {work}/*.log"
    figures = f"{usage.wall:.2f}s wall {usage.cpu:.2f}s CPU"
    print(f"{run.scenario} {run.contender} {figures}{status}", file=sys.stderr, flush=True)


def circumstances(work: Path) -> dict[str, str]:
    """Say what a result depends on: commit, time, machine, file system."""
    described = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    found = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(work)]
    return {
        "commit": subprocess.run(described, capture_output=True, text=True).stdout.strip(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "file system": subprocess.run(found, capture_output=True, text=True).stdout.strip(),
    }
