"""Whole commands to measure. Each scenario is a function whose docstring says what it protects."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

from perf.scenarios.app import app
from perf.scenarios.batch import batch, batch_source
from perf.scenarios.bigblob import bigblob
from perf.scenarios.cached import cached, cached_source
from perf.scenarios.context import bucket, context
from perf.scenarios.manyfiles import manyfiles
from perf.scenarios.manyruns import manyruns
from perf.scenarios.metadata import metadata
from perf.scenarios.multistage import multistage
from perf.scenarios.source import Place, Source
from perf.scenarios.transfer import pull, pull_source, push, push_source

Scenario: TypeAlias = Callable[[Path, str], None]
"""Writes a context with its Dockerfile into a directory, on the base image of that reference."""

SourceOf: TypeAlias = Callable[[Place], AbstractContextManager[Source]]
"""Serves what a scenario works on until the block ends."""

SCENARIOS: dict[str, Scenario] = {
    "app": app,
    "manyfiles": manyfiles,
    "bigblob": bigblob,
    "manyruns": manyruns,
    "multistage": multistage,
    "cached": cached,
    "metadata": metadata,
    "batch": batch,
    "context": context,
    "pull": pull,
    "push": push,
}
SOURCES: dict[str, SourceOf] = {
    "cached": cached_source,
    "batch": batch_source,
    "context": bucket,
    "pull": pull_source,
    "push": push_source,
}
