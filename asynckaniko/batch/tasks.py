"""What the Pods of a cluster do: the batch cut into Jobs, and each Job into numbered tasks.

A Pod has nothing but the plan, a registry and its own number, so every task stands for itself: an
image that it needs is read from the registry, under the first of its tags.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Self

import orjson

from asynckaniko.batch.document import Findings
from asynckaniko.batch.inputs import resolved_args
from asynckaniko.batch.manifest import SecretKey
from asynckaniko.batch.plan import TARGET, Batch, PlannedImage
from asynckaniko.batch.requests import platforms_of
from asynckaniko.errors import UsageError
from asynckaniko.records import dataclass

_VERSION = 1
PLAN_SIZE = 1 << 20
"""Bytes that a ConfigMap holds."""

MOST_PACKED = 20
"""Images whose results fit into one termination message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One image for one platform, or the index of one that has several."""

    image: str
    platform: str
    """Empty for an index."""
    entry: Mapping[str, Any]
    """The image as a manifest's entry that needs no other."""
    needs: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "image": self.image,
            "platform": self.platform,
            "entry": dict(self.entry),
            "needs": list(self.needs),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(**{**document, "needs": tuple(document["needs"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """The tasks of one Job, which may all run at the same time."""

    name: str
    wave: int
    platform: str
    """Where its Pods run; empty: anywhere."""
    tasks: tuple[Task, ...]
    retries: int = 0
    memory: int = 0
    cpu: float = 0.0
    secrets: tuple[SecretKey, ...] = ()
    fail_fast: bool = False
    pack: int = 1
    """How many tasks a Pod does at most."""

    def shares(self, numbers: Sequence[int]) -> list[tuple[int, ...]]:
        """Deal tasks out to as few Pods as do them, in order, and about as many to each."""
        count = max(1, -(-len(numbers) // self.pack))
        ends = [len(numbers) * position // count for position in range(count + 1)]
        return [tuple(numbers[ends[n] : ends[n + 1]]) for n in range(count)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    """All Jobs of a batch, in the order in which they may start."""

    name: str
    jobs: tuple[JobPlan, ...]
    arguments: tuple[str, ...] = ()
    """What Pods get on their command line, beside the plan."""
    files: Mapping[str, str] = field(default_factory=dict)
    """What lies beside the plan in Pods, by name: certificates that the arguments name."""

    def waves(self) -> list[list[JobPlan]]:
        numbers = sorted({job.wave for job in self.jobs})
        return [[job for job in self.jobs if job.wave == number] for number in numbers]

    def to_bytes(self) -> bytes:
        """Write the plan as the Pods read it."""
        jobs = [
            {
                "name": job.name,
                "wave": job.wave,
                "platform": job.platform,
                "tasks": [task.to_json() for task in job.tasks],
                "retries": job.retries,
                "memory": job.memory,
                "cpu": job.cpu,
                "secrets": [secret.model_dump() for secret in job.secrets],
                "fail_fast": job.fail_fast,
                "pack": job.pack,
            }
            for job in self.jobs
        ]
        document = {"version": _VERSION, "name": self.name, "jobs": jobs}
        if self.arguments:
            document["arguments"] = list(self.arguments)
        if self.files:
            document["files"] = dict(self.files)
        return orjson.dumps(document)

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Read a plan. Raises UsageError."""
        try:
            document = orjson.loads(content)
            if document["version"] != _VERSION:
                raise UsageError(f"plan of version {document['version']}, expected {_VERSION}")
            jobs = tuple(_job(entry) for entry in document["jobs"])
            return cls(
                name=document["name"],
                jobs=jobs,
                arguments=tuple(document.get("arguments", ())),
                files=document.get("files", {}),
            )
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise UsageError(f"not the plan of a batch: {error}") from error


def _job(entry: dict[str, Any]) -> JobPlan:
    tasks = tuple(Task.from_json(task) for task in entry["tasks"])
    secrets = tuple(SecretKey(**secret) for secret in entry["secrets"])
    return JobPlan(**{**entry, "tasks": tasks, "secrets": secrets})


def plan_cluster(
    batch: Batch,
    environment: Mapping[str, str],
    *,
    fail_fast: bool = False,
    pack: int = 1,
    arguments: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
) -> ClusterPlan:
    """Cut a batch into Jobs, with up to `pack` images of a wave for each Pod.

    `arguments` and `files` are for all Pods, see ClusterPlan.

    Raises:
        ManifestError: an image cannot be built in a Pod.
        UsageError: the plan does not fit into a ConfigMap, or results not into a Pod's message.
    """
    if not 1 <= pack <= MOST_PACKED:
        raise UsageError(f"--pack {pack}: it must be between 1 and {MOST_PACKED}")
    _check(batch)
    jobs: list[JobPlan] = []
    wave = 0
    for images in batch.waves():
        made = list(_build_jobs(batch, images, environment, wave))
        wave += 1
        indexes = [image for image in images if len(image.platforms) > 1]
        if indexes:
            tasks = tuple(_index_task(batch, image) for image in indexes)
            made.append(JobPlan(name="index", wave=wave, platform="", tasks=tasks, retries=2))
            wave += 1
        jobs += [replace(job, fail_fast=fail_fast, pack=pack) for job in made]
    unnamed = ClusterPlan(
        name="", jobs=tuple(jobs), arguments=tuple(arguments), files=dict(files or {})
    )
    return _named(unnamed)


def _named(plan: ClusterPlan) -> ClusterPlan:
    """Name everything after its content: the same batch is the same Jobs."""
    content = plan.to_bytes()
    size = len(content) + sum(map(len, plan.files.values()))
    if size > PLAN_SIZE - 4096:
        raise UsageError(
            f"the plan has {size} bytes, and a ConfigMap holds {PLAN_SIZE}:"
            " split the batch with --only"
        )
    name = f"batch-{hashlib.sha256(content).hexdigest()[:10]}"
    named = [replace(job, name=f"{name}-{job.wave}-{job.name}") for job in plan.jobs]
    return replace(plan, name=name, jobs=tuple(named))


def _check(batch: Batch) -> None:
    findings = Findings(batch.source, batch.file)
    needed = {need for image in batch.images for need in image.needs}
    for image in batch.images:
        if not image.tags:
            why = "others read it from there" if image.name in needed else "a Pod keeps nothing"
            place = image.node.place
            findings.error(place, f"{image.name} needs tags on a cluster: {why}")
        for position, secret in enumerate(image.secrets):
            if secret.kubernetes is None:
                findings.error(
                    image.place("secrets", position),
                    f"secret {secret.id}: a Pod takes it from a Secret; give it"
                    " kubernetes: {name: ..., key: ...}",
                )
    findings.check()


def _build_jobs(
    batch: Batch, images: Sequence[PlannedImage], environment: Mapping[str, str], wave: int
) -> Iterator[JobPlan]:
    by_platform: dict[str, list[PlannedImage]] = {}
    for image in images:
        for platform in platforms_of(image):
            by_platform.setdefault(platform, []).append(image)
    for platform, members in by_platform.items():
        keys = [secret.kubernetes for image in members for secret in image.secrets]
        secrets = {(key.name, key.key): key for key in keys if key}
        yield JobPlan(
            name=platform.replace("/", "-"),
            wave=wave,
            platform=platform,
            tasks=tuple(_build_task(batch, image, platform, environment) for image in members),
            retries=max(image.retries for image in members),
            memory=max(image.memory for image in members),
            cpu=max(image.cpu for image in members),
            secrets=tuple(secrets.values()),
        )


def _build_task(
    batch: Batch, image: PlannedImage, platform: str, environment: Mapping[str, str]
) -> Task:
    several = len(image.platforms) > 1
    contexts = {
        name: f"docker-image://{batch.image(value.removeprefix(TARGET)).tags[0]}"
        if value.startswith(TARGET)
        else value
        for name, value in image.contexts.items()
    }
    alone = replace(
        image,
        args=resolved_args(image, environment),
        contexts=contexts,
        platforms=(platform,),
        tags=tuple(platform_tag(tag, platform) for tag in image.tags) if several else image.tags,
        outputs=(),
        retries=0,
    )
    return Task(image=image.name, platform=platform, entry=alone.to_manifest(), needs=image.needs)


def _index_task(batch: Batch, image: PlannedImage) -> Task:
    entry = replace(image, contexts={}, args={}, secrets=(), outputs=()).to_manifest()
    return Task(image=image.name, platform="", entry=entry, needs=(image.name,))


def platform_tag(tag: str, platform: str) -> str:
    """Name the image of one platform until an index has it."""
    head, colon, last = tag.rpartition(":")
    named = tag if colon and "/" not in last and head else f"{tag}:latest"
    return f"{named}-{platform.replace('/', '-')}"
