"""The shape of the package: imports point down, modules stay small, the environment stays out."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "asynckaniko"
ROWS = (
    {"cli"},
    {"batch"},
    {"build"},
    {"cache"},
    {"registry", "store", "rootfs", "context", "isolation"},  # none of these imports another
    {"settings", "events"},
    {"oci", "dockerfile"},
    {"errors", "concurrency", "linux"},
    {"records"},
)
ROW_OF = {name: row for row, names in enumerate(ROWS) for name in names}
FACADE = ("__init__.py", "__main__.py")
"""The top level's own files: they give the package its public names and its command."""
MOST_LINES = 400

MODULES = sorted(PACKAGE.rglob("*.py"))


def in_package(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def row_name(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(module: Path) -> Iterator[str]:
    """Give the dotted name of everything that `module` imports, inside functions too."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}:{node.lineno}: relative import"
            yield node.module or ""
            if node.module == "asynckaniko":
                yield from (f"asynckaniko.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("module", MODULES, ids=in_package)
def test_imports_point_down(module: Path) -> None:
    if in_package(module) in FACADE:
        return
    own = row_name(module)
    assert own in ROW_OF, f"{own} has no row: a new package needs a place in ROWS"

    packages = [name.split(".")[1] for name in imported(module) if name.startswith("asynckaniko.")]
    upward = sorted(
        {name for name in packages if name != own and ROW_OF.get(name, -1) <= ROW_OF[own]}
    )

    assert not upward, f"{in_package(module)} must not import {', '.join(upward)}"


def test_nothing_in_the_package_imports_its_facade() -> None:
    importers = [
        in_package(module)
        for module in MODULES
        if in_package(module) not in FACADE
        and row_name(module) != "cli"
        and "asynckaniko" in set(imported(module))
    ]

    assert importers == []


@pytest.mark.parametrize("module", MODULES, ids=in_package)
def test_module_says_what_it_is_for(module: Path) -> None:
    text = module.read_text()

    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert len(text.splitlines()) <= MOST_LINES, "split it along the seam it already shows"


@pytest.mark.parametrize("module", MODULES, ids=in_package)
def test_environment_is_read_in_cli_only(module: Path) -> None:
    if row_name(module) == "cli":
        return

    reads = [
        node.lineno
        for node in ast.walk(ast.parse(module.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"})
        or (isinstance(node, ast.alias) and node.name in {"environ", "environb", "getenv"})
    ]

    assert reads == []


@pytest.mark.parametrize("module", MODULES, ids=in_package)
def test_classes_write_their_methods_when_called(module: Path) -> None:
    """The standard decorator would cost half a millisecond of each start for each class."""
    if row_name(module) == "records":
        return

    standard = [
        node.lineno
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.ImportFrom)
        and node.module == "dataclasses"
        and any(alias.name == "dataclass" for alias in node.names)
    ]

    assert standard == [] or "order=True" in module.read_text()


def test_all_names_exactly_what_the_package_offers() -> None:
    package = importlib.import_module("asynckaniko")
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    for_type_checkers = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.If)
        for line in node.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }

    assert set(package.__all__) == for_type_checkers
    assert sorted(set(package.__all__)) == sorted(package.__all__)


def test_importing_the_package_imports_nothing_else() -> None:
    assert in_new_process("print(*(name for name in sys.modules if 'asynckaniko.' in name))") == ""


def test_every_name_can_be_imported_first() -> None:
    missing = "print(*(n for n in asynckaniko.__all__ if not hasattr(asynckaniko, n)))"

    assert in_new_process(missing) == ""


UNUSED = {
    "asynckaniko.batch",
    "asynckaniko.cli.batch_flags",
    "asynckaniko.cli.cache_flags",
    "asynckaniko.cli.index_flags",
    "asynckaniko.cli.kaniko_log",
    "asynckaniko.cli.progress_json",
    "asynckaniko.cli.progress_live",
    "asynckaniko.cli.progress_quiet",
    "asynckaniko.cli.timeline_files",
    "asynckaniko.cli.warm_flags",
    "asynckaniko.context.git",
    "asynckaniko.context.git_lfs",
    "asynckaniko.context.git_program",
    "asynckaniko.context.objects",
    "asynckaniko.isolation.doctor",
    "asynckaniko.isolation.server",
    "configparser",
    "difflib",
    "yaml",
}
"""What other commands, displays and contexts need."""


def test_a_build_imports_only_what_it_may_use(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
    words = ["build", str(tmp_path), "--no-push", "--state-dir", str(tmp_path / "state")]
    words += ["--progress", "plain"]
    statement = (
        "from asynckaniko.cli.main import main; "
        f"status = main({words}); print(); print(status, *sys.modules)"
    )

    status, *modules = in_new_process(statement).splitlines()[-1].split()

    assert status == "0"
    assert "asynckaniko.build.builder" in modules
    assert UNUSED.intersection(modules) == set()


def in_new_process(statement: str) -> str:
    program = f"import sys, asynckaniko; {statement}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
