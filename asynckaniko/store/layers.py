"""LayerStore: unpacked layers, each a directory that serves as an overlay lower, by diffID."""

import os
from pathlib import Path
from typing import Any

import orjson

from asynckaniko.oci.digest import DiffID
from asynckaniko.records import dataclass
from asynckaniko.store.guard import shared


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
        """Return the layer if it is here, complete; marks it as used."""
        directory = self._directory(diff_id)
        record = self._rootfs / f"{directory}.json"
        try:
            with shared(self._rootfs / "layers"):
                known: dict[str, Any] = orjson.loads(record.read_bytes())
                if not (self._rootfs / directory).is_dir():
                    return None
                os.utime(record)
        except FileNotFoundError:
            return None
        implicit = tuple(os.fsdecode(bytes.fromhex(path)) for path in known["implicit"])
        return UnpackedLayer(diff_id, directory, implicit)

    def add(
        self,
        diff_id: DiffID,
        unpacked: str,
        *,
        implicit: list[str],
        size: int,
        of_step: bool = False,
    ) -> UnpackedLayer:
        """Take over the complete tree at `unpacked` (relative to rootfs); `size` is its files'.

        Another process may have been faster: then its tree stays, which holds the same.
        `of_step` says that a build made the layer, and that it is not a base's.
        """
        directory = self._directory(diff_id)
        # Names in a layer are bytes, and JSON is not.
        known = {
            "implicit": [os.fsencode(path).hex() for path in implicit],
            "size": size,
            "of_step": of_step,
        }
        record = self._rootfs / f"{directory}.json"
        draft = self._rootfs / f"{unpacked}.json"
        draft.write_bytes(orjson.dumps(known))
        with shared(self._rootfs / "layers"):
            try:
                os.rename(self._rootfs / unpacked, self._rootfs / directory)
            except OSError:
                if not (self._rootfs / directory).is_dir():
                    raise
            os.rename(draft, record)
        return UnpackedLayer(diff_id, directory, tuple(implicit))

    def mark_settled(self, directory: str, *, of: str) -> None:
        """Note that `directory` is a copy of the layer at `of`, and used: both go together."""
        (self._rootfs / f"{directory}.json").write_bytes(orjson.dumps({"of": of}))

    @staticmethod
    def _directory(diff_id: DiffID) -> str:
        return f"layers/{diff_id.hex}"
