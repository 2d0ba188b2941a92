"""What a build says of its Dockerfile."""

from pathlib import Path

import pytest

from asynckaniko.build.builder import Builder
from asynckaniko.build.request import BuildRequest
from asynckaniko.errors import DockerfileError
from asynckaniko.events import BuildWarning, Event
from tests.support.images import Image

LOUD = """\
FROM scratch AS unneeded
COPY $nobody /
FROM scratch AS Base
ENV old way
FROM Base
COPY $near ignored.txt /d/
CMD run me
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    directory = tmp_path / "context"
    directory.mkdir()
    (directory / ".dockerignore").write_text("ignored.txt\n")
    return directory


async def warnings(
    builder: Builder, context: Path, text: str, **more: object
) -> list[tuple[str, str, int]]:
    """Build, which may fail, and return rule, file and line of what was found."""
    (context / "Dockerfile").write_text(text)
    events: list[Event] = []
    request = BuildRequest(context=str(context), **more)  # type: ignore[arg-type]
    try:
        await builder.build(request, on_event=events.append)
    except DockerfileError as error:
        events.append(BuildWarning(error.message, "the error", "", error.span.first))  # type: ignore[union-attr]
    found = [event for event in events if isinstance(event, BuildWarning) and event.rule]
    return [(warning.rule, warning.file, warning.line) for warning in found]


async def test_stages_that_are_built_are_checked(builder: Builder, context: Path) -> None:
    text = LOUD.replace("COPY $near ignored.txt /d/", "LABEL near=$near")

    assert await warnings(builder, context, text.replace("FROM Base", "FROM base")) == [
        ("StageNameCasing", "Dockerfile", 3),
        ("LegacyKeyValueFormat", "Dockerfile", 4),
        ("UndefinedVar", "Dockerfile", 6),
        ("JSONArgsRecommended", "Dockerfile", 7),
    ]


async def test_rules_can_be_skipped(builder: Builder, context: Path) -> None:
    skip = "# check=skip=StageNameCasing,LegacyKeyValueFormat\n"
    text = skip + "FROM scratch AS Base\nENV old way\n# check=skip=all\nCMD run\nCMD run\n"

    assert await warnings(builder, context, text) == [
        ("MultipleInstructionsDisallowed", "Dockerfile", 5),
        ("JSONArgsRecommended", "Dockerfile", 6),
    ]


async def test_warnings_fail_the_build_where_the_file_says_so(
    builder: Builder, context: Path
) -> None:
    text = "# check=error=true\nFROM scratch AS Base\nENV old way\n"

    assert await warnings(builder, context, text) == [
        ("StageNameCasing", "Dockerfile", 2),
        ("LegacyKeyValueFormat", "Dockerfile", 3),
        ("the error", "", 2),
    ]
    with pytest.raises(DockerfileError, match=r"LegacyKeyValueFormat, StageName.* \(lines 2, 3\)"):
        await builder.build(BuildRequest(context=str(context)))


async def test_file_that_is_ignored_is_told_of_before_it_is_missing(
    builder: Builder, context: Path
) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nENV a=b\nCOPY ignored.txt /\n")
    (context / "ignored.txt").touch()
    events: list[Event] = []

    with pytest.raises(Exception, match="not found"):
        await builder.build(BuildRequest(context=str(context)), on_event=events.append)

    found = [(event.rule, event.line) for event in events if isinstance(event, BuildWarning)]
    assert found == [("CopyIgnoredFile", 3)]


async def test_variables_of_base_images_and_their_triggers_are_known(
    builder: Builder, context: Path, tmp_path: Path
) -> None:
    base = Image.of({}, Env=["GOPATH=/go"], OnBuild=["ENV TRIGGERED=1"])
    layout = base.write_layout(tmp_path / "base")

    found = await warnings(
        builder,
        context,
        "FROM golang\nWORKDIR $GOPATH/src/$TRIGGERED\nLABEL a=$GOPAHT\n",
        build_contexts={"golang": f"oci-layout://{layout}"},
    )

    assert found == [("UndefinedVar", "Dockerfile", 3)]


async def test_base_image_for_another_platform_is_a_warning(
    builder: Builder, context: Path, tmp_path: Path
) -> None:
    layout = Image.of({}, architecture="s390x").write_layout(tmp_path / "base")

    found = await warnings(
        builder,
        context,
        "FROM other\nLABEL a=b\n",
        platform="linux/amd64",
        build_contexts={"other": f"oci-layout://{layout}"},
    )

    assert found == [("InvalidBaseImagePlatform", "Dockerfile", 1)]


async def test_named_context_in_place_of_a_stage_is_not_followed(
    builder: Builder, context: Path, tmp_path: Path
) -> None:
    text = "FROM scratch AS base\nCOPY $unset /\nFROM base\nLABEL a=b\n"

    found = await warnings(builder, context, text, build_contexts={"base": str(tmp_path)})

    assert found == []
