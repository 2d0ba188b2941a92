"""The input digest: one name for everything an image is made of, known before it is built.

It covers the Dockerfile, the files of local contexts without what is ignored, arguments, labels,
target, platforms, and the input digests of the images it needs. Bases and remote contexts count by
name: pin them by digest where a new version has to make a difference.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import orjson
from anyio import CapacityLimiter, Lock, to_thread

from asynckaniko.batch.graph import dockerfile_path
from asynckaniko.batch.plan import TARGET, Batch, PlannedImage
from asynckaniko.context.directory import LocalContext
from asynckaniko.context.source import open_context, read_dockerfile
from asynckaniko.settings import Limits

_PRODUCE = "asynckaniko.rootfs.copy_tree:produce"
_ANYWHERE = {
    "path": "c",
    "exists": True,
    "is_directory": True,
    "missing_parents": [],
    "trailing_slash": True,
}


class Jobs(Protocol):
    """The part of build.builder.Builder that is used here."""

    async def call(
        self, function: str, arguments: Mapping[str, Any], *, fds: Sequence[int]
    ) -> Any: ...


class InputDigests:
    """Computes input digests, each once. Files are read by a helper process."""

    def __init__(
        self,
        batch: Batch,
        environment: Mapping[str, str],
        jobs: Jobs,
        *,
        disk: CapacityLimiter,
    ) -> None:
        self._batch = batch
        self._environment = environment
        self._jobs = jobs
        self._disk = disk
        self._images: dict[str, str] = {}
        self._trees: dict[LocalContext, str] = {}
        self._locks: dict[str, Lock] = {image.name: Lock() for image in batch.images}

    async def of(self, image: PlannedImage) -> str:
        """Return the digest as `sha256:...`.

        Raises:
            ContextError: a local context or the Dockerfile cannot be read.
        """
        async with self._locks[image.name]:
            if image.name not in self._images:
                self._images[image.name] = await self._compute(image)
            return self._images[image.name]

    async def _compute(self, image: PlannedImage) -> str:
        args = resolved_args(image, self._environment)
        parts: dict[str, Any] = {
            "args": sorted(args.items()),
            "labels": sorted(image.labels.items()),
            "target": image.target,
            "platforms": list(image.platforms),
            "secrets": sorted(secret.id for secret in image.secrets),
            "context": await self._context(image.context, image),
            "contexts": [
                [name, await self._context(value, None)]
                for name, value in sorted(image.contexts.items())
            ],
            "images": [
                [tag, await self.of(self._batch.image(name))]
                for tag, name in sorted(image.tag_needs.items())
            ],
        }
        if image.annotations:
            # Only then: images that have none keep their digests.
            parts["annotations"] = sorted(image.annotations.items())
        return f"sha256:{hashlib.sha256(orjson.dumps(parts)).hexdigest()}"

    async def _context(self, value: str, image: PlannedImage | None) -> Any:
        if value.startswith(TARGET):
            return await self.of(self._batch.image(value.removeprefix(TARGET)))
        directory = self._batch.local_path(value)
        if directory is None:
            return [value, image.dockerfile if image else ""]

        def read() -> tuple[LocalContext, str]:
            if image is None:
                return open_context(str(directory)), ""
            name = dockerfile_path(self._batch.directory, directory, image.dockerfile)
            if "://" in name:
                return open_context(str(directory)), name
            limit = Limits().dockerfile_size
            found = read_dockerfile(name, context=str(directory), limit=limit)
            opened = open_context(str(directory), dockerfile=found.path)
            return opened, hashlib.sha256(found.content).hexdigest()

        opened, dockerfile = await to_thread.run_sync(read, limiter=self._disk)
        return [await self._tree(opened), dockerfile]

    async def _tree(self, context: LocalContext) -> str:
        if context not in self._trees:
            self._trees[context] = await self._digest(context)
        return self._trees[context]

    async def _digest(self, context: LocalContext) -> str:
        arguments: dict[str, Any] = {
            "source": {"directory": os.fspath(context.directory)},
            "sources": ["."],
            "destination": _ANYWHERE,
            "owner": None,
            "chmod": "",
            "keep_owner": False,
            "ignore": list(context.ignore),
            "excludes": [],
            "parents": False,
            "add": False,
            "unpack": None,
            "clamp": 0,
            "output": "digest",
        }
        unused = os.memfd_create("digest", os.MFD_CLOEXEC)
        try:
            result = await self._jobs.call(_PRODUCE, arguments, fds=[unused])
        finally:
            os.close(unused)
        digest: str = result["digest"]
        return digest


def resolved_args(image: PlannedImage, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the build args: without a value it is the environment's, if there is one."""
    found = {}
    for name, value in image.args.items():
        if value is not None:
            found[name] = value
        elif name in environment:
            found[name] = environment[name]
    return found
