"""Instructions that only change the image's config. Pure: config and scope in, history text out.

BuildKit's dockerfile2llb/convert.go dispatches these; the history texts are its texts.
"""

import posixpath
from collections.abc import Mapping
from typing import Any, TypeAlias

from asynckaniko.build.scope import StageScope
from asynckaniko.dockerfile.go_text import format_duration, quote
from asynckaniko.dockerfile.instructions import (
    Arg,
    Cmd,
    Command,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    Maintainer,
    OnBuild,
    Shell,
    StopSignal,
    User,
    Volume,
)
from asynckaniko.dockerfile.values import check_signal, parse_ports
from asynckaniko.errors import DockerfileError
from asynckaniko.oci.config import ImageConfig

_LONGEST_PATH = 4095
DEFAULT_SHELL = ("/bin/sh", "-c")

MetadataInstruction: TypeAlias = (
    Arg
    | Cmd
    | Entrypoint
    | Env
    | Expose
    | Healthcheck
    | Label
    | Maintainer
    | OnBuild
    | Shell
    | StopSignal
    | User
    | Volume
)


def shell_of(config: ImageConfig) -> list[str]:
    """Return what a shell-form command is prefixed with."""
    return list(config.runtime.get("Shell") or DEFAULT_SHELL)


def argv_of(command: Command, config: ImageConfig) -> list[str]:
    """Return the argument vector of a command in either form."""
    return list(command.argv) if command.is_exec else [*shell_of(config), command.shell]


def set_env(config: ImageConfig, key: str, value: str) -> None:
    """Set a variable of the image, in its place if it is there already."""
    env = config.env
    entry = f"{key}={value}"
    for position, existing in enumerate(env):
        if existing.partition("=")[0] == key:
            env[position] = entry
            break
    else:
        env.append(entry)
    config.runtime["Env"] = env


def resolve_workdir(config: ImageConfig, path: str) -> str:
    """Join a WORKDIR with the one before it, as an absolute clean path.

    Raises:
        DockerfileError: a path that no kernel takes.
    """
    current = config.runtime.get("WorkingDir") or "/"
    joined = "/" + posixpath.normpath(posixpath.join("/", current, path)).lstrip("/")
    if len(joined) > _LONGEST_PATH:
        raise DockerfileError(f"WORKDIR is longer than {_LONGEST_PATH} characters")
    return joined


def _add_keys(runtime: dict[str, Any], name: str, keys: Mapping[str, Any]) -> None:
    """Add to an object of the config; in place, since there may be thousands of lines that do."""
    found = runtime.get(name) or {}
    found.update(keys)
    runtime[name] = found


class MetadataSteps:
    """Applies metadata instructions to one stage's config and scope."""

    def __init__(self, config: ImageConfig, scope: StageScope) -> None:
        self._config = config
        self._scope = scope
        self._command_is_ours = False
        """CMD was set in this stage: a later ENTRYPOINT leaves it alone."""

    def apply(self, instruction: MetadataInstruction) -> str | None:  # noqa: C901 - one case each
        """Carry out `instruction`; return its history text, or None if it leaves no trace.

        Raises:
            DockerfileError: without a span; the caller knows the line.
        """
        runtime, scope = self._config.runtime, self._scope
        match instruction:
            case Arg():
                return "ARG " + " ".join(scope.declare(instruction))
            case Env(pairs=pairs):
                # All words of one line see the values from before it.
                expanded = [(scope.expand(p.key), scope.expand(p.value or "")) for p in pairs]
                for key, value in expanded:
                    scope.set_env(key, value)
                    set_env(self._config, key, value)
                return "ENV " + " ".join(f"{key}={value}" for key, value in expanded)
            case Label(pairs=pairs):
                expanded = [(scope.expand(p.key), scope.expand(p.value or "")) for p in pairs]
                _add_keys(runtime, "Labels", dict(expanded))
                return "LABEL " + " ".join(f"{key}={value}" for key, value in expanded)
            case User(user=user):
                runtime["User"] = scope.expand(user)
                return f"USER {runtime['User']}"
            case Volume(paths=paths):
                volumes = [scope.expand(path) for path in paths]
                _add_keys(runtime, "Volumes", {path: {} for path in volumes})
                return f"VOLUME [{' '.join(volumes)}]"
            case Expose(ports=words):
                ports = parse_ports([w for word in words for w in scope.expand_words(word)])
                _add_keys(runtime, "ExposedPorts", {port: {} for port in ports})
                return f"EXPOSE [{' '.join(ports)}]"
            case Shell(argv=argv):
                runtime["Shell"] = list(argv)
                return f"SHELL [{' '.join(argv)}]"
            case StopSignal(signal=signal):
                runtime["StopSignal"] = check_signal(scope.expand(signal))
                return f"STOPSIGNAL {runtime['StopSignal']}"
            case OnBuild(trigger=trigger):
                runtime["OnBuild"] = [*(runtime.get("OnBuild") or []), trigger]
                return None
            case Maintainer(name=name):
                self._config.author = name
                return f"MAINTAINER {name}"
            case Cmd() | Entrypoint():
                return self._command(instruction)
            case Healthcheck():
                return self._healthcheck(instruction)

    def _command(self, instruction: Cmd | Entrypoint) -> str:
        runtime = self._config.runtime
        argv = argv_of(instruction.command, self._config)
        if isinstance(instruction, Cmd):
            runtime["Cmd"] = argv
            # Docker's field of old: arguments are not to be quoted again (Windows only).
            runtime["ArgsEscaped"] = True
            self._command_is_ours = True
            return f"CMD {_quoted(argv)}"
        runtime["Entrypoint"] = argv
        if not self._command_is_ours:
            runtime.pop("Cmd", None)
        return f"ENTRYPOINT {_quoted(argv)}"

    def _healthcheck(self, instruction: Healthcheck) -> str:
        test = list(instruction.test)
        times = {
            "Interval": instruction.interval,
            "Timeout": instruction.timeout,
            "StartPeriod": instruction.start_period,
            "StartInterval": instruction.start_interval,
            "Retries": instruction.retries,
        }
        given = {name: value for name, value in times.items() if value}
        self._config.runtime["Healthcheck"] = {"Test": test, **given}
        told = {name: format_duration(value) for name, value in times.items() if name != "Retries"}
        told = {"Test": f"[{' '.join(test)}]", **told, "Retries": str(instruction.retries)}
        return f"HEALTHCHECK {{{' '.join(f'{name}:{value}' for name, value in told.items())}}}"


def _quoted(words: list[str]) -> str:
    """Write a list as Go's %q does."""
    return "[" + " ".join(quote(word) for word in words) + "]"
