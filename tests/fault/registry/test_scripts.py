"""Pulls and pushes through a proxy that plays faults before a real registry.

`python -m tests.fault.registry.soak` plays more of the same.
"""

from collections.abc import Iterator

import pytest

from tests.fault.registry.scripts import (
    USERS,
    FaultScript,
    Operation,
    Stage,
    When,
    double_faults,
    sign_in,
    single_faults,
)
from tests.support.registry import Registry, run_registry

QUICK = [
    script for script in single_faults(When.FIRST, When.TWICE, When.ALWAYS) if not script.is_slow
]
SLOW = [script for script in single_faults(When.FIRST) if script.is_slow]
SINGLE = QUICK + SLOW
DOUBLE = [script for script in double_faults(100, seed=1) if not script.is_slow]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with run_registry(tmp_path_factory.mktemp("guarded"), users=USERS) as registry:
        sign_in(registry)
        yield registry


@pytest.fixture(scope="module")
async def stage(guarded: Registry, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    stage = Stage(guarded, tmp_path_factory.mktemp("stage"))
    await stage.prepare()
    return stage


@pytest.mark.parametrize("script", SINGLE, ids=str)
async def test_one_fault_ends_well_or_with_one_typed_error(
    script: FaultScript, stage: Stage
) -> None:
    verdict = await stage.play(script)

    assert verdict.complaints == []


@pytest.mark.parametrize("script", DOUBLE, ids=str)
async def test_two_faults_end_well_or_with_one_typed_error(
    script: FaultScript, stage: Stage
) -> None:
    verdict = await stage.play(script)

    assert verdict.complaints == []


def test_there_are_as_many_scripts_as_promised() -> None:
    assert len({script.name for script in (*SINGLE, *DOUBLE)}) >= 400
    assert {script.operation for script in SINGLE} == set(Operation)


async def test_operations_without_faults_end_well(stage: Stage) -> None:
    for operation in Operation:
        verdict = await stage.play(FaultScript(operation, (), survives=True))

        assert verdict.complaints == []
        assert verdict.error is None
