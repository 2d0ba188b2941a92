from typing import Any

import pytest

from asynckaniko.dockerfile.instructions import Warning
from asynckaniko.dockerfile.lint import (
    LintReport,
    PlannedStage,
    Surroundings,
    base_platform_warning,
    check,
)
from asynckaniko.dockerfile.lint_options import RULES, LintOptions
from asynckaniko.dockerfile.parser import parse
from asynckaniko.dockerfile.patterns import PatternMatcher
from asynckaniko.errors import DockerfileError, SourceSpan

PLATFORM = {"TARGETPLATFORM": "linux/amd64", "BUILDPLATFORM": "linux/amd64", "TARGETOS": "linux"}


def report(text: str, **surroundings: Any) -> LintReport:
    given = {"automatic": PLATFORM, **surroundings}
    return check(text.encode(), surroundings=Surroundings(**given))


def found(text: str, **surroundings: Any) -> list[tuple[str, int]]:
    warnings = report(text, **surroundings).warnings
    return [(warning.rule, warning.span.first) for warning in warnings]


@pytest.mark.parametrize(
    ("text", "rule", "lines"),
    [
        ("FROM scratch AS Build\n", "StageNameCasing", [1]),
        ("FROM scratch AS build\n", "StageNameCasing", []),
        ("FROM scratch as build\n", "FromAsCasing", [1]),
        ("from scratch AS build\n", "FromAsCasing", [1]),
        ("from scratch as build\n", "FromAsCasing", []),
        ("From scratch as build\n", "FromAsCasing", []),
        ("FROM --platform=$BUILDPLATFORM scratch as build\n", "FromAsCasing", [1]),
        ("FROM scratch\nRUN a \\\n\n b\n", "NoEmptyContinuation", [4]),
        ("FROM scratch\nRUN a \\\n # c\n b\n", "NoEmptyContinuation", []),
        ("FROM scratch\nrun a\nRUN b\n", "ConsistentInstructionCasing", [2]),
        ("from scratch\nrun a\nRUN b\n", "ConsistentInstructionCasing", [3]),
        ("FROM scratch\nRun a\n", "ConsistentInstructionCasing", [2]),
        ("from scratch\nrun a\n", "ConsistentInstructionCasing", []),
        ("arg a\nFROM scratch\nRUN a\n", "ConsistentInstructionCasing", []),
        ("FROM a AS x\nFROM b AS X\nFROM c\nFROM d\n", "DuplicateStageName", [2]),
        ("FROM a AS context\nFROM b AS scratch\n", "ReservedStageName", [1, 2]),
        ("FROM scratch\nCMD a\nENTRYPOINT b\n", "JSONArgsRecommended", [2, 3]),
        ('FROM scratch\nSHELL ["s"]\nCMD a\n', "JSONArgsRecommended", []),
        ('FROM scratch AS a\nSHELL ["s"]\nFROM a\nCMD a\n', "JSONArgsRecommended", []),
        ('FROM scratch\nCMD ["a"]\nRUN b\n', "JSONArgsRecommended", []),
        ("FROM scratch\nMAINTAINER me\n", "MaintainerDeprecated", [2]),
        ("FROM a:$TAG\n", "UndefinedArgInFrom", [1]),
        ("ARG TAG\nFROM a$TAG\n", "UndefinedArgInFrom", []),
        ("FROM --platform=linux/$ARCH a\n", "UndefinedArgInFrom", [1]),
        ("FROM --platform=$TARGETPLATFORM a\n", "RedundantTargetPlatform", [1]),
        ("FROM --platform=$BUILDPLATFORM a\n", "RedundantTargetPlatform", []),
        ("FROM --platform=$TARGETOS/amd64 a\n", "RedundantTargetPlatform", []),
        ("FROM --platform=linux/arm64 a\n", "FromPlatformFlagConstDisallowed", [1]),
        ("FROM --platform=linux/aarch64 a AS on-arm64\n", "FromPlatformFlagConstDisallowed", []),
        ("FROM --platform=linux/arm64 a AS linux\n", "FromPlatformFlagConstDisallowed", []),
        ("FROM --platform=$BUILDPLATFORM a\n", "FromPlatformFlagConstDisallowed", []),
        ("FROM scratch\nWORKDIR a\nWORKDIR b\n", "WorkdirRelativePath", [2]),
        ("FROM scratch\nWORKDIR /a\nWORKDIR b\n", "WorkdirRelativePath", []),
        ("FROM scratch AS a\nWORKDIR /a\nFROM a\nWORKDIR b\n", "WorkdirRelativePath", []),
        ("FROM scratch\nENV d=/a\nWORKDIR $d/b\n", "WorkdirRelativePath", []),
        ("FROM a\nCOPY $x $y\nUSER $z\n", "UndefinedVar", [2, 2, 3]),
        ("FROM a\nARG x\nCOPY $x .\n", "UndefinedVar", []),
        ("FROM a\nENV x=1\nENV y=$x$y\n", "UndefinedVar", [3]),
        ("FROM a\nENV x=1 y=$x\n", "UndefinedVar", [2]),
        ("FROM a AS b\nARG x\nENV y=1\nFROM b\nLABEL a=$x$y\n", "UndefinedVar", []),
        ("FROM a AS b\nARG x\nFROM c\nLABEL a=$x\n", "UndefinedVar", [4]),
        ("ARG x=1\nFROM a\nLABEL a=$x\n", "UndefinedVar", [3]),
        ("ARG x=1\nFROM a\nARG x\nLABEL a=$x\n", "UndefinedVar", []),
        ("FROM a\nRUN --mount=type=cache,target=$x echo $y\n", "UndefinedVar", [2]),
        ("FROM a\nCOPY <<A <<'B' /\n$x\nA\n$y\nB\n", "UndefinedVar", [2]),
        ("FROM a\nENV PATH=/b:$PATH\n", "UndefinedVar", []),
        ("FROM a AS b\nONBUILD COPY $x /\nFROM b\n", "UndefinedVar", [3]),
        ("FROM a\nSTOPSIGNAL ${s:-9}\nVOLUME $v\n", "UndefinedVar", [2, 3]),
        ('FROM a\nCMD ["a"]\nCMD ["b"]\n', "MultipleInstructionsDisallowed", [2]),
        ("FROM a\nHEALTHCHECK NONE\nHEALTHCHECK CMD b\n", "MultipleInstructionsDisallowed", [2]),
        ('FROM a AS b\nCMD ["a"]\nFROM b\nCMD ["b"]\n', "MultipleInstructionsDisallowed", []),
        ("FROM a\nENV a b\nLABEL c d\nENV e=f\n", "LegacyKeyValueFormat", [2, 3]),
        ("FROM a\nARG DB_PASSWORD\nENV API_KEY=x token=y\n", "SecretsUsedInArgOrEnv", [2, 3, 3]),
        ("FROM a\nARG MONKEY PUBLIC_KEY PASSWORD_FILE\n", "SecretsUsedInArgOrEnv", []),
        ("ARG TAG\nFROM a:$TAG\n", "InvalidDefaultArgInFrom", [2]),
        ("ARG I\nFROM $I\n", "InvalidDefaultArgInFrom", [2]),
        ("ARG TAG=1\nFROM a.b:5000/c/d:$TAG\n", "InvalidDefaultArgInFrom", []),
        ("ARG I=Upper\nFROM $I\n", "InvalidDefaultArgInFrom", [2]),
        ("ARG I=${J:?needed}\nFROM $I\n", "InvalidDefaultArgInFrom", []),
        ("FROM a\nEXPOSE 1/TCP 2/tcp\n", "ExposeProtoCasing", [2]),
        ("FROM a\nEXPOSE 1:2 127.0.0.1:3:4 5\n", "ExposeInvalidFormat", [2, 2]),
        ("# syntax=other/thing\nFROM a\n", "UnsupportedSyntax", [1]),
    ],
)
def test_rule_speaks_up_where_it_should(text: str, rule: str, lines: list[int]) -> None:
    assert [line for name, line in found(text) if name == rule] == lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM scratch AS Bad\n", "Stage name 'Bad' should be lowercase"),
        ("FROM a as b\n", "'as' and 'FROM' keywords' casing do not match"),
        ("FROM a:$TGA\nARG TAG\n", "FROM argument 'TGA' is not declared"),
        (
            "ARG TAG\nFROM a$TGA\n",
            "FROM argument 'TGA' is not declared (did you mean TAG?)",
        ),
        (
            "FROM a\nENV home=/h\nWORKDIR /$hoem\n",
            "Usage of undefined variable '$hoem' (did you mean $home?)",
        ),
        (
            "FROM a\nEXPOSE 1:2\n",
            "EXPOSE instruction should not define an IP address or host-port mapping, found '1:2'",
        ),
        (
            "FROM a\nEnv x y\n",
            '"Env key=value" should be used instead of legacy "Env key value" format',
        ),
        (
            "FROM a\nENV auth=y\n",
            'Do not use ARG or ENV instructions for sensitive data (ENV "auth")',
        ),
    ],
)
def test_message_is_the_one_people_search_for(text: str, message: str) -> None:
    assert message in [warning.message for warning in report(text).warnings]


@pytest.mark.parametrize(
    ("patterns", "source", "warned"),
    [
        (["a"], "a", True),
        (["a"], "./a/b", True),
        (["a"], "b", False),
        (["a"], ".", False),
        (["*"], ".", True),
        (["*", "!a"], "b", False),
        (["*.md"], "https://example.com/x.md", False),
    ],
)
def test_copy_of_an_ignored_file_is_found(patterns: list[str], source: str, warned: bool) -> None:
    text = f"FROM scratch AS x\nADD {source} /\nFROM x\nCOPY --from=x {source} /\n"

    rules = found(text, ignored=PatternMatcher(patterns), all_stages=True)

    assert [line for rule, line in rules if rule == "CopyIgnoredFile"] == ([2] if warned else [])


DESCRIBED = """# check=experimental=InvalidDefinitionDescription
# a is fine
ARG a
# wrong
ARG b
#
ARG c
# x is the stage
FROM scratch AS x
# wrong
FROM scratch AS y
# wrong
FROM scratch
# wrong
ARG d e
# anything
RUN f
"""


def test_descriptions_are_checked_only_when_asked_for() -> None:
    assert found(DESCRIBED) == [("InvalidDefinitionDescription", line) for line in (5, 11, 15)]
    assert found(DESCRIBED.split("\n", 1)[1]) == []


def test_only_stages_that_the_target_needs_are_followed() -> None:
    text = "FROM a AS x\nCOPY $u .\nFROM b AS y\nCOPY $v .\nFROM y\nCOPY --from=x . .\n"

    assert found(text, target="y") == [("UndefinedVar", 4)]
    assert found(text) == [("UndefinedVar", 2), ("UndefinedVar", 4)]
    assert found(text, target="y", all_stages=True) == [("UndefinedVar", 2), ("UndefinedVar", 4)]


def test_environment_of_a_base_image_counts_where_it_is_known() -> None:
    text = "ARG V=1\nFROM go:$V\nWORKDIR $GOPATH/src\n"

    assert ("UndefinedVar", 3) in found(text)
    assert found(text, planned={0: PlannedStage(env={"GOPATH": "/go"})}) == []


def test_build_args_are_values_like_any_other() -> None:
    text = "ARG I\nFROM ${I:-a}\nARG W=$unset\nWORKDIR $W\n"

    assert ("UndefinedVar", 3) in found(text)
    assert found(text, build_args={"I": "b", "W": "/w"}) == []


LOUD = "FROM scratch AS Bad\nMAINTAINER me\n# check=skip={skip}\nENV a b\n"
ALL = [("StageNameCasing", 1), ("MaintainerDeprecated", 2), ("LegacyKeyValueFormat", 4)]


@pytest.mark.parametrize(
    ("directive", "skip", "expected"),
    [
        ("", "None", ALL),
        ("# check=skip=all\n", "None", []),
        (
            "# check=skip=StageNameCasing,LegacyKeyValueFormat\n",
            "None",
            [("MaintainerDeprecated", 3)],
        ),
        ("", "LegacyKeyValueFormat", ALL[:2]),
        ("", "all // there is a reason", ALL[:2]),
        ("", ";;", ALL),
    ],
)
def test_rules_are_skipped_for_a_file_or_for_an_instruction(
    directive: str, skip: str, expected: list[tuple[str, int]]
) -> None:
    assert found(directive + LOUD.format(skip=skip)) == expected


def test_warnings_are_an_error_where_the_file_says_so() -> None:
    text = "# check=skip=StageNameCasing;error=true\nFROM scratch AS Bad\nMAINTAINER me\n"

    strict = report(text)

    assert str(strict.error) == "lint violation found for rules: MaintainerDeprecated (line 3)"
    assert report(text.replace("MAINTAINER me", "LABEL a=b")).error is None


def test_build_arg_takes_the_place_of_the_directive() -> None:
    text = "# check=skip=all;error=true\nFROM scratch AS Bad\n"

    lenient = report(text, build_args={"BUILDKIT_DOCKERFILE_CHECK": "skip=FromAsCasing"})

    assert [warning.rule for warning in lenient.warnings] == ["StageNameCasing"]
    assert lenient.error is None


@pytest.mark.parametrize("text", ["skip", "skp=all", "error=maybe", "skip=a;b"])
def test_option_there_is_not_is_an_error_at_its_line(text: str) -> None:
    with pytest.raises(DockerfileError, match="invalid check option"):
        LintOptions.parse(text)
    error = report(f"# escape=`\n# check={text}\nFROM scratch\n").error
    assert error is not None
    assert error.span == SourceSpan("Dockerfile", 2, 2)


@pytest.mark.parametrize(
    ("text", "rules", "fragment", "line"),
    [
        (
            "FROM a AS B\nMAINTAINER c\nRUM d\n",
            ["StageNameCasing", "MaintainerDeprecated"],
            "RUM",
            3,
        ),
        ("# check=skip=DuplicateStageName\nFROM a b\n", [], "one or three", 2),
        ("# check=skips=a\nFROM a b\n", [], "invalid check option", 1),
        ("FROM $none\n", ["UndefinedArgInFrom", "InvalidDefaultArgInFrom"], "not be blank", 1),
        (
            "FROM --platform=$BULIDPLATFORM a\n",
            ["UndefinedArgInFrom"],
            "did you mean BUILDPLATFORM",
            1,
        ),
        ("FROM a\nENV b=${c:?d}\n", ["UndefinedVar"], "c: d", 2),
        ("FROM a\nEXPOSE x\n", [], "port", 2),
        ("FROM a\nRUN --mount=type=x b\n", [], "mount type", 2),
        ("FROM a\nCOPY --from=9 b c\n", [], "index 9", 2),
    ],
)
def test_what_was_found_before_an_error_is_reported_with_it(
    text: str, rules: list[str], fragment: str, line: int
) -> None:
    mixed = report(text)

    assert sorted(warning.rule for warning in mixed.warnings) == sorted(rules)
    assert mixed.error is not None
    assert fragment in str(mixed.error)
    assert mixed.error.span is not None
    assert mixed.error.span.first == line


def test_base_image_for_another_platform_is_a_warning() -> None:
    base = parse(b"FROM a\n").stages[0].base

    same = base_platform_warning("a", expected="linux/arm64/v8", actual="linux/arm64", base=base)
    other = base_platform_warning("a", expected="linux/arm64", actual="linux/amd64", base=base)

    assert same is None
    assert other == Warning(
        "InvalidBaseImagePlatform",
        'Base image a was pulled with platform "linux/amd64", expected "linux/arm64" for current'
        " build",
        base.span,
    )


def test_flood_of_warnings_is_cut() -> None:
    secrets = " ".join(f"token_{number}_key" for number in range(1500))
    variables = " ".join(f"$v{number}" for number in range(10))

    assert len(found(f"FROM a\nARG {secrets}\nCOPY {variables} /\n")) == 1000


def test_triggers_that_multiply_are_an_error() -> None:
    text = "FROM a AS b\n" + "ONBUILD ENV c=d\n" * 500 + "FROM b\n" * 30

    error = report(text, all_stages=True).error

    assert "10000 ONBUILD triggers" in str(error)


def test_every_warning_has_a_rule_with_a_description() -> None:
    assert {rule for rule, _ in found(LOUD)} <= RULES.keys()
