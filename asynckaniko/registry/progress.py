"""How far a transfer is, told not too often."""

import time
from dataclasses import field

from asynckaniko.events import BlobProgress, EventSink
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.records import dataclass

_PAUSE_SECONDS = 0.5


@dataclass(slots=True)
class Progress:
    """Emits BlobProgress for one transfer."""

    verb: str
    blob: Descriptor
    emit: EventSink
    _next: float = field(default_factory=lambda: time.monotonic() + _PAUSE_SECONDS)

    def at(self, transferred: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _PAUSE_SECONDS
            self.emit(BlobProgress(self.verb, self.blob.digest, transferred, self.blob.size))
