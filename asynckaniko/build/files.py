"""StageFiles: the stack of directories that a stage sees as its root filesystem.

Layers of the base and layers from a cache are brought in when someone looks; a step that ran has
left a directory. A step may also leave only a packed layer, since nobody was expected to look at
its files: it is unpacked when somebody does after all.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from anyio import Lock

from asynckaniko.build.layers import StepLayer
from asynckaniko.build.sources import BaseLayer

Stack: TypeAlias = list[str]
"""Directories relative to the rootfs side of the state directory, base first."""
Entry: TypeAlias = str | StepLayer | BaseLayer


class StageFiles:
    """What is below and in a stage, as overlay lowers."""

    def __init__(
        self,
        parent: "StageFiles | None",
        *,
        fetch: Callable[[Sequence[BaseLayer], Stack], Awaitable[Stack]],
        unpack: Callable[[StepLayer, Stack], Awaitable[str]],
        is_here: Callable[[Sequence[BaseLayer]], bool],
    ) -> None:
        """`fetch` brings in layers on top of a stack, `unpack` gives a packed step its files."""
        self._parent = parent
        self._fetch = fetch
        self._unpack = unpack
        self._is_here = is_here
        self._stack: Stack | None = None
        self._pending: list[Entry] = []
        self._lock = Lock()

    @property
    def is_unseen(self) -> bool:
        """True while nobody has looked at the files and looking would cost a download."""
        if self._stack is not None:
            return False
        if self._parent is not None and self._parent.is_unseen:
            return True
        return not self._is_here([e for e in self._pending if isinstance(e, BaseLayer)])

    def add(self, entry: Entry) -> None:
        """Put a step's directory, a packed step or a layer from elsewhere on top."""
        self._pending.append(entry)

    async def lowers(self) -> Stack:
        """Return the whole stack; brings in and unpacks what is not here yet."""
        async with self._lock:
            if self._stack is None:
                self._stack = await self._parent.lowers() if self._parent else []
            while self._pending:
                await self._settle_next(self._stack)
            return list(self._stack)

    async def _settle_next(self, stack: Stack) -> None:
        first = self._pending[0]
        count = 1
        match first:
            case str():
                stack.append(first)
            case StepLayer():
                stack.append(await self._unpack(first, list(stack)))
            case BaseLayer():
                # All that lie above one another are brought in at the same time.
                layers = _leading_layers(self._pending)
                count = len(layers)
                stack += await self._fetch(layers, list(stack))
        del self._pending[:count]


def _leading_layers(entries: Sequence[Entry]) -> list[BaseLayer]:
    leading: list[BaseLayer] = []
    for entry in entries:
        if not isinstance(entry, BaseLayer):
            break
        leading.append(entry)
    return leading
