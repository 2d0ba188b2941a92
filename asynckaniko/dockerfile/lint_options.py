"""Lint rules by BuildKit's names, which of them are wanted, and what they found."""

import re
from collections.abc import Iterable
from dataclasses import field, replace
from typing import Self

from asynckaniko.dockerfile.instructions import Warning
from asynckaniko.dockerfile.wording import hint, shown
from asynckaniko.errors import DockerfileError, SourceSpan
from asynckaniko.records import dataclass

RULES = {
    "StageNameCasing": "Stage names should be lowercase",
    "FromAsCasing": "The 'as' keyword should match the case of the 'from' keyword",
    "NoEmptyContinuation": "Empty continuation lines may become errors",
    "ConsistentInstructionCasing": "All keywords of a file should be in one case, upper or lower",
    "DuplicateStageName": "Stage names should be unique",
    "ReservedStageName": "Reserved words should not be used as stage names",
    "JSONArgsRecommended": "ENTRYPOINT and CMD in JSON form let signals reach the program",
    "MaintainerDeprecated": "MAINTAINER is deprecated; a label tells an image's author",
    "UndefinedArgInFrom": "FROM should use declared ARGs only",
    "WorkdirRelativePath": "A relative WORKDIR depends on the base image's",
    "UndefinedVar": "Variables should be defined before they are used",
    "MultipleInstructionsDisallowed": "Of several CMD, ENTRYPOINT or HEALTHCHECK the last counts",
    "LegacyKeyValueFormat": "key=value should be used, not the legacy form with a blank",
    "InvalidBaseImagePlatform": "The base image should be for the target platform",
    "RedundantTargetPlatform": "$TARGETPLATFORM is what FROM takes anyway",
    "SecretsUsedInArgOrEnv": "Secrets should not be in ARG or ENV",
    "InvalidDefaultArgInFrom": "The default of a global ARG should give a valid image name",
    "FromPlatformFlagConstDisallowed": "FROM --platform should not be a constant",
    "CopyIgnoredFile": "COPY and ADD should not name what .dockerignore excludes",
    "InvalidDefinitionDescription": "A comment above ARG or FROM should begin with its name",
    "ExposeProtoCasing": "The protocol in EXPOSE should be lowercase",
    "ExposeInvalidFormat": "EXPOSE should name neither an address nor a port of the host",
    "UnsupportedSyntax": "Only docker/dockerfile can be read",
}
_EXPERIMENTAL = frozenset({"InvalidDefinitionDescription"})
_CHECK_COMMENT = re.compile(r"check\s*=\s*(\S+)(?:\s.*)?", re.ASCII | re.IGNORECASE)
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_MOST_WARNINGS = 1000
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


@dataclass(frozen=True, slots=True)
class LintOptions:
    """What `# check=skip=A,B;error=true;experimental=C` says. `all` stands for every rule."""

    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    error: bool = False
    """Findings fail the build."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the value of the directive.

        Raises:
            DockerfileError: an option there is not.
        """
        options = cls()
        for part in text.strip().split(";", maxsplit=2) if text.strip() else []:
            key, equals, value = part.partition("=")
            key, value = key.strip(), value.strip()
            names = frozenset(name.strip() for name in value.split(","))
            match key if equals else "":
                case "skip":
                    options = replace(options, skip=names)
                case "experimental":
                    options = replace(options, experimental=names)
                case "error" if value in _TRUE | _FALSE:
                    options = replace(options, error=value in _TRUE)
                case _:
                    near = hint(key, ("skip", "experimental", "error"))
                    raise DockerfileError(f"invalid check option {shown(part)!r}{near}")
        return options

    def with_comments(self, comments: Iterable[str]) -> Self:
        """Add what a `# check=` comment above one instruction says; one that is wrong is not."""
        for comment in comments:
            match = _CHECK_COMMENT.fullmatch(comment)
            if match is None:
                continue
            try:
                own = self.parse(match[1])
            except DockerfileError:
                return self
            return replace(
                self,
                skip=self.skip | own.skip,
                experimental=self.experimental | own.experimental,
            )
        return self

    def wants(self, rule: str) -> bool:
        if rule in _EXPERIMENTAL:
            return not self.experimental.isdisjoint((rule, "all"))
        return self.skip.isdisjoint((rule, "all"))


@dataclass(slots=True)
class Findings:
    """Collects the warnings that are wanted, up to a number that still helps."""

    options: LintOptions
    _warnings: dict[Warning, None] = field(default_factory=dict)

    def at(self, comments: Iterable[str]) -> "Findings":
        """Return the same collection, as an instruction below `comments` wants it."""
        options = self.options.with_comments(comments)
        return self if options is self.options else Findings(options, self._warnings)

    @property
    def is_full(self) -> bool:
        return len(self._warnings) >= _MOST_WARNINGS

    def add(self, rule: str, message: str, span: SourceSpan) -> None:
        if self.options.wants(rule) and not self.is_full:
            self._warnings[Warning(rule, message, span)] = None

    def in_order(self) -> tuple[Warning, ...]:
        return tuple(sorted(self._warnings, key=lambda warning: warning.span.first))
