"""Lint rules that follow a stage from line to line: variables, WORKDIR, what is set twice.

It knows of a base image what it is told. Nothing is read or fetched.
"""

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace

from asynckaniko.dockerfile.expansion import expand, expand_heredoc, expand_words
from asynckaniko.dockerfile.growth import Growth
from asynckaniko.dockerfile.instructions import (
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    KeyValue,
    Label,
    Run,
    Shell,
    StageInstruction,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from asynckaniko.dockerfile.lint_from import GlobalArgs
from asynckaniko.dockerfile.lint_options import Findings
from asynckaniko.dockerfile.lint_syntax import keyword_of
from asynckaniko.dockerfile.patterns import PatternMatcher
from asynckaniko.dockerfile.run_mounts import parse_mount
from asynckaniko.dockerfile.values import parse_port
from asynckaniko.dockerfile.wording import nearest, shown
from asynckaniko.errors import SourceSpan
from asynckaniko.records import dataclass

_NEVER_IN_ENVIRONMENT = frozenset({"BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"})
_SECRET = re.compile(
    "(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)",
    re.IGNORECASE,
)
_NO_SECRET = re.compile("(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)
_REMOTE = re.compile(r"(?:https?|git|ssh)://|git@")


@dataclass(slots=True)
class StageState:
    """What a stage hands on to stages that are FROM it."""

    env: dict[str, str]
    declared: set[str] = field(default_factory=set)
    """ARGs, with a value or without."""
    has_workdir: bool = False
    shell: tuple[str, ...] = ()
    """Of a SHELL, if there was one."""
    entries: int = 0
    """How many words, values and lines of history there are so far."""

    def fork(self) -> "StageState":
        return replace(self, env=dict(self.env), declared=set(self.declared))


class StageLint:
    """Goes through the instructions of one stage in order."""

    def __init__(
        self,
        state: StageState,
        *,
        arguments: GlobalArgs,
        build_args: Mapping[str, str],
        ignored: PatternMatcher | None,
        findings: Findings,
        growth: Growth,
    ) -> None:
        self.state = state
        self._growth = growth
        self._arguments = arguments
        self._build_args = build_args
        self._ignored = ignored
        self._collected = findings
        self._findings = findings
        self._span: SourceSpan
        self._unset: set[str] = set()
        self._last: dict[type[StageInstruction], SourceSpan] = {}

    def check(self, instruction: StageInstruction) -> None:
        """Check one instruction and take note of what it sets.

        Raises:
            DockerfileError: a word that cannot be expanded, a port or mount that is none, more
                text than any image needs.
        """
        self._count(instruction.original[:1])
        self._findings = self._collected.at(instruction.comments)
        self._span = instruction.span
        match instruction:
            case Arg(pairs=pairs):
                for pair in pairs:
                    self._declare(pair)
            case Env(pairs=pairs):
                self._set(self._pairs(instruction, pairs))
            case Copy() | Add():
                self._check_copy(instruction)
            case Workdir(path=path):
                self._check_workdir(self._word(path))
            case Expose(ports=ports):
                self._check_ports(ports)
            case Cmd() | Entrypoint() | Healthcheck():
                self._check_once(instruction)
            case Shell(argv=argv):
                self.state.shell = argv
            case _:
                self._check_words(instruction)

    def _check_words(self, instruction: StageInstruction) -> None:
        """Check the variables of instructions that have nothing else to be checked."""
        match instruction:
            case Label(pairs=pairs):
                self._pairs(instruction, pairs)
            case Run(mounts=mounts):
                self._count_command()
                for mount in mounts:
                    parse_mount(mount, self._word)
            case User(user=word) | StopSignal(signal=word):
                self._word(word)
            case Volume(paths=paths):
                self._words(paths)
            case _:
                pass

    def _add(self, rule: str, message: str, span: SourceSpan | None = None) -> None:
        self._findings.add(rule, message, span or self._span)

    def _lookup(self, name: str) -> str | None:
        value = self.state.env.get(name)
        if value is None:
            self._unset.add(name)
        return value

    def _word(self, word: str) -> str:
        return self._reporting(lambda: expand(word, self._lookup, escape=self._arguments.escape))

    def _heredoc(self, content: str) -> str:
        return self._reporting(lambda: expand_heredoc(content, self._lookup))

    def _words(self, words: Iterable[str]) -> list[str]:
        return [self._word(word) for word in words]

    def _reporting(self, expanded: Callable[[], str]) -> str:
        self._unset.clear()
        try:
            text = expanded()
            self._count(text)
            return text
        finally:
            for name in sorted(self._unset - self.state.declared - _NEVER_IN_ENVIRONMENT):
                self._report_undefined(name)

    def _report_undefined(self, name: str) -> None:
        if self._findings.is_full:
            return
        near = nearest(name, self.state.env)
        suggestion = f" (did you mean ${near}?)" if near else ""
        self._add("UndefinedVar", f"Usage of undefined variable '${name}'{suggestion}")

    def _declare(self, pair: KeyValue) -> None:
        self._check_secret("ARG", pair.key)
        value = self._build_args.get(pair.key)
        if value is None and pair.value is not None:
            value = self._word(pair.value)
        elif value is None:
            value = self._arguments.values.get(pair.key)
        self.state.declared.add(pair.key)
        if value is not None and pair.key not in _NEVER_IN_ENVIRONMENT:
            self._bind(pair.key, value)

    def _bind(self, key: str, value: str) -> None:
        self.state.env[key] = value
        self._growth.check_variables(len(self.state.env))

    def _count_command(self) -> None:
        """Count what a RUN's line of history repeats: the values of ARGs, and the shell."""
        self._count(*self.state.shell)
        self._count(*(self.state.env.get(name, "") for name in self.state.declared))

    def _count(self, *texts: str, times: int = 1) -> None:
        self.state.entries += len(texts) * times
        self._growth.add(*texts, times=times)

    def _pairs(
        self, instruction: Env | Label, pairs: tuple[KeyValue, ...]
    ) -> list[tuple[str, str]]:
        expanded = [(self._word(pair.key), self._word(pair.value or "")) for pair in pairs]
        keyword = keyword_of(instruction)
        if any(pair.legacy for pair in pairs):
            self._add(
                "LegacyKeyValueFormat",
                f'"{keyword} key=value" should be used instead of legacy "{keyword} key value"'
                " format",
            )
        return expanded

    def _set(self, pairs: list[tuple[str, str]]) -> None:
        for key, value in pairs:
            self._check_secret("ENV", key)
            self._bind(key, value)

    def _check_secret(self, keyword: str, name: str) -> None:
        if _SECRET.search(name) and not _NO_SECRET.search(name):
            self._add(
                "SecretsUsedInArgOrEnv",
                "Do not use ARG or ENV instructions for sensitive data"
                f' ({keyword} "{shown(name)}")',
            )

    def _check_copy(self, instruction: Copy | Add) -> None:
        checksum = (instruction.checksum,) if isinstance(instruction, Add) else ()
        self._words((instruction.chown, instruction.chmod, *checksum))
        sources = self._words(instruction.sources)
        self._word(instruction.destination)
        for heredoc in instruction.heredocs:
            if heredoc.expand:
                self._heredoc(heredoc.content)
        if isinstance(instruction, Copy) and instruction.from_:
            return
        for source in sources:
            if not _REMOTE.match(source) and self._is_ignored(posixpath.normpath(source)):
                self._add(
                    "CopyIgnoredFile",
                    f"Attempting to {type(instruction).__name__} file"
                    f' "{shown(posixpath.normpath(source))}" that is excluded by .dockerignore',
                )

    def _is_ignored(self, source: str) -> bool:
        # With exceptions it takes the files to tell whether something of a directory is left.
        if self._ignored is None or self._ignored.has_exceptions:
            return False
        if source in (".", "/"):
            return self._ignored.excludes_all
        return self._ignored.excludes(source)

    def _check_workdir(self, path: str) -> None:
        if not self.state.has_workdir and not path.startswith("/"):
            self._add(
                "WorkdirRelativePath",
                f'Relative workdir "{shown(path)}" can have unexpected results if the base image'
                " changes",
            )
        self.state.has_workdir = True

    def _check_ports(self, words: Iterable[str]) -> None:
        escape = self._arguments.escape
        for word in words:
            for port in expand_words(word, self.state.env.get, escape=escape):
                exposed = parse_port(port)
                self._count(port, times=exposed.last - exposed.first + 1)
                if exposed.protocol != exposed.protocol.lower():
                    self._add(
                        "ExposeProtoCasing",
                        f"Defined protocol '{port}' in EXPOSE instruction should be lowercase",
                    )
                if exposed.is_mapping:
                    self._add(
                        "ExposeInvalidFormat",
                        "EXPOSE instruction should not define an IP address or host-port mapping,"
                        f" found '{port}'",
                    )

    def _check_once(self, instruction: Cmd | Entrypoint | Healthcheck) -> None:
        kind = type(instruction)
        if kind in self._last:
            keyword = keyword_of(instruction)
            self._add(
                "MultipleInstructionsDisallowed",
                f"Multiple {keyword} instructions should not be used in the same stage because"
                " only the last one will be used",
                self._last[kind],
            )
        self._last[kind] = instruction.span
        if isinstance(instruction, Healthcheck):
            return
        self._count(*self.state.shell)
        if self.state.shell:
            return
        if not instruction.command.is_exec:
            self._add(
                "JSONArgsRecommended",
                f"JSON arguments recommended for {keyword_of(instruction)} to prevent unintended"
                " behavior related to OS signals",
            )
