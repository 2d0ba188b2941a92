"""Lint rules that need nothing but the file: names, case, comments, deprecated forms."""

from collections import Counter
from collections.abc import Iterator

from asynckaniko.dockerfile.instructions import Arg, Dockerfile, From, Instruction, Maintainer
from asynckaniko.dockerfile.lint_options import Findings

_RESERVED = frozenset({"scratch", "context"})


def keyword_of(instruction: Instruction) -> str:
    """Return the keyword as written."""
    return instruction.original.split(maxsplit=1)[0]


def check_instructions(dockerfile: Dockerfile, findings: Findings) -> None:
    """Check each instruction by itself: this also works on a file that ends in an error."""
    for warning in dockerfile.warnings:
        findings.add(warning.rule, warning.message, warning.span)
    for instruction in _all(dockerfile):
        here = findings.at(instruction.comments)
        match instruction:
            case From():
                _check_from(instruction, here)
                if instruction.name:
                    _check_description("FROM", [instruction.name], instruction, here)
            case Arg(pairs=pairs):
                _check_description("ARG", [pair.key for pair in pairs], instruction, here)
            case Maintainer():
                here.add(
                    "MaintainerDeprecated",
                    "Maintainer instruction is deprecated in favor of using label",
                    instruction.span,
                )
            case _:
                pass


def _all(dockerfile: Dockerfile) -> Iterator[Instruction]:
    yield from dockerfile.args
    for stage in dockerfile.stages:
        yield stage.base
        yield from stage.instructions


def _check_from(instruction: From, findings: Findings) -> None:
    name = instruction.name_as_written
    if not name:
        return
    if name != name.lower():
        findings.add(
            "StageNameCasing", f"Stage name '{name}' should be lowercase", instruction.span
        )
    keyword, as_ = keyword_of(instruction), instruction.original.split()[-2]
    # A keyword in mixed case is another rule's affair.
    expected = {keyword.lower(): as_.lower(), keyword.upper(): as_.upper()}.get(keyword, as_)
    if as_ != expected:
        findings.add(
            "FromAsCasing",
            f"'{as_}' and '{keyword}' keywords' casing do not match",
            instruction.span,
        )


def _check_description(
    keyword: str, names: list[str], instruction: Instruction, findings: Findings
) -> None:
    if not instruction.comments or instruction.comments[-1].split(" ")[0] in names:
        return
    example = names[0] if len(names) == 1 else "<arg_key>"
    findings.add(
        "InvalidDefinitionDescription",
        f"Comment for {keyword} should follow the format: `# {example} <description>`",
        instruction.span,
    )


def check_stage_names(dockerfile: Dockerfile, findings: Findings) -> None:
    """Check that stage names are unique and not reserved."""
    seen: set[str] = set()
    for stage in dockerfile.stages:
        name = stage.base.name
        if name in _RESERVED:
            findings.add(
                "ReservedStageName",
                f'Stage name should not use the same name as reserved stage "{name}"',
                stage.base.span,
            )
        if name and name in seen:
            findings.add(
                "DuplicateStageName",
                f'Duplicate stage name "{name}", stage names should be unique',
                stage.base.span,
            )
        seen.add(name)


def check_keyword_case(dockerfile: Dockerfile, findings: Findings) -> None:
    """Check that keywords are in the case that most of them are in."""
    lines = [line for stage in dockerfile.stages for line in (stage.base, *stage.instructions)]
    keywords = [(keyword_of(line), line.span) for line in lines]
    cases = Counter(
        "lowercase" if keyword == keyword.lower() else "uppercase"
        for keyword, _ in keywords
        if keyword in (keyword.lower(), keyword.upper())
    )
    majority = "lowercase" if cases["lowercase"] > cases["uppercase"] else "uppercase"
    for keyword, span in keywords:
        if keyword != (keyword.lower() if majority == "lowercase" else keyword.upper()):
            findings.add(
                "ConsistentInstructionCasing",
                f"Command '{keyword}' should match the case of the command majority ({majority})",
                span,
            )
