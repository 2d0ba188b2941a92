"""StageRun: one stage, from its base through its instructions, step after step."""

import time
from collections.abc import Sequence
from dataclasses import field

from anyio import Event

from asynckaniko.build.context import BuildRun
from asynckaniko.build.files import Stack, StageFiles
from asynckaniko.build.layers import ImageLayer, PackedLayer, StepLayer
from asynckaniko.build.merging import merge
from asynckaniko.build.plain_roots import PlainRoot, begin_root
from asynckaniko.build.plan import PlannedStage
from asynckaniko.build.sources import BaseLayer, FromImage, FromStage
from asynckaniko.build.state import StageState
from asynckaniko.build.steps.copy import copy_files, copy_whole_directory
from asynckaniko.build.steps.metadata import resolve_workdir
from asynckaniko.build.steps.run import prepare_run, run_command
from asynckaniko.build.steps.transfer import expand_transfer
from asynckaniko.build.steps.workdir import make_workdir
from asynckaniko.dockerfile.instructions import Add, Copy, Run, StageInstruction, Workdir
from asynckaniko.errors import AsynckanikoError
from asynckaniko.events import (
    LayerPacked,
    StageFinished,
    StageStarted,
    Step,
    StepFailedEvent,
    StepFinished,
    StepStarted,
)
from asynckaniko.oci.config import History, ImageConfig
from asynckaniko.records import dataclass
from asynckaniko.store.blobs import Ingest

_COMMENT = "asynckaniko"
_PACK = "asynckaniko.rootfs.pack_layer:pack_upper"


@dataclass(slots=True)
class StageRun:
    """A stage being built. Other stages wait for `done`, then read what it left."""

    run: BuildRun
    planned: PlannedStage
    others: "dict[int, StageRun]"
    in_image: bool
    """Its steps are layers of the image. Others are packed only to be cached."""
    done: Event = field(default_factory=Event)
    state: StageState = field(init=False)
    layers: list[ImageLayer] = field(default_factory=list)
    """What its files are made of, base first."""
    image_layers: list[ImageLayer] = field(default_factory=list)
    """What an image of it is made of: `layers`, unless those of its steps are merged."""
    files: StageFiles = field(init=False)
    plain_root: PlainRoot | None = None
    """The directory its commands run in, where nothing can be mounted."""
    root_has_base: Event = field(default_factory=Event)
    """`begin_root` is done, in a stage that has commands to run."""
    _inherited_history: int = 0
    _steps: list[tuple[Step, ImageLayer]] = field(default_factory=list)
    """Its steps' layers that are to be merged into one."""

    @property
    def config(self) -> ImageConfig:
        return self.state.config

    async def build(self) -> None:
        """Build the stage.

        Raises:
            StepFailed, DockerfileError, RegistryError, ...: with the span of the instruction.
        """
        label, instructions = self.planned.stage.label, self.planned.instructions
        await self._start_on_base()
        started = time.monotonic()
        self.run.emit(StageStarted(label))
        for position, instruction in enumerate(instructions):
            text, line = one_line(instruction), instruction.span.first
            step = Step(label, position + 1, len(instructions), text, line)
            await self._step(instruction, step, position)
        if self.plain_root is not None and self.run.workspace.roots is not None:
            await self.run.workspace.roots.leave(self.plain_root)
        if self.run.request.single_snapshot and self.in_image:
            self._merge_steps()
        self.run.emit(StageFinished(label, time.monotonic() - started))
        self.done.set()

    async def _start_on_base(self) -> None:
        base = self.planned.base
        parent = None
        if isinstance(base, FromStage):
            parent = self.others[base.index]
            await parent.done.wait()
            self.layers = list(parent.layers)
            self.image_layers = list(parent.image_layers)
        self.state = StageState.start(self.run, self.planned, parent.state if parent else None)
        self.files = StageFiles(
            parent.files if parent else None,
            fetch=self._fetch,
            unpack=self._unpack,
            is_here=self._are_here,
        )
        self._inherited_history = len(self.config.history)
        if isinstance(base, FromImage):
            self._add_base_layers(base.image.layers)
        elif parent is None:
            await copy_whole_directory(self, base)
        if self._will_look_at_files():
            self.run.tasks.start_soon(self.files.lowers)
        command = self.planned.first_command()
        if command is not None:
            self.run.tasks.start_soon(begin_root, self, command, list(self.layers))

    def _add_base_layers(self, layers: Sequence[BaseLayer]) -> None:
        if self._keeps_blobs and self._will_look_at_files():
            # Both sides would fetch a layer that they do not have.
            for side in self.run.workspace.candidates:
                self.run.base_layers.reserve(layers, side)
        for layer in layers:
            self.layers.append(layer)
            self.files.add(layer)
            self.image_layers.append(layer)
            if self._keeps_blobs:
                # Not earlier: who reads the blobs has to know that they are being stored.
                self.run.exporter.add(layer)

    def _add(self, layer: ImageLayer, step: Step) -> None:
        self.layers.append(layer)
        if isinstance(layer, BaseLayer):
            self.files.add(layer)
        if self.run.request.single_snapshot:
            self._steps.append((step, layer))
        else:
            self._send(layer)

    def _send(self, layer: ImageLayer) -> None:
        self.image_layers.append(layer)
        if self.in_image:
            self.run.exporter.add(layer)

    def _merge_steps(self) -> None:
        """Put one layer in the place of all that steps have made."""
        if not self._steps:
            return
        last, _ = self._steps[-1]
        merged = StepLayer(last)
        layers = [layer for _, layer in self._steps]
        is_on_others = bool(self.image_layers)
        self.run.tasks.start_soon(self._merge, layers, merged, is_on_others)
        self._send(merged)
        self.config.join_history(self._inherited_history)

    async def _merge(
        self, layers: Sequence[ImageLayer], merged: StepLayer, is_on_others: bool
    ) -> None:
        packed, seconds = await merge(self.run, layers, merged, is_on_others=is_on_others)
        self._announce(merged, packed, seconds=seconds)

    @property
    def _keeps_blobs(self) -> bool:
        return self.in_image and self.run.keep_blobs

    async def _fetch(self, layers: Sequence[BaseLayer], below: Stack) -> Stack:
        side = await self.run.workspace.side()
        return await self.run.base_layers.stack(
            layers, side, below=below, keep=self._keeps_blobs, emit=self.run.emit
        )

    def _are_here(self, layers: Sequence[BaseLayer]) -> bool:
        sides = self.run.workspace.candidates
        return any(self.run.base_layers.are_unpacked(layers, side) for side in sides)

    def _will_look_at_files(self) -> bool:
        """Tell, before the first step, that some step will look at the base for certain."""
        return any(
            isinstance(line, Run | Workdir) and position not in self.planned.hits
            for position, line in enumerate(self.planned.instructions)
        )

    async def _step(self, instruction: StageInstruction, step: Step, position: int) -> None:
        emit = self.run.emit
        started = time.monotonic()
        emit(StepStarted(step))
        try:
            if isinstance(instruction, Run | Copy | Add | Workdir):
                await self._file_step(instruction, step, position)
            else:
                trace = self.state.metadata.apply(instruction)
                if trace is not None:
                    self._remember(trace, empty_layer=True)
        except AsynckanikoError as error:
            emit(StepFailedEvent(step, time.monotonic() - started, error.message))
            raise error.at(instruction.span, self.run.dockerfile.text) from error.__cause__
        cached = position in self.planned.hits
        emit(StepFinished(step, time.monotonic() - started, cached=cached))

    async def _file_step(
        self, instruction: Run | Copy | Add | Workdir, step: Step, position: int
    ) -> None:
        hit = self.planned.hits.get(position)
        match instruction:
            case Run():
                prepared = prepare_run(self.state, instruction)
                if hit is None:
                    await run_command(self, prepared, step, position)
                text = prepared.history
            case Copy() | Add():
                transfer = await expand_transfer(self.state, instruction)
                if hit is None:
                    await copy_files(self, transfer, step, position)
                text = transfer.history
            case Workdir(path=path):
                target = resolve_workdir(self.config, self.state.scope.expand(path))
                self.config.runtime["WorkingDir"] = target
                text = f"WORKDIR {target}"
                if target == "/":
                    self._remember(text, empty_layer=True)
                    return
                if hit is None:
                    await make_workdir(self, target, step, position)
        if hit is not None:
            self._add(hit, step)
        self._remember(text)

    def _remember(self, text: str, *, empty_layer: bool = False) -> None:
        created = self.run.timestamps.created
        entry = History(text, created=created, empty_layer=empty_layer, comment=_COMMENT)
        self.config.add_history(entry)

    def files_needed_after(self, position: int) -> bool:
        """Tell whether anything will look at this stage's files after instruction `position`."""
        plan = self.run.plan
        return self.planned.looks_at_files(after=position) or plan.has_readers(self.planned.index)

    def remember_base_directory(self) -> None:
        """Tell in the history of a directory of files that is no image (FROM a named context)."""
        self._remember(f"COPY . / # {self.planned.stage.base.original}")

    def add_upper(self, upper: str, step: Step, position: int) -> None:
        """Put a step's directory on the stack; pack it in the background if anyone wants it."""
        self.files.add(upper)
        layer = StepLayer(step, self.run.cache.key(self.planned, position))
        self._add(layer, step)
        if self.in_image or self.run.cache.wants(self.planned, position):
            self.run.tasks.start_soon(self._pack, upper, layer, position)

    async def _pack(self, upper: str, layer: StepLayer, position: int) -> None:
        run = self.run
        started = time.monotonic()
        ingest = run.step_files.new()
        layer.begin(run.step_files.growing(ingest))
        arguments = {
            "upper": upper,
            "skip": [],
            "clamp": run.timestamps.clamp,
            **run.step_files.job_arguments(),
        }
        try:
            result = await run.resources.inner.work(_PACK, arguments, fds=[ingest.file])
        except AsynckanikoError as error:
            stage = self.planned
            to_blame = stage.instructions[position] if position >= 0 else stage.stage.base
            raise error.at(to_blame.span, run.dockerfile.text) from error.__cause__
        packed = run.step_files.packed(ingest, result)
        ingest.seal()
        self._announce(layer, packed, seconds=time.monotonic() - started)
        run.cache.offer(self.planned, position, packed, upper)

    def add_growing(self, step: Step, ingest: Ingest, position: int) -> StepLayer:
        """Give a step that will exist only as a packed layer its place in the image."""
        layer = StepLayer(step, self.run.cache.key(self.planned, position))
        layer.begin(self.run.step_files.growing(ingest))
        self._add(layer, step)
        return layer

    def add_packed(
        self, layer: StepLayer, packed: PackedLayer, position: int, *, seconds: float
    ) -> None:
        """Put a step on the stack that exists only as a packed layer."""
        self.files.add(layer)
        self._announce(layer, packed, seconds=seconds)
        self.run.cache.offer(self.planned, position, packed)

    def _announce(self, layer: StepLayer, packed: PackedLayer, *, seconds: float) -> None:
        target = packed.descriptor
        sizes = (target.size, packed.uncompressed_size, packed.entries)
        self.run.emit(
            LayerPacked(layer.step, target.digest, packed.diff_id, *sizes, seconds=seconds)
        )
        layer.fill(packed)

    async def _unpack(self, layer: StepLayer, below: Stack) -> str:
        """Give a step that is only a layer its directory, because someone looks after all."""
        packed = await layer.packed()
        side = await self.run.workspace.side()
        (parent,) = await self.run.workspace.directories("packed")
        directory = f"{parent}/diff"
        limits = self.run.resources.settings.limits
        with packed.blob.path.open("rb") as file:
            result = await side.work(
                side.unpack_job,
                {
                    "directory": directory,
                    "media_type": packed.descriptor.media_type,
                    "digest": packed.descriptor.digest,
                    "size": packed.descriptor.size,
                    "diff_id": packed.diff_id,
                    "limits": {"size": limits.layer_size, "entries": limits.layer_entries},
                },
                fds=[file.fileno()],
            )
        return await self.run.base_layers.settle(directory, result["implicit"], below, side)


def one_line(instruction: StageInstruction) -> str:
    """Show an instruction as one line of text."""
    text = " ".join(instruction.original.split())
    return text if len(text) <= 200 else f"{text[:199]}…"
