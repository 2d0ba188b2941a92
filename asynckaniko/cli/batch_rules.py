"""Read how much of a batch may happen at once from its flags."""

import os

from asynckaniko.batch.admission import memory_budget
from asynckaniko.batch.quantities import parse_memory
from asynckaniko.batch.schedule import Rules
from asynckaniko.cli.batch_flags import BatchFlags
from asynckaniko.errors import UsageError

_MOST_JOBS = 16


def read_rules(flags: BatchFlags, *, cores: int) -> Rules:
    """Read how much may happen at once. Raises UsageError."""
    if flags.fail_fast and flags.keep_going:
        raise UsageError("--keep-going and --fail-fast exclude each other")
    if flags.jobs is not None and flags.jobs < 1:
        raise UsageError(f"--jobs {flags.jobs}: it must be 1 or more")
    try:
        memory = parse_memory(flags.memory) if flags.memory else memory_budget()
    except ValueError as error:
        raise UsageError(f"--memory: {error}") from error
    return Rules(
        jobs=flags.jobs or min(2 * cores, _MOST_JOBS),
        memory=memory,
        fail_fast=bool(flags.fail_fast) or flags.keep_going is False,
    )


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))
