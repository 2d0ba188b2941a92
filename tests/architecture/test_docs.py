"""Pages that list what the code defines list all of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import asynckaniko
from asynckaniko import errors

ROOT = Path(__file__).parents[2]


def test_every_error_class_stands_under_its_exit_code() -> None:
    documented, code = {}, ""
    for line in (ROOT / "docs/exit-codes.md").read_text().splitlines():
        row = re.fullmatch(r"\| ?([0-9]*|\*n\*) ?\| `(\w+)` \|.*", line)
        if row:
            code = row[1] or code
            documented[row[2]] = code

    classes = {
        name: str(kind.exit_code)
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.AsynckanikoError)
    }
    del classes["AsynckanikoError"]  # the root is never raised
    classes["CommandFailed"] = "*n*"  # its instances have the command's own
    assert documented == classes


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "perf/README.md"]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]

    assert broken == []


def test_every_public_name_stands_in_the_table_of_the_library() -> None:
    page = (ROOT / "docs/library.md").read_text()
    table = "".join(line for line in page.splitlines() if line.startswith("| `"))

    assert sorted(set(asynckaniko.__all__) - set(re.findall(r"`(\w+)`", table))) == []


@pytest.mark.parametrize("page", ["README.md", "docs/library.md"])
def test_python_of_the_documentation_has_sound_types(page: str, tmp_path: Path) -> None:
    program = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL))
    assert "from asynckaniko import" in program
    (tmp_path / "example.py").write_text(program)

    command = [sys.executable, "-m", "mypy", "--strict", str(tmp_path / "example.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout
