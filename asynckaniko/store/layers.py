"""LayerStore: unpacked layers, each a directory that serves as an overlay lower, by diffID."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from asynckaniko.oci.digest import DiffID


@dataclass(frozen=True, slots=True)
class UnpackedLayer:
    """A layer on disk. `directory` is relative to the rootfs side of the state directory."""

    diff_id: DiffID
    directory: str
    implicit: tuple[str, ...] = ()
    """Parent directories the layer did not bring entries for: their metadata is made up."""


class LayerStore:
    """Layers below `rootfs/layers`. Several processes may share it: entries appear by rename."""

    def __init__(self, rootfs: Path) -> None:
        self._rootfs = rootfs

    def find(self, diff_id: DiffID) -> UnpackedLayer | None:
        """Return the layer if it is here, complete."""
        directory = self._directory(diff_id)
        record = self._rootfs / f"{directory}.json"
        if not record.exists() or not (self._rootfs / directory).is_dir():
            return None
        known: dict[str, Any] = orjson.loads(record.read_bytes())
        implicit = tuple(os.fsdecode(bytes.fromhex(path)) for path in known["implicit"])
        return UnpackedLayer(diff_id, directory, implicit)

    def add(self, diff_id: DiffID, unpacked: str, *, implicit: list[str]) -> UnpackedLayer:
        """Take over the complete tree at `unpacked` (relative to rootfs).

        Another process may have been faster: then its tree stays, which holds the same.
        """
        directory = self._directory(diff_id)
        # Names in a layer are bytes, and JSON is not.
        known = {"implicit": [os.fsencode(path).hex() for path in implicit]}
        record = self._rootfs / f"{directory}.json"
        draft = self._rootfs / f"{unpacked}.json"
        draft.write_bytes(orjson.dumps(known))
        try:
            os.rename(self._rootfs / unpacked, self._rootfs / directory)
        except OSError:
            if not (self._rootfs / directory).is_dir():
                raise
        os.rename(draft, record)
        return UnpackedLayer(diff_id, directory, tuple(implicit))

    @staticmethod
    def _directory(diff_id: DiffID) -> str:
        return f"layers/{diff_id.hex}"
