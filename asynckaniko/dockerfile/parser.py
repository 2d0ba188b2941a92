"""Parse a Dockerfile: bytes to stages of typed instructions.

>>> parse(b"FROM scratch AS base\\nCOPY . /\\n").stages[0].base.name
'base'
"""

import re

from asynckaniko.dockerfile.instructions import (
    Arg,
    Directives,
    Dockerfile,
    From,
    Maintainer,
    OnBuild,
    Stage,
    StageInstruction,
    Warning,
)
from asynckaniko.dockerfile.interpret import interpret
from asynckaniko.dockerfile.lexer import LogicalLine, Source, logical_lines
from asynckaniko.dockerfile.wording import shown
from asynckaniko.errors import DockerfileError, SourceSpan

MOST_STAGES = 1000
_OWN_SYNTAX = re.compile(r"(?:docker\.io/)?docker/dockerfile(?:-upstream)?(?:[:@].*)?")


def parse(content: bytes, *, name: str = "Dockerfile") -> Dockerfile:
    """Parse the content of a Dockerfile; `name` is what errors call it.

    Raises:
        DockerfileError: with the span of the instruction, unless the whole file is to blame.
    """
    dockerfile, error = parse_until_error(content, name=name)
    if error is not None:
        raise error
    return dockerfile


def parse_until_error(
    content: bytes, *, name: str = "Dockerfile"
) -> tuple[Dockerfile, DockerfileError | None]:
    """Parse what comes before the first error, and return the error: lint reports both."""
    reading = _Reading(name)
    try:
        reading.read(content)
    except DockerfileError as error:
        error.source = error.source or reading.text
        return reading.dockerfile(), error
    return reading.dockerfile(), None


def parse_trigger(text: str, span: SourceSpan) -> StageInstruction:
    """Parse an ONBUILD trigger, as stored in an image, for the FROM at `span`.

    Raises:
        DockerfileError: at `span`; not exactly one instruction, or one that cannot be a trigger.
    """
    try:
        return _trigger(text, span)
    except DockerfileError as error:
        raise DockerfileError(f"ONBUILD {shown(text)}: {error.message}", span=span) from None


def _trigger(text: str, span: SourceSpan) -> StageInstruction:
    source = Source(text.encode(errors="surrogateescape"), name=span.file)
    lines = list(logical_lines(source))
    if len(lines) != 1:
        raise DockerfileError("a trigger should be a single instruction")
    # The lines of the trigger's own file are not known any more.
    line = LogicalLine(text=lines[0].text, span=span, heredocs=lines[0].heredocs)
    instruction = interpret(line, source.directives.escape)
    if isinstance(instruction, From | OnBuild | Maintainer):
        keyword = type(instruction).__name__.upper()
        raise DockerfileError(f"{keyword} isn't allowed as an ONBUILD trigger")
    return instruction


class _Reading:
    """What has been read so far."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._directives = Directives()
        self._args: list[Arg] = []
        self._bases: list[From] = []
        self._instructions: list[list[StageInstruction]] = []
        self._warnings: list[Warning] = []
        self.text = ""

    def dockerfile(self) -> Dockerfile:
        stages = zip(self._bases, self._instructions, strict=True)
        return Dockerfile(
            name=self._name,
            text=self.text,
            directives=self._directives,
            args=tuple(self._args),
            stages=tuple(
                Stage(index, base, tuple(instructions))
                for index, (base, instructions) in enumerate(stages)
            ),
            warnings=tuple(self._warnings),
        )

    def read(self, content: bytes) -> None:
        source = Source(content, name=self._name)
        self.text = source.text
        self._directives = source.directives
        if self._directives.syntax and not _OWN_SYNTAX.fullmatch(self._directives.syntax):
            self._warn(
                "UnsupportedSyntax",
                f"no other syntax is available: {shown(self._directives.syntax)!r} is read as"
                " docker/dockerfile",
                source.span(1),
            )
        for line in logical_lines(source):
            if line.empty_continuation:
                where = source.span(line.empty_continuation)
                self._warn("NoEmptyContinuation", "Empty continuation line", where)
            try:
                self._add(interpret(line, self._directives.escape))
            except DockerfileError as error:
                raise error.at(line.span) from None
        if not self._bases and not self._args:
            raise DockerfileError("file with no instructions", span=source.span(1))
        if not self._bases:
            raise DockerfileError(
                "dockerfile contains no stages to build", span=self._args[-1].span
            )

    def _add(self, instruction: From | StageInstruction) -> None:
        match instruction:
            case From():
                if len(self._bases) == MOST_STAGES:
                    raise DockerfileError(f"more than {MOST_STAGES} stages")
                self._bases.append(instruction)
                self._instructions.append([])
            case Arg() if not self._bases:
                self._args.append(instruction)
            case _ if not self._bases:
                raise DockerfileError("no build stage in current context: FROM comes first")
            case _:
                self._instructions[-1].append(instruction)

    def _warn(self, rule: str, message: str, span: SourceSpan) -> None:
        self._warnings.append(Warning(rule, message, span))
