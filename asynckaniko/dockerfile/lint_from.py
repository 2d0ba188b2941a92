"""Lint rules about FROM: its arguments, its platform, what its name becomes by default."""

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Self

from asynckaniko.dockerfile.expansion import Expansion, trace
from asynckaniko.dockerfile.instructions import Dockerfile, From
from asynckaniko.dockerfile.lint_options import Findings
from asynckaniko.dockerfile.wording import hint, shown
from asynckaniko.errors import DockerfileError
from asynckaniko.records import dataclass

_COMPONENT = "[a-z0-9]+(?:(?:\\.|__?|-+)[a-z0-9]+)*"
_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:.]+\])(?::[0-9]+)?"
_REFERENCE = re.compile(
    rf"(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::\w[\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9+._-]*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)
_ARCHITECTURES = {
    **{name: name for name in ("386", "amd64", "arm", "arm64", "ppc64le", "s390x", "riscv64")},
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armhf": "arm",
    "armel": "arm",
    "i386": "386",
}


@dataclass(frozen=True, slots=True)
class GlobalArgs:
    """What FROM lines see: automatic ARGs and those before the first FROM."""

    values: Mapping[str, str]
    names: frozenset[str] = field(default_factory=frozenset)
    """Every declared name, with a value or without."""
    escape: str = "\\"

    @classmethod
    def of(
        cls, dockerfile: Dockerfile, automatic: Mapping[str, str], build_args: Mapping[str, str]
    ) -> Self:
        """Evaluate the global ARGs in order.

        Raises:
            DockerfileError: a default that cannot be expanded.
        """
        escape = dockerfile.directives.escape
        values = {name: build_args.get(name, value) for name, value in automatic.items()}
        names = set(values)
        for instruction in dockerfile.args:
            for pair in instruction.pairs:
                names.add(pair.key)
                if pair.key in build_args:
                    values[pair.key] = build_args[pair.key]
                elif pair.value is not None:
                    try:
                        values[pair.key] = trace(pair.value, values.get, escape=escape).text
                    except DockerfileError as error:
                        raise error.at(instruction.span, dockerfile.text) from None
        return cls(values, frozenset(names), escape)

    def expand(self, word: str) -> Expansion:
        return trace(word, self.values.get, escape=self.escape)


def check_defaults(
    dockerfile: Dockerfile, automatic: Mapping[str, str], findings: Findings
) -> None:
    """Check that every FROM names an image even when no build args are given."""
    try:
        defaults = GlobalArgs.of(dockerfile, automatic, {})
        names = [
            (stage.base, defaults.expand(stage.base.image).text) for stage in dockerfile.stages
        ]
    except DockerfileError:
        # An ARG that insists on a value has no default to check.
        return
    for base, name in names:
        if not _REFERENCE.fullmatch(name):
            findings.add(
                "InvalidDefaultArgInFrom",
                f"Default value for ARG {shown(base.image)} results in empty or invalid base image"
                " name",
                base.span,
            )


def check_from(base: From, arguments: GlobalArgs, findings: Findings) -> str:
    """Check one FROM; return the name of its base, expanded.

    Raises:
        DockerfileError: an empty name or platform.
    """
    here = findings.at(base.comments)
    image = arguments.expand(base.image)
    _report_undeclared(image, base, arguments, here)
    if not image.text:
        raise DockerfileError(f"base name ({shown(base.image)}) should not be blank")
    if base.platform:
        platform = arguments.expand(base.platform)
        _report_undeclared(platform, base, arguments, here)
        _check_platform(base, platform, arguments, here)
    return image.text


def _report_undeclared(
    expansion: Expansion, base: From, arguments: GlobalArgs, findings: Findings
) -> None:
    for name in sorted(expansion.unset - arguments.names):
        near = hint(name, sorted(arguments.names))
        message = f"FROM argument '{name}' is not declared{near}"
        findings.add("UndefinedArgInFrom", message, base.span)


def _check_platform(
    base: From, platform: Expansion, arguments: GlobalArgs, findings: Findings
) -> None:
    if not platform.text:
        near = "".join(hint(name, sorted(arguments.names)) for name in sorted(platform.unset)[:1])
        raise DockerfileError(f"empty platform value from expression {shown(base.platform)}{near}")
    target = arguments.values.get("TARGETPLATFORM")
    if platform.found == {"TARGETPLATFORM"} and not platform.unset and platform.text == target:
        findings.add(
            "RedundantTargetPlatform",
            f"Setting platform to predefined {base.platform} in FROM is redundant as this is the"
            " default behavior",
            base.span,
        )
    if platform.found or platform.unset:
        return
    # A stage named for its platform is meant to have it.
    if not any(part in base.name for part in _platform_parts(platform.text)):
        findings.add(
            "FromPlatformFlagConstDisallowed",
            f'FROM --platform flag should not use constant value "{shown(platform.text)}"',
            base.span,
        )


def _platform_parts(platform: str) -> list[str]:
    """Return system and architecture, as far as they are given."""
    parts = platform.lower().split("/")[:2]
    return [_ARCHITECTURES.get(part, part) for part in parts if part]
