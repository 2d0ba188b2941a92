"""Read manifests that tests write down."""

import textwrap
from pathlib import Path
from typing import Any

import pytest

from asynckaniko.batch.expand import Choices, load
from asynckaniko.batch.plan import Batch
from asynckaniko.errors import ManifestError


def read(text: str, *, directory: Path = Path("/nowhere"), **choices: Any) -> Batch:
    """Load a manifest; version and an indentation that suits the test are filled in."""
    text = textwrap.dedent(text)
    whole = text if text.lstrip().startswith("{") else f"version: 1\n{text}"
    return load(whole.encode(), "m.yaml", directory=directory, choices=Choices(**choices))


def problems(text: str, **choices: Any) -> list[str]:
    """Return the lines of the error that loading `text` (the whole file) raises."""
    with pytest.raises(ManifestError) as raised:
        load(
            textwrap.dedent(text).encode(),
            "m.yaml",
            directory=Path("/nowhere"),
            choices=Choices(**choices),
        )
    return str(raised.value).splitlines()
