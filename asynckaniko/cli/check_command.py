"""`asynckaniko check` and `build --check`: lint the Dockerfile, build nothing."""

import base64
import re
from collections.abc import Iterator
from typing import Any

import orjson

from asynckaniko.build.request import BuildRequest
from asynckaniko.build.scope import platform_args
from asynckaniko.cli.labels import count_text, plain_text
from asynckaniko.cli.report import error_report, excerpt
from asynckaniko.context.source import open_context, read_dockerfile
from asynckaniko.dockerfile.instructions import Warning
from asynckaniko.dockerfile.lint import LintReport, Surroundings, check
from asynckaniko.dockerfile.lint_options import RULES
from asynckaniko.dockerfile.patterns import PatternMatcher
from asynckaniko.errors import InvalidInput, SourceSpan
from asynckaniko.oci.platform import Platform
from asynckaniko.settings import Limits

_RULE_PAGES = "https://docs.docker.com/go/dockerfile/rule"
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class CheckedFile:
    """A Dockerfile and what was found in it."""

    def __init__(self, name: str, content: bytes, report: LintReport) -> None:
        self._name = name
        self._content = content
        self._report = report

    @classmethod
    def of(cls, request: BuildRequest, limits: Limits) -> "CheckedFile":
        """Read and check the Dockerfile of a request; all stages, unless it names one.

        Raises:
            ContextError: there is no Dockerfile or context.
        """
        file = read_dockerfile(
            request.dockerfile, context=request.context, limit=limits.dockerfile_size
        )
        context = open_context(request.context, dockerfile=file.path)
        host = Platform.host()
        platform = Platform.parse(request.platform) if request.platform else host
        automatic = platform_args(platform, host, request.target)
        del automatic["TARGETSTAGE"]
        surroundings = Surroundings(
            build_args=request.build_args,
            target=request.target,
            all_stages=not request.target,
            automatic=automatic,
            ignored=PatternMatcher(context.ignore),
        )
        return cls(
            file.name, file.content, check(file.content, name=file.name, surroundings=surroundings)
        )

    @property
    def exit_code(self) -> int:
        """0 if nothing was found."""
        found = self._report.warnings or self._report.error
        return InvalidInput.exit_code if found else 0

    def text(self, *, color: bool) -> str:
        """Write the findings for people, in the form of docker buildx."""
        return "".join(f"{line}\n" for line in self._lines(color=color))

    def json(self) -> str:
        """Write the findings for programs, with the fields of docker buildx."""
        fields: dict[str, Any] = {
            "warnings": [
                {
                    "ruleName": warning.rule,
                    "description": RULES.get(warning.rule, ""),
                    "url": rule_page(warning.rule),
                    "detail": warning.message,
                    "location": _location(warning.span),
                }
                for warning in self._report.warnings
            ],
            "sources": [
                {
                    "filename": self._name,
                    "language": "Dockerfile",
                    "data": base64.b64encode(self._content).decode(),
                }
            ],
        }
        error = self._report.error
        if error:
            fields["buildError"] = {"message": error.message, "location": _location(error.span)}
        return orjson.dumps(fields, option=orjson.OPT_INDENT_2).decode() + "\n"

    def _lines(self, *, color: bool) -> Iterator[str]:
        source = self._content.decode(errors="replace")
        for warning in self._report.warnings:
            yield from _warning_lines(warning, source, color=color)
        error = self._report.error
        if error:
            error.source = error.source or source
            yield from error_report(error, color=color).splitlines()
        elif not self._report.warnings:
            yield "Check complete, no warnings found."
        if self._report.warnings:
            count = len(self._report.warnings)
            have = "has" if count == 1 else "have"
            yield f"Check complete, {count_text(count, 'warning')} {have} been found!"


def _warning_lines(warning: Warning, source: str, *, color: bool) -> Iterator[str]:
    head = "\x1b[1;33mWARNING\x1b[0m" if color else "WARNING"
    yield f"{head}: {warning.rule} - {rule_page(warning.rule)}"
    yield plain_text(warning.message)
    yield from excerpt(warning.span, source, color=color)
    yield ""


def rule_page(rule: str) -> str:
    """Return the address of Docker's page about a rule."""
    return f"{_RULE_PAGES}/{_WORD.sub('-', rule).lower()}/"


def _location(span: SourceSpan | None) -> dict[str, Any] | None:
    if span is None:
        return None
    return {"ranges": [{"start": {"line": span.first}, "end": {"line": span.last}}]}
