import pytest

from asynckaniko.dockerfile.instructions import Dockerfile, Stage
from asynckaniko.dockerfile.parser import parse
from asynckaniko.dockerfile.stages import find_base, find_source, find_target, needed_stages
from asynckaniko.errors import DockerfileError

FILE = parse(
    b"""FROM scratch AS Base
COPY a /
FROM base AS unused
COPY missing /
FROM scratch AS tools
COPY t /
FROM base AS app
COPY --from=TOOLS /t /t
RUN --mount=from=0,target=/b --mount=type=cache,target=/c true
FROM app
COPY --from=2 /t /u
COPY --from=busybox /bin /bin
"""
)


def image(stage: Stage) -> str:
    return stage.base.image


def needed(dockerfile: Dockerfile, target: str) -> list[int]:
    found = needed_stages(dockerfile, find_target(dockerfile, target), image)
    return [stage.index for stage in found]


@pytest.mark.parametrize(
    ("target", "index"), [("", 4), ("base", 0), ("BASE", 0), ("Tools", 2), ("1", 1), ("4", 4)]
)
def test_target_is_a_name_in_any_case_or_an_index(target: str, index: int) -> None:
    assert find_target(FILE, target).index == index


@pytest.mark.parametrize(
    ("target", "fragment"),
    [
        ("bsae", "did you mean base"),
        ("5", "'5' could not be found"),
        ("other", "stages: base, unused, tools, app"),
        ("-1", "could not be found"),
        ("9" * 5000, "could not be found"),
    ],
)
def test_other_targets_are_errors_that_help(target: str, fragment: str) -> None:
    with pytest.raises(DockerfileError, match=fragment):
        find_target(FILE, target)


def test_target_in_a_file_without_names_is_an_error() -> None:
    with pytest.raises(DockerfileError, match="no stage has a name"):
        find_target(parse(b"FROM scratch\n"), "x")


@pytest.mark.parametrize(
    ("stage", "name", "found"),
    [(1, "base", 0), (1, "Base", None), (0, "base", None), (2, "app", None), (4, "app", 3)],
)
def test_from_means_an_earlier_stage_by_its_lower_case_name(
    stage: int, name: str, found: int | None
) -> None:
    base = find_base(FILE, FILE.stages[stage], name)

    assert (base.index if base else None) == found


def test_of_two_stages_with_one_name_the_later_counts() -> None:
    dockerfile = parse(b"FROM a AS x\nFROM b AS x\nFROM x\nCOPY --from=x a b\n")

    assert needed(dockerfile, "") == [1, 2]


@pytest.mark.parametrize(
    ("target", "indexes"),
    [("base", [0]), ("tools", [2]), ("app", [0, 2, 3]), ("", [0, 2, 3, 4]), ("unused", [0, 1])],
)
def test_target_needs_what_it_is_based_on_and_copies_from(target: str, indexes: list[int]) -> None:
    assert needed(FILE, target) == indexes


def test_named_context_takes_the_place_of_a_stage() -> None:
    found = needed_stages(
        FILE, find_target(FILE, "app"), image, is_elsewhere=lambda name: name.lower() == "tools"
    )

    assert [stage.index for stage in found] == [0, 3]


def test_trigger_brings_its_own_needs() -> None:
    dockerfile = parse(b"FROM scratch AS src\nFROM scratch\nCOPY --from=src a b\nFROM scratch\n")
    copy = dockerfile.stages[1].instructions
    target = dockerfile.stages[2]

    found = needed_stages(
        dockerfile, target, image, triggers=lambda stage: copy if stage is target else ()
    )

    assert [stage.index for stage in found] == [0, 2]


@pytest.mark.parametrize(
    ("text", "fragment", "line"),
    [
        ("FROM a AS x\nCOPY --from=y a b\nFROM a AS y\nFROM x\n", "needs to be defined before", 2),
        ("FROM a AS x\nCOPY --from=x a b\n", "circular dependency", 2),
        ("FROM a\nCOPY --from=0 a b\n", "circular dependency", 2),
        ("FROM a\nCOPY --from=7 a b\n", "invalid stage index 7", 2),
        ("FROM a\nCOPY --from=-1 a b\n", "invalid stage index -1", 2),
        ("FROM a\nCOPY --from=$x a b\n", "--from", 2),
        ("FROM a AS x\nRUN --mount=from=y,target=/y true\nFROM a AS y\nFROM x\n", "'y'", 2),
    ],
)
def test_reference_that_cannot_be_is_an_error_where_it_stands(
    text: str, fragment: str, line: int
) -> None:
    with pytest.raises(DockerfileError, match=fragment) as caught:
        needed(parse(text.encode()), "")

    assert caught.value.span is not None
    assert caught.value.span.first == line


def test_name_that_is_no_stage_is_an_image() -> None:
    assert find_source(FILE, FILE.stages[4], "busybox") is None
