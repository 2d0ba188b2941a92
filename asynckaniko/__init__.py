"""Build container images from Dockerfiles, without a daemon and without privileges.

    from pathlib import Path
    from asynckaniko import Builder, BuildRequest, OciLayout, Settings

    async with Builder(Settings(state_dir=Path("/cache/asynckaniko"))) as builder:
        request = BuildRequest(context="app", outputs=(OciLayout(path=Path("out")),))
        result = await builder.build(request)

What is named here is the public interface; all else may change. Names are imported when they are
first used: importing this package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asynckaniko import errors, events
    from asynckaniko.build.builder import Builder, RunningBuild
    from asynckaniko.build.image_index import create_index
    from asynckaniko.build.push_image import PushedImage
    from asynckaniko.build.request import (
        BuildRequest,
        BuildResult,
        Cache,
        DigestFile,
        DockerArchive,
        NamesFile,
        OciLayout,
        Push,
        Secret,
    )
    from asynckaniko.build.warm import WarmedImage, WarmRequest, warm
    from asynckaniko.errors import AsynckanikoError
    from asynckaniko.settings import Limits, RegistryOptions, Retry, Settings

__version__ = "0.1.0"

__all__ = [
    "AsynckanikoError",
    "BuildRequest",
    "BuildResult",
    "Builder",
    "Cache",
    "DigestFile",
    "DockerArchive",
    "Limits",
    "NamesFile",
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
    "warm",
]

_HOMES = {
    "AsynckanikoError": "errors",
    "BuildRequest": "build.request",
    "BuildResult": "build.request",
    "Builder": "build.builder",
    "Cache": "build.request",
    "DigestFile": "build.request",
    "DockerArchive": "build.request",
    "Limits": "settings",
    "NamesFile": "build.request",
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
