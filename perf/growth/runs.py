"""The runs of a series: contexts for all sizes, then size after size, repeat after repeat."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perf.bench import Bench, progress
from perf.contenders import ROOT, THIS, of_checkout
from perf.growth.results import Point
from perf.growth.series import SERIES, Series
from perf.inputs import layered_image
from perf.scenarios.source import Source
from perf.traffic import Listener
from tests.support.registry import run_registry

_MEBIBYTE = 1 << 20
_BASE = "library/base"


@dataclass
class Runs:
    """Measures below `work`; what a run has written is gone before the next."""

    work: Path
    listener: Listener
    timeout_seconds: float
    left_out: list[str] = field(default_factory=list)
    """Sizes for which the disk has no room."""

    def of_series(self, name: str, sizes: Sequence[int], repeats: int) -> Iterator[Point]:
        series = SERIES[name]
        contexts, place = self.work / "contexts" / "growth", self.work / "registry"
        possible = [size for size in sizes if self._has_room(name, series, size)]
        if not possible:
            return
        counts = {series.base_layers(size) for size in possible}
        bases = {count: layered_image(count, _MEBIBYTE) for count in counts}
        _remove(contexts, place)
        try:
            with run_registry(place, notify=self.listener.url) as registry:
                sources = {}
                for size in possible:
                    context = contexts / f"{name}-{size}"
                    context.mkdir(parents=True)
                    series.write(context, f"{registry.host}/{_BASE}:latest", size)
                    sources[f"{name}-{size}"] = Source(str(context), words=series.words)
                bench = Bench(self.work, registry, self.listener, self.timeout_seconds, sources)
                for repeat in range(repeats):
                    for size in possible:
                        # Layers of an earlier run would be found there, or fill the disk.
                        _remove(place / "data")
                        bases[series.base_layers(size)].push(registry, _BASE)
                        run = bench.run(of_checkout(THIS, ROOT), f"{name}-{size}", repeat)
                        progress(run, self.work)
                        yield Point(name, size, repeat, run.usage, run.traffic)
        finally:
            _remove(contexts, place)

    def _has_room(self, name: str, series: Series, size: int) -> bool:
        needed, free = series.disk(size), shutil.disk_usage(self.work).free
        if needed <= free:
            return True
        missing = f"{needed >> 20} MiB below {self.work}, {free >> 20} MiB are free"
        print(f"{name} {size} is left out: it needs {missing}", file=sys.stderr)
        self.left_out.append(f"{name} {size}")
        return False


def _remove(*directories: Path) -> None:
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)
