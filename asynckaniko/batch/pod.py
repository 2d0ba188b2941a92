"""What one Pod of a Job does: the task with its number, and a result for the cluster to read."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from asynckaniko.batch.build_image import indexed
from asynckaniko.batch.expand import load
from asynckaniko.batch.outcome import Built, Outcome
from asynckaniko.batch.plan import Batch
from asynckaniko.batch.report import exit_code, first_line
from asynckaniko.batch.tasks import ClusterPlan, JobPlan, Task, platform_tag
from asynckaniko.build.image_index import index_of, push_index
from asynckaniko.errors import UsageError
from asynckaniko.events import ignore
from asynckaniko.oci.manifest import Manifest
from asynckaniko.oci.platform import Platform
from asynckaniko.oci.reference import Reference
from asynckaniko.registry.client import RegistryClient
from asynckaniko.settings import Settings

MESSAGE_SIZE = 4096
"""Bytes that the kubelet keeps of a termination message."""


def find_tasks(plan: ClusterPlan, environment: Mapping[str, str]) -> tuple[Task, ...]:
    """Find the tasks that the Pod's environment names. Raises UsageError."""
    name = environment.get("ASYNCKANIKO_BATCH_JOB", "")
    index = environment.get("JOB_COMPLETION_INDEX", "")
    job = next((job for job in plan.jobs if job.name == name), None)
    if job is None:
        raise UsageError(f"ASYNCKANIKO_BATCH_JOB={name}: the plan has no such Job")
    shares = _shares(job, environment.get("ASYNCKANIKO_BATCH_TASKS", ""))
    if not (index.isascii() and index.isdigit()) or int(index) >= len(shares):
        raise UsageError(f"JOB_COMPLETION_INDEX={index}: the Job has {len(shares)} Pods")
    return tuple(job.tasks[number] for number in shares[int(index)])


def _shares(job: JobPlan, text: str) -> Sequence[tuple[int, ...]]:
    if not text:
        return job.shares(range(len(job.tasks)))
    shares = [share.split("+") for share in text.split(",")]
    words = [word for share in shares for word in share]
    if not all(w.isascii() and w.isdigit() and int(w) < len(job.tasks) for w in words):
        raise UsageError(f"ASYNCKANIKO_BATCH_TASKS={text}: the Job has {len(job.tasks)} tasks")
    return [tuple(int(word) for word in share) for share in shares]


def batch_of(tasks: Sequence[Task], directory: Path) -> Batch:
    """Read the tasks' entries as a batch of images without edges. Raises ManifestError."""
    document = {"version": 1, "images": {task.image: dict(task.entry) for task in tasks}}
    batch = load(orjson.dumps(document), "plan", directory=directory)
    # What they need is in the registry by now, under the tags that their FROMs name.
    images = tuple(replace(image, needs=(), tag_needs={}) for image in batch.images)
    return replace(batch, images=images)


async def index_task(task: Task, settings: Settings) -> Built:
    """Make the index of an image whose platforms have been pushed. Raises RegistryError."""
    platforms: list[str] = list(task.entry["platforms"])
    tags: list[str] = list(task.entry["tags"])
    manifests: dict[str, Manifest] = {}
    async with RegistryClient.of(settings) as registry:
        for tag in tags:
            for platform in platforms:
                reference = Reference.parse(platform_tag(tag, platform))
                resolved = await registry.resolve(reference, Platform.parse(platform))
                manifests[platform] = resolved.manifest
            await push_index(registry, index_of(manifests), [Reference.parse(tag)], emit=ignore)
    references = tuple(str(Reference.parse(tag)) for tag in tags)
    return indexed(manifests, references, "")


def result_message(tasks: Sequence[Task], outcomes: Sequence[Outcome]) -> str:
    """Write the results, task by task, as JSON that fits into a termination message."""
    results = [_result(task, outcome) for task, outcome in zip(tasks, outcomes, strict=True)]
    document: dict[str, Any] = results[0]
    if len(results) > 1:
        document = {"results": [_short(result) for result in results]}
    if len(orjson.dumps(document)) > MESSAGE_SIZE and "references" in document:
        document["references"] = document["references"][:1]
    errors = [result for result in document.get("results", [document]) if "error" in result]
    bare = len(orjson.dumps(document)) - sum(len(orjson.dumps(e["error"])) for e in errors)
    if errors and len(orjson.dumps(document)) > MESSAGE_SIZE:
        # JSON may write one character as six.
        room = (MESSAGE_SIZE - bare) // len(errors)
        for result in errors:
            result["error"] = _cut(result["error"], room)
    return orjson.dumps(document).decode()


def _result(task: Task, outcome: Outcome) -> dict[str, Any]:
    document: dict[str, Any] = {
        "image": task.image,
        "platform": task.platform,
        "status": outcome.status.value,
        "seconds": round(outcome.seconds, 3),
    }
    if outcome.built is not None:
        document |= {
            "digest": outcome.built.digest,
            "mediaType": outcome.built.media_type,
            "size": outcome.built.size,
            "config": outcome.built.config_digest,
            "references": list(outcome.built.references),
        }
    if outcome.error is not None:
        document |= {"error": first_line(outcome.error), "code": exit_code([outcome])}
    return document


def _short(result: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what the plan tells of a task, by its place in the list."""
    kept = ("status", "seconds", "digest", "error", "code")
    return {key: result[key] for key in kept if key in result}


def _cut(text: str, size: int) -> str:
    if len(orjson.dumps(text)) <= size:
        return text
    while len(orjson.dumps(text)) > size - 8 and text:
        text = text[: len(text) * 3 // 4]
    return f"{text}..."
