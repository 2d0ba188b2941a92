"""find_needed: what instructions can read of the context, and when nobody can know."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from anyio import CapacityLimiter

from asynckaniko.build.needed_files import find_needed
from asynckaniko.build.plan import Plan, PlannedStage
from asynckaniko.build.sources import FromArrival, FromScratch
from asynckaniko.context.arrival import Arrival, Reach
from asynckaniko.context.needed_paths import NeededPaths
from asynckaniko.context.options import ContextOptions
from asynckaniko.dockerfile.parser import parse
from asynckaniko.events import ignore
from asynckaniko.oci.platform import Platform
from asynckaniko.settings import Settings


async def refuse_token(file: Path) -> tuple[str, float]:
    raise AssertionError(f"{file} is not asked for")


class NoJobs:
    async def call(
        self, function: str, arguments: Mapping[str, Any], *, fds: Sequence[int] = ()
    ) -> Any:
        raise AssertionError(f"{function} is not called")


def arriving() -> FromArrival:
    reach = Reach(
        jobs=NoJobs(),
        options=ContextOptions(),
        settings=Settings(),
        disk=CapacityLimiter(1),
        emit=ignore,
        google_token=refuse_token,
    )
    return FromArrival(Arrival(reach, "tar:///context.tar", Path("/context")))


def plan_of(text: str) -> Plan:
    """Plan all stages of a file, whose sources are not looked at."""
    stages = parse(text.encode()).stages
    planned = {
        stage.index: PlannedStage(
            stage, Platform.parse("linux/amd64"), FromScratch(), stage.instructions, 0
        )
        for stage in stages
    }
    return Plan(len(stages) - 1, planned)


@pytest.mark.parametrize(
    ("lines", "paths", "prefixes"),
    [
        ("COPY a /", {"a"}, set()),
        ("COPY /a ./b/c//d/ /x/", {"a", "b/c/d"}, set()),
        ("COPY --parents a/./b /x/", {"a/b"}, set()),
        ("COPY package*.json src/*.py d/**/e /x/", set(), {"package", "src/", "d/"}),
        ('COPY ["with blank", "/"]', {"with blank"}, set()),
        ("COPY --from=other a /", set(), set()),
        ("COPY <<E /x\ntext\nE", set(), set()),
        ("ADD https://example.org/x b.tar /", {"b.tar"}, set()),
        ("RUN --mount=type=cache,target=/c x", set(), set()),
        ("RUN --mount=from=other,target=/c x", set(), set()),
        ("COPY a /\nFROM scratch\nCOPY b /", {"a", "b"}, set()),
    ],
)
def test_sources_are_needed(lines: str, paths: set[str], prefixes: set[str]) -> None:
    found = find_needed(plan_of(f"FROM scratch\n{lines}\n"), arriving())

    assert found is not None
    assert (set(found.paths), set(found.prefixes)) == (paths, prefixes)


@pytest.mark.parametrize(
    "line",
    [
        "COPY . /",
        "COPY / /",
        "COPY *.json /",
        "COPY $FILE /",
        "COPY a/${FILE} /",
        'COPY "a" /',
        "COPY a\\*b /",
        "COPY a/../b /",
        "COPY link*/../b /",
        "RUN --mount=target=/context x",
        "RUN --mount=type=bind,source=a,target=/context x",
        "RUN --mount=type=$KIND,target=/context x",
    ],
)
def test_in_doubt_everything_is_needed(line: str) -> None:
    assert find_needed(plan_of(f"FROM scratch\nCOPY a /\n{line}\n"), arriving()) is None


def test_named_context_of_the_same_archive_needs_everything() -> None:
    plan, context = plan_of("FROM scratch\nCOPY --from=same a /\n"), arriving()
    plan.stages[0].sources["same"] = FromArrival(context.arrival)

    assert find_needed(plan, context) is None


def test_named_context_of_another_archive_does_not() -> None:
    plan = plan_of("FROM scratch\nCOPY b /\nCOPY --from=other a /\n")
    plan.stages[0].sources["other"] = arriving()

    assert find_needed(plan, arriving()) == NeededPaths(("b",), ())
