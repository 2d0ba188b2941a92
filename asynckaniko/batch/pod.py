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
from asynckaniko.batch.report import first_line
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


def find_task(plan: ClusterPlan, environment: Mapping[str, str]) -> Task:
    """Find the task that the Pod's environment names. Raises UsageError."""
    name = environment.get("ASYNCKANIKO_BATCH_JOB", "")
    index = environment.get("JOB_COMPLETION_INDEX", "")
    job = next((job for job in plan.jobs if job.name == name), None)
    if job is None:
        raise UsageError(f"ASYNCKANIKO_BATCH_JOB={name}: the plan has no such Job")
    numbers = _numbers(job, environment.get("ASYNCKANIKO_BATCH_TASKS", ""))
    if not (index.isascii() and index.isdigit()) or int(index) >= len(numbers):
        raise UsageError(f"JOB_COMPLETION_INDEX={index}: the Job has {len(numbers)} tasks")
    return job.tasks[numbers[int(index)]]


def _numbers(job: JobPlan, text: str) -> Sequence[int]:
    if not text:
        return range(len(job.tasks))
    words = text.split(",")
    if not all(w.isascii() and w.isdigit() and int(w) < len(job.tasks) for w in words):
        raise UsageError(f"ASYNCKANIKO_BATCH_TASKS={text}: the Job has {len(job.tasks)} tasks")
    return [int(word) for word in words]


def batch_of(task: Task, directory: Path) -> Batch:
    """Read the task's entry as a batch of one image. Raises ManifestError."""
    document = {"version": 1, "images": {task.image: dict(task.entry)}}
    batch = load(orjson.dumps(document), "plan", directory=directory)
    # What it needs is in the registry by now, under the tag that its FROM names.
    images = tuple(replace(image, needs=(), tag_needs={}) for image in batch.images)
    return replace(batch, images=images)


async def index_task(task: Task, settings: Settings) -> Built:
    """Make the index of an image whose platforms have been pushed. Raises RegistryError."""
    platforms: list[str] = list(task.entry["platforms"])
    tags: list[str] = list(task.entry["tags"])
    manifests: dict[str, Manifest] = {}
    async with RegistryClient(
        settings.registry,
        retry=settings.retry,
        limits=settings.limits,
        auth_files=settings.auth_files,
        credentials=settings.credentials,
    ) as registry:
        for tag in tags:
            for platform in platforms:
                reference = Reference.parse(platform_tag(tag, platform))
                resolved = await registry.resolve(reference, Platform.parse(platform))
                manifests[platform] = resolved.manifest
            await push_index(registry, index_of(manifests), [Reference.parse(tag)], emit=ignore)
    references = tuple(str(Reference.parse(tag)) for tag in tags)
    return indexed(manifests, references, "")


def result_message(task: Task, outcome: Outcome) -> str:
    """Write the result as JSON that fits into a termination message."""
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
        document["error"] = first_line(outcome.error)
    for key in ("references", "error"):
        room = MESSAGE_SIZE - len(orjson.dumps({**document, key: ""}))
        if key in document and len(orjson.dumps(document)) > MESSAGE_SIZE:
            # JSON may write one character as six.
            document[key] = document[key][:1] if key == "references" else _cut(document[key], room)
    return orjson.dumps(document).decode()


def _cut(text: str, size: int) -> str:
    while len(orjson.dumps(text)) > size - 8:
        text = text[: max(0, len(text) * 3 // 4 - 1)]
    return f"{text}..."
