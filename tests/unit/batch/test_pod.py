import orjson
import pytest

from asynckaniko.batch.outcome import Built, Outcome, Status
from asynckaniko.batch.pod import MESSAGE_SIZE, find_tasks, result_message
from asynckaniko.batch.tasks import MOST_PACKED, ClusterPlan, JobPlan, Task
from asynckaniko.errors import StepFailed, UsageError

TASKS = tuple(Task(image=name, platform="linux/amd64", entry={}) for name in "abc")
PLAN = ClusterPlan(name="p", jobs=(JobPlan(name="j", wave=0, platform="", tasks=TASKS),))


@pytest.mark.parametrize(
    ("index", "tasks", "images"),
    [
        ("0", "", ["a"]),
        ("2", "", ["c"]),
        ("0", "1,2", ["b"]),
        ("1", "0,2", ["c"]),
        ("0", "0+2,1", ["a", "c"]),
        ("1", "0+2,1", ["b"]),
    ],
)
def test_pod_finds_the_tasks_of_its_number(index: str, tasks: str, images: list[str]) -> None:
    environment = {
        "ASYNCKANIKO_BATCH_JOB": "j",
        "ASYNCKANIKO_BATCH_TASKS": tasks,
        "JOB_COMPLETION_INDEX": index,
    }

    assert [task.image for task in find_tasks(PLAN, environment)] == images


@pytest.mark.parametrize(
    ("job", "index", "tasks"),
    [
        ("", "0", ""),
        ("x", "0", ""),
        ("j", "", ""),
        ("j", "3", ""),
        ("j", "1", "0"),
        ("j", "0", "7"),
        ("j", "0", "0+7"),
        ("j", "0", "0+"),
        ("j", "1", "0+1"),
    ],
)
def test_number_without_a_task_is_refused(job: str, index: str, tasks: str) -> None:
    environment = {
        "ASYNCKANIKO_BATCH_JOB": job,
        "ASYNCKANIKO_BATCH_TASKS": tasks,
        "JOB_COMPLETION_INDEX": index,
    }

    with pytest.raises(UsageError):
        find_tasks(PLAN, environment)


@pytest.mark.parametrize("character", ["x", "\x01", "\u20ac", '"'])
def test_result_fits_into_a_termination_message(character: str) -> None:
    error = StepFailed(character * 10_000)
    failed = Outcome(name="a", status=Status.FAILED, error=error)

    message = result_message(TASKS[:1], [failed])

    assert len(message.encode()) <= MESSAGE_SIZE
    assert orjson.loads(message)["error"].startswith(character * 500)


def test_result_with_many_references_keeps_the_first() -> None:
    references = tuple(f"r.io/{'x' * 200}:{number}" for number in range(50))
    built = Built(digest="sha256:1", references=references)

    message = result_message(TASKS[:1], [Outcome(name="a", status=Status.BUILT, built=built)])

    assert orjson.loads(message)["references"] == [references[0]]


@pytest.mark.parametrize("character", ["x", "\x01", "\u20ac", '"'])
def test_results_of_as_many_images_as_may_be_packed_fit_into_one_message(character: str) -> None:
    tasks = [Task(image=f"{n}".rjust(128, "i"), platform="", entry={}) for n in range(MOST_PACKED)]
    built = Built(digest=f"sha256:{'a' * 64}", references=("r.io/a:1",) * 10, size=1 << 40)
    error = StepFailed(character * 10_000)
    outcomes = [
        Outcome(name=task.image, status=Status.BUILT, built=built)
        if number % 2
        else Outcome(name=task.image, status=Status.FAILED, error=error)
        for number, task in enumerate(tasks)
    ]

    message = result_message(tasks, outcomes)

    assert len(message.encode()) <= MESSAGE_SIZE
    results = orjson.loads(message)["results"]
    assert [result["status"] for result in results] == ["failed", "built"] * (MOST_PACKED // 2)
    assert {result.get("digest") for result in results} == {None, built.digest}
    assert {result.get("code") for result in results} == {None, 3}
    assert all(r["error"].startswith(character * 20) for r in results if "error" in r)


@pytest.mark.parametrize(
    ("count", "pack", "sizes"),
    [(3, 1, [1, 1, 1]), (10, 4, [3, 3, 4]), (4, 4, [4]), (5, 4, [2, 3]), (1, 20, [1])],
)
def test_images_are_dealt_evenly_to_as_few_pods_as_do(
    count: int, pack: int, sizes: list[int]
) -> None:
    job = JobPlan(name="j", wave=0, platform="", tasks=TASKS, pack=pack)

    shares = job.shares(range(count))

    assert [len(share) for share in shares] == sizes
    assert [number for share in shares for number in share] == list(range(count))
