"""How Dockerfiles behave, case by case: the tables beside this file, by topic.

Facts about BuildKit's behaviour at release 1.2x of its Dockerfile frontend, where its documents and
its code agree or docs/dockerfile.md says which of them counts.
"""

from pathlib import Path

import pytest

from asynckaniko.build.builder import Builder
from asynckaniko.errors import AsynckanikoError
from tests.conformance import (
    adding,
    configuring,
    copy_flags,
    copying,
    heredocs,
    ignoring,
    linking,
    making_history,
    owning,
    reading,
    running_commands,
    staging,
    substituting,
    working_in,
)
from tests.conformance.case import Case
from tests.conformance.running import carry_out

TOPICS = (
    adding,
    configuring,
    copy_flags,
    copying,
    heredocs,
    ignoring,
    linking,
    making_history,
    owning,
    reading,
    running_commands,
    staging,
    substituting,
    working_in,
)
CASES = {
    f"{module.__name__.rpartition('.')[2]}: {case.name}": case
    for module in TOPICS
    for case in module.CASES
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_dockerfile_behaves(
    case: Case, builder: Builder, busybox_layout: Path, tmp_path: Path
) -> None:
    if case.error:
        with pytest.raises(AsynckanikoError) as caught:
            await carry_out(case, builder, tmp_path, busybox_layout)
        message = str(caught.value).lower()
        assert [part for part in case.error if part.lower() not in message] == [], message
        if case.line:
            assert caught.value.span is not None
            assert caught.value.span.first == case.line
        return

    image = await carry_out(case, builder, tmp_path, busybox_layout)

    assert case.differences(image) == []
    if case.also:
        assert case.also(image) is not False


def test_case_names_are_their_own() -> None:
    assert len(CASES) == sum(len(module.CASES) for module in TOPICS)
