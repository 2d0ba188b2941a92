"""What a batch has done so far, in a file: it survives interruption, kill -9 and reboots."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from asynckaniko.batch.outcome import Built
from asynckaniko.build.result_files import write_result
from asynckaniko.errors import UsageError
from asynckaniko.records import dataclass

_VERSION = 1


@dataclass(slots=True)
class StateFile:
    """Images that exist, by name. Written whole after each; synchronous."""

    path: Path
    images: dict[str, Built]

    @classmethod
    def open(cls, path: Path, *, resume: bool) -> "StateFile":
        """Start a new file, or go on with one if there is one.

        Raises:
            UsageError: the file to go on with is none of ours.
        """
        if not resume or not path.exists():
            return cls(path, {})
        try:
            document: dict[str, Any] = orjson.loads(path.read_bytes())
            if document["version"] != _VERSION:
                raise UsageError(f"{path}: version {document['version']}, expected {_VERSION}")
            return cls(path, {name: _built(entry) for name, entry in document["images"].items()})
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from error
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path} is no state file of a batch") from error

    def record(self, name: str, built: Built) -> None:
        self.images[name] = built

    def write(self) -> None:
        """Put everything recorded into the file. Raises HostError."""
        images = {name: asdict(built) for name, built in self.images.items()}
        document: Mapping[str, Any] = {"version": _VERSION, "images": images}
        write_result(self.path, orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


def _built(entry: dict[str, Any]) -> Built:
    lists = {name: tuple(entry[name]) for name in ("references", "layouts")}
    return Built(**(entry | lists | {"is_new": False}))
