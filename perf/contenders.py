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
    """A command template; {context} {destination} {repository} {registry} {cache} {state} are
    filled in.
    """

    name: str
    template: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    cleanup: tuple[str, ...] = ()
    """Runs before and after each measurement, outside it; the state directory goes anyway."""
    program: tuple[str, ...] = ()
    """What runs this package, if it is one of its checkouts."""
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """In place of the template, by scenario."""

    def told(self, scenario: str, words: Sequence[str], images: Sequence[str]) -> Self:
        """Return what does a scenario: a checkout is told other words; another program does the
        images one after the other unless it has a command for the scenario.
        """
        if scenario in self.commands:
            return replace(self, template=self.commands[scenario])
        if self.program:
            return replace(self, template=(*self.program, *words)) if words else self
        return replace(self, template=self._each(images)) if images else self

    def names_a_cache(self, scenario: str) -> bool:
        """Say whether the command can use a cache: a checkout is told to, another must say so."""
        words = self.commands.get(scenario, self.template)
        return bool(self.program) or any("{cache}" in word for word in words)

    def _each(self, images: Sequence[str]) -> tuple[str, ...]:
        commands = []
        for image in images:
            one = self.in_place_of("{context}", f"{{context}}/{image}")
            one = one.in_place_of("{destination}", f"{{repository}}-{image}:1")
            commands.append(shlex.join(one.template))
        return ("sh", "-ec", "\n".join(commands))

    def in_place_of(self, placeholder: str, other: str) -> Self:
        words = (word.replace(placeholder, other) for word in self.template)
        return replace(self, template=tuple(words))

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


def of_texts(texts: Sequence[str], cleanups: Sequence[str]) -> list[Contender]:
    """Read `NAME=COMMAND`s, and `NAME@SCENARIO=COMMAND`s that stand in for them in a scenario.

    Raises:
        ValueError: a text is neither, or its program has no command of its own.
    """
    after = dict(_pair(text) for text in cleanups)
    special: dict[str, dict[str, tuple[str, ...]]] = {}
    general: dict[str, tuple[str, ...]] = {}
    for text in texts:
        named, command = _pair(text)
        name, _, scenario = named.partition("@")
        if scenario:
            special.setdefault(name, {})[scenario] = command
        else:
            general[name] = command
    if strange := sorted({*special, *after} - set(general)):
        raise ValueError(f"{', '.join(strange)}: add --peer NAME=COMMAND for the other scenarios")
    return [
        Contender(name, command, cleanup=after.get(name, ()), commands=special.get(name, {}))
        for name, command in general.items()
    ]


def _pair(text: str) -> tuple[str, tuple[str, ...]]:
    name, equals, command = text.partition("=")
    if not (name and equals and command):
        raise ValueError(f"{text}: it must be NAME=COMMAND")
    return name, tuple(shlex.split(command))


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
