"""docs/dockerfile.md: every row names its proof, and every proof exists."""

import re
from pathlib import Path

import pytest

from asynckaniko.build.builder import Builder
from asynckaniko.build.request import BuildRequest
from asynckaniko.errors import AsynckanikoError
from tests.conformance.test_behaviour import CASES

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs/dockerfile.md").read_text()
KEYWORDS = (
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL"),
    *("MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
)
ROWS = [
    cells
    for line in PAGE.splitlines()
    if line.startswith("|") and not line.startswith("|---")
    for cells in [[cell.strip() for cell in line.strip("|").split(" | ")]]
    if cells[-1] != "proof |" and cells[-1] != "proof"
]


def proofs(cell: str) -> list[str]:
    return [name.strip() for name in re.findall(r"`+([^`]+)`+", cell)]


@pytest.mark.parametrize("cells", ROWS, ids=lambda cells: cells[0])
def test_row_names_proofs_that_exist(cells: list[str]) -> None:
    names = proofs(cells[-1])
    assert names, "a row without a proof"
    for name in names:
        if name in CASES:
            continue
        path, _, function = name.partition("::")
        file = TESTS / path
        assert file.is_file(), name
        assert not function or f"def {function}(" in file.read_text(), name


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_every_instruction_has_a_row(keyword: str) -> None:
    assert any(re.search(rf"\b{keyword}\b", cells[0]) for cells in ROWS)


async def failure(builder: Builder, directory: Path, line: str) -> AsynckanikoError:
    (directory / "Dockerfile").write_text(f"FROM scratch\n{line}\n")
    with pytest.raises(AsynckanikoError) as caught:
        await builder.build(BuildRequest(context=str(directory)))
    assert caught.value.span is not None
    assert caught.value.span.first == 2
    return caught.value


async def test_privileges_that_no_build_has_are_refused(builder: Builder, tmp_path: Path) -> None:
    error = await failure(builder, tmp_path, "RUN --security=insecure true")

    assert "--security=insecure" in str(error)


async def test_required_devices_are_refused(builder: Builder, tmp_path: Path) -> None:
    error = await failure(builder, tmp_path, "RUN --device=vendor.com/class=x,required true")

    assert "vendor.com/class=x" in str(error)
