import pytest

from asynckaniko.dockerfile.instructions import Copy, Run
from asynckaniko.dockerfile.parser import MOST_STAGES, parse, parse_trigger, parse_until_error
from asynckaniko.errors import DockerfileError, SourceSpan

SPAN = SourceSpan("Dockerfile", 4, 4)


def test_file_is_global_args_and_stages_in_order() -> None:
    dockerfile = parse(
        b"# escape=`\nARG a=1\nARG b\nFROM x AS One\nRUN c\nFROM one\nARG d\n", name="my.Dockerfile"
    )

    assert dockerfile.name == "my.Dockerfile"
    assert dockerfile.directives.escape == "`"
    assert [arg.pairs[0].key for arg in dockerfile.args] == ["a", "b"]
    assert [(stage.index, stage.label) for stage in dockerfile.stages] == [(0, "One"), (1, "1")]
    assert [len(stage.instructions) for stage in dockerfile.stages] == [1, 1]
    assert dockerfile.text.startswith("# escape")


@pytest.mark.parametrize(
    ("content", "fragment", "line"),
    [
        (b"", "the Dockerfile cannot be empty", 1),
        (b"\n# only this\n\n", "file with no instructions", 1),
        (b"# escape=`\n# check=skip=all\n", "file with no instructions", 1),
        (b"ARG a\nARG b\n", "no stages to build", 2),
        (b"# c\nENV a=b\nFROM x\n", "no build stage in current context", 2),
        (b"FROM x\n" * (MOST_STAGES + 1), "stages", MOST_STAGES + 1),
        (b"\\\n", "unknown instruction", 1),
    ],
)
def test_file_without_a_stage_is_an_error(content: bytes, fragment: str, line: int) -> None:
    with pytest.raises(DockerfileError, match=fragment) as caught:
        parse(content)

    assert caught.value.span is not None
    assert caught.value.span.last == line


def test_what_stands_before_an_error_is_still_parsed() -> None:
    dockerfile, error = parse_until_error(b"FROM x AS y\nRUN a\nRUM b\nRUN c\n")

    assert [stage.base.name for stage in dockerfile.stages] == ["y"]
    assert len(dockerfile.stages[0].instructions) == 1
    assert error is not None
    assert error.span == SourceSpan("Dockerfile", 3, 3)


@pytest.mark.parametrize(
    ("content", "rules"),
    [
        (b"FROM x\nRUN a \\\n\n b\n", ["NoEmptyContinuation"]),
        (b"# syntax=docker/dockerfile:1.7-labs\nFROM x\n", []),
        (b"# syntax=docker.io/docker/dockerfile-upstream@sha256:0\nFROM x\n", []),
        (b"# syntax=docker/dockerfile\nFROM x\n", []),
        (b"# syntax=example.com/other:1\nFROM x\n", ["UnsupportedSyntax"]),
    ],
)
def test_oddities_of_the_text_are_warnings(content: bytes, rules: list[str]) -> None:
    assert [warning.rule for warning in parse(content).warnings] == rules


def test_trigger_is_parsed_for_the_line_that_takes_it_over() -> None:
    trigger = parse_trigger("COPY --from=a <<X /b\nc\nX", SPAN)

    assert isinstance(trigger, Copy)
    assert (trigger.span, trigger.from_) == (SPAN, "a")
    assert trigger.heredocs[0].content == "c\n"


def test_trigger_has_backslash_for_its_escape() -> None:
    trigger = parse_trigger("RUN a \\\n b", SPAN)

    assert isinstance(trigger, Run)
    assert trigger.command.shell == "a  b"


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("", "empty"),
        ("# nothing", "single instruction"),
        ("RUN a\nRUN b", "single instruction"),
        ("FROM x", "FROM isn't allowed"),
        ("ONBUILD RUN a", "ONBUILD isn't allowed"),
        ("MAINTAINER a", "MAINTAINER isn't allowed"),
        ("RUM a", "RUM"),
        ("COPY a", "two arguments"),
    ],
)
def test_trigger_that_cannot_be_one_is_an_error_at_the_from(text: str, fragment: str) -> None:
    with pytest.raises(DockerfileError, match=fragment) as caught:
        parse_trigger(text, SPAN)

    assert caught.value.span == SPAN


def test_stored_trigger_parses_to_what_was_written() -> None:
    stage = parse(b"FROM x\nONBUILD RUN <<-A cat\n\tb\n\tA\n").stages[0]
    (onbuild,) = stage.instructions
    direct = parse(b"FROM x\nRUN <<-A cat\n\tb\n\tA\n").stages[0].instructions[0]

    trigger = parse_trigger(getattr(onbuild, "trigger"), direct.span)  # noqa: B009 - a union

    assert trigger == direct
