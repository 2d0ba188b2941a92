"""Writes parsed Dockerfiles as text again, in one way, for the round trip and for reading."""

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from asynckaniko.dockerfile.heredoc import with_bodies
from asynckaniko.dockerfile.instructions import (
    Add,
    Arg,
    Cmd,
    Command,
    Copy,
    Dockerfile,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Heredoc,
    KeyValue,
    Label,
    Maintainer,
    OnBuild,
    Run,
    Shell,
    StageInstruction,
    StopSignal,
    User,
    Volume,
    Workdir,
)


def print_dockerfile(dockerfile: Dockerfile) -> str:
    escape = dockerfile.directives.escape
    instructions: list[From | StageInstruction] = list(dockerfile.args)
    for stage in dockerfile.stages:
        instructions += [stage.base, *stage.instructions]
    lines = [f"# escape={escape}", *(_Line(escape).of(found) for found in instructions)]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Line:
    escape: str

    def of(self, instruction: From | StageInstruction) -> str:
        match instruction:
            case From(image=image, platform=platform, name_as_written=name):
                end_of_flags = ["--"] if image.startswith("--") else []
                words = ["FROM", *self.flags(platform=platform), *end_of_flags, image]
                return " ".join([*words, "AS", name] if name else words)
            case Run():
                return self.run(instruction)
            case Copy() | Add():
                return self.copy(instruction)
            case Healthcheck():
                return self.healthcheck(instruction)
            case OnBuild(trigger=trigger):
                return f"ONBUILD {trigger}"
            case _:
                return _joined(instruction, [], _arguments(instruction))

    def run(self, run: Run) -> str:
        flags = self.flags(
            mount=run.mounts, network=run.network, security=run.security, device=run.devices
        )
        return with_bodies(_joined(run, flags, _command(run.command)), run.heredocs)

    def copy(self, copy: Copy | Add) -> str:
        flags = self.flags(
            chown=copy.chown, chmod=copy.chmod, link=copy.link or None, exclude=copy.excludes
        )
        if isinstance(copy, Copy):
            flags += self.flags(**{"from": copy.from_}, parents=copy.parents or None)
        else:
            flags += self.flags(
                checksum=copy.checksum, keep_git_dir=copy.keep_git_dir, unpack=copy.unpack
            )
        if not copy.heredocs:
            return _joined(copy, flags, _json((*copy.sources, copy.destination)))
        words = [*copy.sources, *map(_opening, copy.heredocs), copy.destination]
        return with_bodies(_joined(copy, flags, " ".join(words)), copy.heredocs)

    def healthcheck(self, check: Healthcheck) -> str:
        kind, *words = check.test
        if kind == "NONE":
            return "HEALTHCHECK NONE"
        times = {
            "interval": check.interval,
            "timeout": check.timeout,
            "start_period": check.start_period,
            "start_interval": check.start_interval,
        }
        flags = self.flags(**{name: f"{value}ns" for name, value in times.items() if value})
        flags += self.flags(retries=str(check.retries))
        command = words[0] if kind == "CMD-SHELL" else _json(words)
        return " ".join(["HEALTHCHECK", *flags, "CMD", command])

    def flags(self, **given: str | bool | tuple[str, ...] | None) -> list[str]:
        found = []
        for name, value in given.items():
            dashed = f"--{name.replace('_', '-')}"
            if isinstance(value, bool):
                found.append(f"{dashed}={str(value).lower()}")
            elif value:
                values = (value,) if isinstance(value, str) else value
                found += [f'{dashed}="{self.escaped(text)}"' for text in values]
        return found

    def escaped(self, text: str) -> str:
        return "".join(self.escape + c if c in ('"', "'", self.escape) else c for c in text)


def _joined(instruction: StageInstruction, flags: list[str], arguments: str) -> str:
    end_of_flags = ["--"] if arguments.startswith("--") else []
    return " ".join([type(instruction).__name__.upper(), *flags, *end_of_flags, arguments])


def _arguments(instruction: StageInstruction) -> str:
    match instruction:
        case Arg(pairs=pairs) | Env(pairs=pairs) | Label(pairs=pairs):
            return _pairs(pairs)
        case Workdir(path=text) | User(user=text) | StopSignal(signal=text) | Maintainer(name=text):
            return text
        case Volume(paths=words) | Shell(argv=words):
            return _json(words)
        case Expose(ports=words):
            return " ".join(words)
        case Cmd(command=command) | Entrypoint(command=command):
            return _command(command)
        case _:
            raise AssertionError(instruction)


def _opening(heredoc: Heredoc) -> str:
    quote = "" if heredoc.expand else '"'
    descriptor = heredoc.file_descriptor or ""
    return f"{descriptor}<<{'-' if heredoc.chomp else ''}{quote}{heredoc.name}{quote}"


def _command(command: Command) -> str:
    return _json(command.argv) if command.is_exec else command.shell


def _json(words: Iterable[str]) -> str:
    return orjson.dumps(list(words)).decode()


def _pairs(pairs: tuple[KeyValue, ...]) -> str:
    return " ".join(
        pair.key if pair.value is None else f"{pair.key}{' ' if pair.legacy else '='}{pair.value}"
        for pair in pairs
    )
