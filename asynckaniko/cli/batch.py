"""`asynckaniko batch`: the images of a manifest, here or on a cluster."""

import hashlib
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from asynckaniko.batch.changes import changed_since
from asynckaniko.batch.expand import Choices, load
from asynckaniko.batch.local import LocalOptions, OpenBuilder, build_batch
from asynckaniko.batch.outcome import Outcome
from asynckaniko.batch.plan import Batch
from asynckaniko.batch.report import exit_code
from asynckaniko.batch.requests import Surroundings as BuildSurroundings
from asynckaniko.batch.schedule import Rules
from asynckaniko.batch.state_file import StateFile
from asynckaniko.cli.batch_flags import BatchFlags
from asynckaniko.cli.batch_progress import BatchProgress
from asynckaniko.cli.batch_reports import write_reports
from asynckaniko.cli.batch_rules import cores, read_rules
from asynckaniko.cli.batch_table import listing, terminal_table, terminal_width
from asynckaniko.cli.batch_timeline import BatchTimeline
from asynckaniko.cli.inputs import given, read_pairs
from asynckaniko.cli.loading import loading
from asynckaniko.cli.options import BuildOptions, resolve
from asynckaniko.cli.report import Interrupted, error_report
from asynckaniko.cli.session import Session
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.errors import UsageError
from asynckaniko.events import EventSink

_MANIFEST_SIZE = 16 << 20


def run(flags: BatchFlags, around: Surroundings) -> int:
    """Do what the words ask for and return the exit status."""
    match flags.words:
        case ("run-index",):
            from asynckaniko.cli.batch_index import run_index

            return run_index(flags, around)
        case ("attach", name, file):
            from asynckaniko.cli.batch_cluster import attach

            return attach(name, _read(file, flags, around), flags, around)
        case (file,):
            return _run_file(file, flags, around)
        case _:
            raise UsageError("give one manifest: asynckaniko batch FILE")


def _run_file(file: str, flags: BatchFlags, around: Surroundings) -> int:
    batch = _read(file, flags, around)
    for warning in batch.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    if flags.print:
        document = orjson.dumps(batch.to_manifest(), option=orjson.OPT_INDENT_2)
        sys.stdout.write(document.decode() + "\n")
        return 0
    if flags.list:
        sys.stdout.write(listing(batch, width=terminal_width()))
        return 0
    if flags.engine == "kubernetes" or flags.render:
        if flags.build.isolation or flags.build.pid:
            raise UsageError(
                "--isolation and --pid are about builds in this process; for Pods set the variable "
                "ASYNCKANIKO_ISOLATION in their definition"
            )
        if flags.build.cache_mount_dir:
            raise UsageError(
                "--cache-mount-dir is about builds in this process; for Pods mount a volume and "
                "set the variable ASYNCKANIKO_CACHE_MOUNT_DIR in their definition"
            )
        from asynckaniko.cli.batch_cluster import run_on_cluster

        return run_on_cluster(batch, flags, around)
    with loading():
        from asynckaniko.build.builder import Builder

    return BatchRun(batch, Path(file), flags, around).run(Builder)


def _read(file: str, flags: BatchFlags, around: Surroundings) -> Batch:
    path = Path(file)
    try:
        with path.open("rb") as opened:
            content = opened.read(_MANIFEST_SIZE + 1)
    except OSError as error:
        raise UsageError(f"manifest {file}: {error.strerror}") from error
    if len(content) > _MANIFEST_SIZE:
        raise UsageError(f"manifest {file}: larger than {_MANIFEST_SIZE} bytes")
    choices = Choices(
        environment=around.environment,
        variables=read_pairs(given(flags.var), flag="--var", form="NAME=VALUE"),
        settings=tuple(given(flags.set)),
        only=tuple(given(flags.only)),
    )
    return load(content, file, directory=path.parent, choices=choices)


class BatchRun:
    """One run of a batch in this process."""

    def __init__(
        self, batch: Batch, manifest: Path, flags: BatchFlags, around: Surroundings
    ) -> None:
        self._batch = batch
        self._manifest = manifest.resolve()
        self._flags = flags
        self._around = around
        self._options: BuildOptions = resolve(flags.build, around)
        self._state = StateFile.open(self._state_path(), resume=bool(flags.resume))
        self._timeline = BatchTimeline(batch.file)
        self._outcomes: list[Outcome] = []
        self._started = time.monotonic()
        self._session = Session(
            self._options.display,
            stdout=sys.stdout,
            stderr=sys.stderr,
            timings=self._options.timings,
            timeline=self._timeline,
        )

    def run(self, open_builder: OpenBuilder) -> int:
        """Build, report, and return the exit status.

        Raises:
            Interrupted: by a signal, after everything was cleaned up; the state file tells what
                is done.
        """
        try:
            status = self._session.run(partial(self._build, open_builder), then=self._tell)
        except Interrupted:
            if self._state.path.exists():
                sys.stderr.write(
                    f"hint: what is done is kept; go on with --resume {self._state.path}\n"
                )
            raise
        return status or exit_code(self._outcomes)

    async def _build(self, open_builder: OpenBuilder, sink: EventSink) -> list[Outcome]:
        flags, batch = self._flags, self._batch
        if flags.changed_since:
            batch = await changed_since(batch, flags.changed_since, manifest=self._manifest)
        # The session's sink takes what displays show, of which events are a part.
        shown: Any = sink
        progress = BatchProgress(shown, self._options.settings.state_dir / "builds")

        def ended(outcome: Outcome) -> None:
            self._timeline.ended(outcome)
            progress.ended(outcome)

        options = LocalOptions(
            settings=self._options.settings,
            around=self._surroundings(),
            rules=self._rules(),
            state=self._state,
            skip_existing=bool(flags.skip_existing),
        )
        return await build_batch(
            batch,
            options,
            open_builder,
            emit=progress.event,
            on_start=progress.started,
            on_end=ended,
        )

    def _surroundings(self) -> BuildSurroundings:
        request = self._options.request
        return BuildSurroundings(
            environment=self._around.environment,
            context_options=request.context_options,
            source_date_epoch=request.source_date_epoch,
            push=not self._flags.no_push,
            check_push=request.check_push,
        )

    def _rules(self) -> Rules:
        return read_rules(self._flags, cores=cores())

    def _state_path(self) -> Path:
        if self._flags.resume:
            return Path(self._flags.resume).absolute()
        mark = hashlib.sha256(str(self._manifest).encode(errors="surrogateescape")).hexdigest()
        name = f"{self._manifest.stem}-{mark[:8]}.json"
        return self._options.settings.state_dir / "batch" / name

    def _tell(self, outcomes: list[Outcome]) -> None:
        self._outcomes = outcomes
        seconds = time.monotonic() - self._started
        mode = self._options.display.mode
        if mode not in {"none", "json"}:
            self._report_failures()
        write_reports(self._flags, self._batch.file, outcomes, seconds)
        if mode in {"quiet", "json"}:
            self._session.print(*(f"{o.name} {o.built.digest}" for o in outcomes if o.built))
        elif mode != "none":
            sys.stdout.write(terminal_table(outcomes, seconds, self._around))

    def _report_failures(self) -> None:
        color = self._options.display.color
        for outcome in self._outcomes:
            if outcome.error is not None:
                report = error_report(outcome.error, color=color, label=f"error: {outcome.name}:")
                sys.stderr.write(f"\n{report}")
        if any(outcome.error is not None for outcome in self._outcomes):
            sys.stderr.write("\n")  # the table follows
