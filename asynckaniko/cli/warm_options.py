"""The flags of `asynckaniko warm` and of kaniko's warmer become a WarmRequest."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from asynckaniko.build.warm import WarmRequest
from asynckaniko.cli.build_flags import BuildFlags
from asynckaniko.cli.inputs import given, read_build_args
from asynckaniko.cli.options import DisplayOptions, resolve
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.errors import UsageError
from asynckaniko.records import dataclass
from asynckaniko.settings import Settings

_TTL_SECONDS = 336 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmOptions:
    """All that warming needs to know."""

    settings: Settings
    request: WarmRequest
    display: DisplayOptions


def read_warm(
    images: tuple[str, ...], values: Mapping[str, Any], around: Surroundings
) -> WarmOptions:
    """Turn flags and environment into values.

    Raises:
        UsageError: values that cannot be used.
    """
    names = {field.name for field in fields(BuildFlags)}
    shared = {name: value for name, value in values.items() if name in names}
    flags = BuildFlags(**shared, no_push=True)
    options = resolve(flags, around)
    ttl = values["cache_ttl"]
    if not given(images) and not flags.dockerfile:
        # kaniko's words.
        raise UsageError("You must select at least one image to cache or a dockerfilepath to parse")
    request = WarmRequest(
        directory=Path(values["cache_dir"] or "/cache").absolute(),
        images=given(images),
        dockerfile=flags.dockerfile or "",
        build_args=read_build_args(given(flags.build_arg), around.environment),
        platform=options.request.platform,
        force=bool(values["force"]),
        ttl_seconds=_TTL_SECONDS if ttl is None else ttl,
    )
    return WarmOptions(settings=options.settings, request=request, display=options.display)
