"""Build container images from Dockerfiles, without a daemon and without privileges.

    from pathlib import Path
    from asynckaniko import Builder, BuildRequest, OciLayout, Settings

    async with Builder(Settings(state_dir=Path("/cache/asynckaniko"))) as builder:
        request = BuildRequest(context="app", outputs=(OciLayout(path=Path("out")),))
        result = await builder.build(request)

Ask with a BuildRequest: its outputs are Push, OciLayout, DockerArchive, DigestFile and NamesFile,
its parts Cache, Secret, InPlace and ContextOptions (GitOptions, ObjectStoreOptions).
`Builder.build` gives a BuildResult; `Builder.start` gives a RunningBuild, which has the `events`
too. What holds for all builds is in Settings: Limits, Retry, RegistryOptions, CredentialOptions,
IsolationOptions. What goes wrong is an AsynckanikoError of one of the classes in `errors`. Beside
building: `push_image` and `create_index` give a PushedImage; `warm` takes a WarmRequest and gives
a list of WarmedImage.

What is named here is the public interface, and docs/library.md its page; all else may change.
Names are imported when they are first used: importing this package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asynckaniko import errors, events
    from asynckaniko.build.builder import Builder, RunningBuild
    from asynckaniko.build.image_index import create_index
    from asynckaniko.build.push_image import PushedImage, push_image
    from asynckaniko.build.request import (
        BuildRequest,
        BuildResult,
        Cache,
        DigestFile,
        DockerArchive,
        InPlace,
        NamesFile,
        OciLayout,
        Push,
        Secret,
    )
    from asynckaniko.build.warm import WarmedImage, WarmRequest, warm
    from asynckaniko.context.options import ContextOptions, GitOptions, ObjectStoreOptions
    from asynckaniko.errors import AsynckanikoError
    from asynckaniko.settings import (
        CredentialOptions,
        IsolationOptions,
        Limits,
        RegistryOptions,
        Retry,
        Settings,
    )

__version__ = "0.1.0"

__all__ = [
    "AsynckanikoError",
    "BuildRequest",
    "BuildResult",
    "Builder",
    "Cache",
    "ContextOptions",
    "CredentialOptions",
    "DigestFile",
    "DockerArchive",
    "GitOptions",
    "InPlace",
    "IsolationOptions",
    "Limits",
    "NamesFile",
    "ObjectStoreOptions",
    "OciLayout",
    "Push",
    "PushedImage",
    "RegistryOptions",
    "Retry",
    "RunningBuild",
    "Secret",
    "Settings",
    "WarmRequest",
    "WarmedImage",
    "create_index",
    "errors",
    "events",
    "push_image",
    "warm",
]

_HOMES = {
    "AsynckanikoError": "errors",
    "BuildRequest": "build.request",
    "BuildResult": "build.request",
    "Builder": "build.builder",
    "Cache": "build.request",
    "ContextOptions": "context.options",
    "CredentialOptions": "settings",
    "DigestFile": "build.request",
    "DockerArchive": "build.request",
    "GitOptions": "context.options",
    "InPlace": "build.request",
    "IsolationOptions": "settings",
    "Limits": "settings",
    "NamesFile": "build.request",
    "ObjectStoreOptions": "context.options",
    "OciLayout": "build.request",
    "Push": "build.request",
    "PushedImage": "build.push_image",
    "RegistryOptions": "settings",
    "Retry": "settings",
    "RunningBuild": "build.builder",
    "Secret": "build.request",
    "Settings": "settings",
    "WarmRequest": "build.warm",
    "WarmedImage": "build.warm",
    "create_index": "build.image_index",
    "push_image": "build.push_image",
    "warm": "build.warm",
}


def __getattr__(name: str) -> Any:
    if name in {"errors", "events"}:
        return import_module(f"{__name__}.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
