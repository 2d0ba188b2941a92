import orjson
import pytest

from asynckaniko.batch.outcome import Built, Outcome, Status
from asynckaniko.batch.pod import MESSAGE_SIZE, find_task, result_message
from asynckaniko.batch.tasks import ClusterPlan, JobPlan, Task
from asynckaniko.errors import StepFailed, UsageError

TASKS = tuple(Task(image=name, platform="linux/amd64", entry={}) for name in "abc")
PLAN = ClusterPlan(name="p", jobs=(JobPlan(name="j", wave=0, platform="", tasks=TASKS),))


@pytest.mark.parametrize(
    ("index", "tasks", "image"),
    [("0", "", "a"), ("2", "", "c"), ("0", "1,2", "b"), ("1", "0,2", "c")],
)
def test_pod_finds_the_task_of_its_number(index: str, tasks: str, image: str) -> None:
    environment = {
        "ASYNCKANIKO_BATCH_JOB": "j",
        "ASYNCKANIKO_BATCH_TASKS": tasks,
        "JOB_COMPLETION_INDEX": index,
    }

    assert find_task(PLAN, environment).image == image


@pytest.mark.parametrize(
    ("job", "index", "tasks"),
    [
        ("", "0", ""),
        ("x", "0", ""),
        ("j", "", ""),
        ("j", "3", ""),
        ("j", "1", "0"),
        ("j", "0", "7"),
    ],
)
def test_number_without_a_task_is_refused(job: str, index: str, tasks: str) -> None:
    environment = {
        "ASYNCKANIKO_BATCH_JOB": job,
        "ASYNCKANIKO_BATCH_TASKS": tasks,
        "JOB_COMPLETION_INDEX": index,
    }

    with pytest.raises(UsageError):
        find_task(PLAN, environment)


@pytest.mark.parametrize("character", ["x", "\x01", "\u20ac", '"'])
def test_result_fits_into_a_termination_message(character: str) -> None:
    error = StepFailed(character * 10_000)
    failed = Outcome(name="a", status=Status.FAILED, error=error)

    message = result_message(TASKS[0], failed)

    assert len(message.encode()) <= MESSAGE_SIZE
    assert orjson.loads(message)["error"].startswith(character * 500)


def test_result_with_many_references_keeps_the_first() -> None:
    references = tuple(f"r.io/{'x' * 200}:{number}" for number in range(50))
    built = Built(digest="sha256:1", references=references)

    message = result_message(TASKS[0], Outcome(name="a", status=Status.BUILT, built=built))

    assert orjson.loads(message)["references"] == [references[0]]
