"""What variables an instruction sees: ARG and ENV, across stages.

Dockerfile reference, "Scope" and "Predefined ARGs". Where it and BuildKit's code differ, BuildKit
wins: of an ARG and an ENV with one name the later line counts while building; the image's Env
keeps ENV's value.
"""

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Self

from asynckaniko.dockerfile.expansion import expand, expand_heredoc, expand_words
from asynckaniko.dockerfile.instructions import Arg, Dockerfile, KeyValue
from asynckaniko.errors import DockerfileError, SourceSpan
from asynckaniko.oci.platform import Platform
from asynckaniko.records import dataclass

PROXY_ARGS = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
_PROXY_NAMES = frozenset(PROXY_ARGS) | {name.lower() for name in PROXY_ARGS}


def platform_args(target: Platform, build: Platform, target_stage: str) -> dict[str, str]:
    """List the automatic ARGs in the global scope."""
    values = {}
    for prefix, platform in (("TARGET", target), ("BUILD", build)):
        values[f"{prefix}PLATFORM"] = str(platform)
        values[f"{prefix}OS"] = platform.os
        values[f"{prefix}ARCH"] = platform.architecture
        values[f"{prefix}VARIANT"] = platform.variant
        values[f"{prefix}OSVERSION"] = platform.os_version
    return {**values, "TARGETSTAGE": target_stage}


@dataclass(slots=True)
class GlobalScope:
    """ARGs before the first FROM, and the automatic ones: what FROM lines see."""

    build_args: Mapping[str, str]
    automatic: Mapping[str, str]
    escape: str = "\\"
    values: dict[str, str] = field(default_factory=dict)
    declared: dict[str, str] = field(default_factory=dict)
    """Global ARGs of the file, with a value: a bare `ARG name` in a stage takes them."""

    @classmethod
    def of(
        cls, dockerfile: Dockerfile, *, build_args: Mapping[str, str], automatic: Mapping[str, str]
    ) -> Self:
        """Evaluate the file's global ARGs in order."""
        scope = cls(build_args, automatic, dockerfile.directives.escape)
        for name, value in automatic.items():
            scope.values[name] = build_args.get(name, value)
        for instruction in dockerfile.args:
            for pair in instruction.pairs:
                scope._declare(pair, instruction.span)
        return scope

    def _declare(self, pair: KeyValue, span: SourceSpan) -> None:
        if pair.key in self.build_args:
            value: str | None = self.build_args[pair.key]
        elif pair.value is not None:
            value = self.expand(pair.value, span)
        else:
            value = self.values.get(pair.key)
        if value is not None:
            self.values[pair.key] = value
            self.declared[pair.key] = value

    def expand(self, word: str, span: SourceSpan) -> str:
        """Expand a word of a FROM line or of a global ARG's default."""
        try:
            return expand(word, self.values.get, escape=self.escape)
        except DockerfileError as error:
            raise error.at(span) from None


@dataclass(slots=True)
class StageScope:
    """Variables at one point of a stage. `fork` gives a child stage its inheritance."""

    globals: GlobalScope
    env: dict[str, str]
    """What RUN gets and expansion sees: ENV and ARG, later lines over earlier ones."""
    args: dict[str, str | None] = field(default_factory=dict)
    """ARGs in effect, in order of their first line: what history and cache keys record."""

    @classmethod
    def for_base(cls, globals_: GlobalScope, image_env: Iterable[str]) -> Self:
        """Start a stage on an image whose config holds `image_env`."""
        pairs = (entry.partition("=") for entry in image_env)
        return cls(globals_, {name: value for name, _, value in pairs})

    def fork(self) -> Self:
        return type(self)(self.globals, dict(self.env), dict(self.args))

    def expand(self, word: str) -> str:
        return expand(word, self.env.get, escape=self.globals.escape)

    def expand_words(self, word: str) -> list[str]:
        return expand_words(word, self.env.get, escape=self.globals.escape)

    def expand_heredoc(self, content: str) -> str:
        return expand_heredoc(content, self.env.get)

    def declare(self, instruction: Arg) -> list[str]:
        """Bring an ARG line into effect; return its words as history shows them."""
        shown = []
        for pair in instruction.pairs:
            key = self.expand(pair.key)
            value = self._value(key, pair.value)
            self.args[key] = value
            if value is None:
                shown.append(key)
                continue
            self.env[key] = value
            shown.append(f"{key}={value}")
        return shown

    def _value(self, key: str, default: str | None) -> str | None:
        given = self.globals.build_args.get(key)
        if given is not None:
            return given
        if default is not None:
            return self.expand(default)
        return self.globals.declared.get(key, self.globals.automatic.get(key))

    def set_env(self, key: str, value: str) -> None:
        self.env[key] = value

    def proxies(self) -> dict[str, str]:
        """List proxy settings given as build args, each in both cases; they stay out of history."""
        found: dict[str, str] = {}
        for name, value in self.globals.build_args.items():
            if name in _PROXY_NAMES:
                found.setdefault(name.upper(), value)
                found.setdefault(name.lower(), value)
        found |= {k: v for k, v in self.globals.build_args.items() if k in _PROXY_NAMES}
        return found

    def run_environment(self) -> list[str]:
        """List `NAME=value` for a RUN: proxies first, so that ENV and ARG may override them."""
        return [f"{name}={value}" for name, value in {**self.proxies(), **self.env}.items()]

    def history_args(self) -> list[str]:
        """List `name=value` of the ARGs of the stage, with the values that a RUN sees."""
        return [f"{name}={self.env.get(name, '')}" for name in self.args]
