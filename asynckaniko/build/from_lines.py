"""The images that a Dockerfile's FROM lines name, without a build of it."""

from functools import partial

from anyio import CapacityLimiter, to_thread

from asynckaniko.build.scope import GlobalScope, platform_args
from asynckaniko.context.https import WebOptions, read_url
from asynckaniko.context.source import read_dockerfile
from asynckaniko.dockerfile.instructions import Dockerfile
from asynckaniko.dockerfile.parser import parse
from asynckaniko.dockerfile.stages import find_base
from asynckaniko.events import EventSink
from asynckaniko.oci.platform import Platform
from asynckaniko.settings import Settings


async def read(
    name: str, *, settings: Settings, disk: CapacityLimiter, emit: EventSink
) -> Dockerfile:
    """Read the Dockerfile at a path or http(s) URL.

    Raises:
        ContextError, DockerfileError: it cannot be read.
    """
    limit = settings.limits.dockerfile_size
    if name.startswith(("https://", "http://")):
        options = WebOptions(retry=settings.retry, limit=limit, ca_files=settings.registry.ca_files)
        content = await read_url(name, options=options, emit=emit)
    else:
        from_disk = partial(read_dockerfile, name, context=None, limit=limit)
        content = (await to_thread.run_sync(from_disk, limiter=disk)).content
    return parse(content, name=name)


def base_images(
    dockerfile: Dockerfile, *, build_args: dict[str, str], platform: Platform
) -> list[tuple[str, Platform]]:
    """List what the FROM lines name outside the file, with the platform each asks for.

    Raises:
        DockerfileError: a name cannot be expanded.
        InvalidReference: a platform that is none.
    """
    automatic = platform_args(platform, Platform.host(), "default")
    scope = GlobalScope.of(dockerfile, build_args=build_args, automatic=automatic)
    found = []
    for stage in dockerfile.stages:
        name = scope.expand(stage.base.image, stage.base.span)
        if name == "scratch" or find_base(dockerfile, stage, name):
            continue
        own = scope.expand(stage.base.platform or "", stage.base.span)
        found.append((name, Platform.parse(own) if own else platform))
    return found
