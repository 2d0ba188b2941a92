"""Commands that do the same thing: this checkout, an earlier commit, other programs."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[1]
THIS = "this"


@dataclass(frozen=True)
class Contender:
    """A command template; {context} {destination} {registry} {state} are filled in."""

    name: str
    template: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    cleanup: tuple[str, ...] = ()
    """Runs before and after each measurement, outside it; the state directory goes anyway."""
    program: tuple[str, ...] = ()
    """What runs this package, if it is one of its checkouts."""

    def told(self, words: Sequence[str]) -> Self:
        """Return the same checkout with other words; another program stays as it is."""
        if not self.program or not words:
            return self
        return replace(self, template=(*self.program, *words))

    def command(self, **values: str) -> list[str]:
        return [_fill(word, values) for word in self.template]

    def cleanup_command(self, **values: str) -> list[str]:
        return [_fill(word, values) for word in self.cleanup]


def _fill(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace("{" + name + "}", value)
    return word


def of_checkout(name: str, checkout: Path) -> Contender:
    """Run the package in `checkout` with this interpreter and its libraries."""
    flags = "--state-dir {state} --insecure-registry {registry} --destination {destination}"
    program = (sys.executable, "-m", "asynckaniko")
    template = (*program, "build", "{context}", *flags.split())
    return Contender(name, template, {"PYTHONPATH": str(checkout)}, program=program)


def of_text(text: str, cleanups: Sequence[str]) -> Contender:
    """Read `NAME=COMMAND` and find its cleanup among `NAME=COMMAND`s."""
    name, _, command = text.partition("=")
    cleanup = dict(entry.split("=", 1) for entry in cleanups).get(name, "")
    return Contender(name, tuple(shlex.split(command)), cleanup=tuple(shlex.split(cleanup)))


@contextmanager
def checkouts(revisions: Sequence[str], directory: Path) -> Iterator[list[Contender]]:
    """Check out earlier commits beside this one until the block ends."""
    made: list[Path] = []
    try:
        contenders = []
        for revision in revisions:
            path = directory / f"commit-{revision.replace('/', '-')}-{os.getpid()}"
            _git("worktree", "add", "--detach", str(path), revision)
            made.append(path)
            contenders.append(of_checkout(revision, path))
        yield contenders
    finally:
        for path in made:
            _git("worktree", "remove", "--force", str(path))


def _git(*arguments: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True)
