"""StageFiles: the stack of directories that a stage sees as its root filesystem.

Base layers come first and are brought in when someone looks; then one directory per step. A step
may leave only a packed layer (nobody was expected to look at its files): it is unpacked when
somebody does after all.
"""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from anyio import Lock

from asynckaniko.build.layers import StepLayer

Stack: TypeAlias = list[str]
"""Directories relative to the rootfs side of the state directory, base first."""


class StageFiles:
    """What is below and in a stage, as overlay lowers."""

    def __init__(
        self,
        base: Callable[[], Awaitable[Stack]],
        *,
        unpack: Callable[[StepLayer, Stack], Awaitable[str]],
        base_is_here: Callable[[], bool],
    ) -> None:
        self._base = base
        self._unpack = unpack
        self._base_is_here = base_is_here
        self._stack: Stack | None = None
        self._pending: list[str | StepLayer] = []
        self._lock = Lock()

    @property
    def is_unseen(self) -> bool:
        """True while nobody has looked at the files and looking would cost a download."""
        return self._stack is None and not self._base_is_here()

    def add(self, directory: str) -> None:
        """Put a step's upper directory on top."""
        self._pending.append(directory)

    def add_packed(self, layer: StepLayer) -> None:
        """Put a step on top that exists only as a layer."""
        self._pending.append(layer)

    async def lowers(self) -> Stack:
        """Return the whole stack; brings in the base and unpacks what is only packed."""
        async with self._lock:
            if self._stack is None:
                self._stack = list(await self._base())
            while self._pending:
                top = self._pending[0]
                if isinstance(top, StepLayer):
                    top = await self._unpack(top, self._stack)
                self._stack.append(top)
                del self._pending[0]
            return list(self._stack)
