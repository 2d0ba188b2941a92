"""The files that a batch leaves for other programs."""

from pathlib import Path

import orjson

from asynckaniko.batch.outcome import Outcome, metadata
from asynckaniko.batch.report import junit
from asynckaniko.build.result_files import write_result
from asynckaniko.cli.batch_flags import BatchFlags


def write_reports(flags: BatchFlags, file: str, outcomes: list[Outcome], seconds: float) -> None:
    """Write the files that were asked for. Raises HostError."""
    if flags.metadata_file:
        text = orjson.dumps(metadata(outcomes), option=orjson.OPT_INDENT_2).decode()
        write_result(Path(flags.metadata_file).absolute(), text)
    if flags.junit_file:
        text = junit(outcomes, suite=file, seconds=seconds)
        write_result(Path(flags.junit_file).absolute(), text)
