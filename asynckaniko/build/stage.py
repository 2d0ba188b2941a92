"""StageRun: one stage, from its base through its instructions, step after step."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from anyio import Event

from asynckaniko.build.context import BuildRun
from asynckaniko.build.files import Stack, StageFiles
from asynckaniko.build.layers import ImageLayer, PackedLayer, StepLayer
from asynckaniko.build.plan import PlannedStage, touches_files
from asynckaniko.build.scope import StageScope
from asynckaniko.build.sources import BaseLayer, FromImage, FromStage
from asynckaniko.build.steps.copy import copy_files, copy_whole_directory
from asynckaniko.build.steps.metadata import MetadataSteps, resolve_workdir
from asynckaniko.build.steps.run import run_command
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
from asynckaniko.oci.config import DEFAULT_PATH, History, ImageConfig

_COMMENT = "asynckaniko"
_PACK = "asynckaniko.rootfs.pack_layer:pack_upper"
_UNPACK = "asynckaniko.rootfs.apply_layer:unpack_layer"


@dataclass(slots=True)
class StageRun:
    """A stage being built. Other stages wait for `done`, then read what it left."""

    run: BuildRun
    planned: PlannedStage
    others: "dict[int, StageRun]"
    done: Event = field(default_factory=Event)
    config: ImageConfig = field(init=False)
    scope: StageScope = field(init=False)
    layers: list[ImageLayer] = field(default_factory=list)
    files: StageFiles = field(init=False)
    in_image: bool = False
    """Its steps are layers of the image; those of other stages are never packed."""

    async def build(self) -> None:
        """Build the stage.

        Raises:
            StepFailed, DockerfileError, RegistryError, ...: with the span of the instruction.
        """
        label, instructions = self.planned.stage.label, self.planned.instructions
        await self._start_on_base()
        started = time.monotonic()
        self.run.emit(StageStarted(label))
        if self._needs_base_files():
            self.run.tasks.start_soon(self.files.lowers)
        metadata = MetadataSteps(self.config, self.scope)
        for position, instruction in enumerate(instructions):
            step = Step(
                label,
                position + 1,
                len(instructions),
                one_line(instruction),
                instruction.span.first,
            )
            await self._step(instruction, step, position, metadata)
        self.run.emit(StageFinished(label, time.monotonic() - started))
        self.done.set()

    async def _start_on_base(self) -> None:
        base = self.planned.base
        match base:
            case FromStage(index):
                parent = self.others[index]
                await parent.done.wait()
                self.config = parent.config.fork()
                self.scope = parent.scope.fork()
                self.layers = list(parent.layers)
                self.files = self._files(parent.files.lowers, parent.files)
            case FromImage(image):
                self.config = image.config.fork()
                self.config.created = ""
                self.layers = list(image.layers)
                self.files = self._base_files(image.layers)
            case _:
                self.config = ImageConfig.scratch(self.planned.platform)
                self.files = self._base_files(())
        self.config.runtime.pop("OnBuild", None)
        if not any(entry.startswith("PATH=") for entry in self.config.env):
            self.config.runtime["Env"] = [*self.config.env, DEFAULT_PATH]
        if not isinstance(base, FromStage):
            self.scope = StageScope.for_base(self.run.scope, self.config.env)
        if not isinstance(base, FromStage | FromImage):
            await copy_whole_directory(self, base)

    def _files(self, stack: Any, parent: StageFiles) -> StageFiles:
        return StageFiles(stack, unpack=self._unpack, base_is_here=lambda: not parent.is_unseen)

    def _base_files(self, layers: Sequence[BaseLayer]) -> StageFiles:
        keep = self.in_image and self.run.keep_blobs
        if keep and self._needs_base_files():
            self.run.base_layers.reserve(layers)
        if self.in_image:
            for layer in layers:
                self.run.exporter.add(layer)

        async def stack() -> Stack:
            return await self.run.base_layers.stack(layers, keep=keep, emit=self.run.emit)

        return StageFiles(
            stack,
            unpack=self._unpack,
            base_is_here=lambda: self.run.base_layers.are_unpacked(layers),
        )

    def _needs_base_files(self) -> bool:
        """Tell, before the first step, that some step will look at the base for certain."""
        return any(isinstance(line, Run | Workdir) for line in self.planned.instructions)

    async def _step(
        self,
        instruction: StageInstruction,
        step: Step,
        position: int,
        metadata: MetadataSteps,
    ) -> None:
        emit = self.run.emit
        started = time.monotonic()
        emit(StepStarted(step))
        try:
            if isinstance(instruction, Run | Copy | Add | Workdir):
                await self._file_step(instruction, step, position)
            else:
                trace = metadata.apply(instruction)
                if trace is not None:
                    self.config.add_history(self._history(trace, empty_layer=True))
        except AsynckanikoError as error:
            emit(StepFailedEvent(step, time.monotonic() - started, error.message))
            raise error.at(instruction.span, self.run.dockerfile.text) from error.__cause__
        emit(StepFinished(step, time.monotonic() - started))

    async def _file_step(
        self, instruction: Run | Copy | Add | Workdir, step: Step, position: int
    ) -> None:
        match instruction:
            case Run():
                text = await run_command(self, instruction, step)
            case Copy() | Add():
                text = await copy_files(self, instruction, step, position)
            case Workdir(path=path):
                target = resolve_workdir(self.config, self.scope.expand(path))
                self.config.runtime["WorkingDir"] = target
                text = f"WORKDIR {target}"
                if target == "/":
                    self.config.add_history(self._history(text, empty_layer=True))
                    return
                await make_workdir(self, target, step)
        self.config.add_history(self._history(text))

    def _history(self, text: str, *, empty_layer: bool = False) -> History:
        return History(
            text,
            created=self.run.timestamps.created,
            empty_layer=empty_layer,
            comment=_COMMENT,
        )

    def files_needed_after(self, position: int) -> bool:
        """Tell whether anything will look at this stage's files after instruction `position`."""
        later = self.planned.instructions[position + 1 :]
        return any(map(touches_files, later)) or self._has_readers(self.planned.index)

    def _has_readers(self, index: int) -> bool:
        plan = self.run.plan
        return bool(plan.consumers(index)) or any(
            any(map(touches_files, child.instructions)) or self._has_readers(child.index)
            for child in plan.children(index)
        )

    def add_upper(self, upper: str, step: Step) -> None:
        """Put a step's directory on the stack and, for the image, pack it in the background."""
        self.files.add(upper)
        layer = StepLayer(step)
        self.layers.append(layer)
        if self.in_image:
            self.run.exporter.add(layer)
            self.run.tasks.start_soon(self._pack, upper, layer)

    async def _pack(self, upper: str, layer: StepLayer) -> None:
        run = self.run
        started = time.monotonic()
        ingest = run.layer_files.new()
        arguments = {
            "upper": upper,
            "skip": [],
            "clamp": run.timestamps.clamp,
            **run.layer_files.job_arguments(),
        }
        result = await run.resources.work(_PACK, arguments, fds=[ingest.file])
        packed = run.layer_files.packed(ingest, result)
        ingest.seal()
        self.announce(layer, packed, seconds=time.monotonic() - started)
        layer.fill(packed)

    def add_layer(self, layer: StepLayer) -> None:
        """Put a step on the stack that exists only as a packed layer."""
        self.files.add_packed(layer)
        self.layers.append(layer)
        if self.in_image:
            self.run.exporter.add(layer)

    def announce(self, layer: StepLayer, packed: PackedLayer, *, seconds: float) -> None:
        """Tell the watchers of a packed layer."""
        target = packed.descriptor
        sizes = (target.size, packed.uncompressed_size, packed.entries)
        self.run.emit(
            LayerPacked(layer.step, target.digest, packed.diff_id, *sizes, seconds=seconds)
        )

    async def _unpack(self, layer: StepLayer, below: Stack) -> str:
        """Give a step that is only a layer its directory, because someone looks after all."""
        packed = await layer.packed()
        (parent,) = await self.run.workspace.directories("packed")
        directory = f"{parent}/diff"
        limits = self.run.resources.settings.limits
        with packed.blob.path.open("rb") as file:
            result = await self.run.resources.work(
                _UNPACK,
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
        return await self.run.base_layers.settle(directory, result["implicit"], below)


def one_line(instruction: StageInstruction) -> str:
    """Show an instruction as one line of text."""
    text = " ".join(instruction.original.split())
    return text if len(text) <= 200 else f"{text[:199]}…"
