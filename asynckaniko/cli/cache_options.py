"""The cache flags become a Cache: where layers of earlier builds are looked for and put."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from asynckaniko.build.request import Cache
from asynckaniko.cli.build_flags import BuildFlags
from asynckaniko.cli.inputs import given
from asynckaniko.errors import UsageError
from asynckaniko.oci.reference import Reference

_INLINE = "BUILDKIT_INLINE_CACHE"


def read_cache(
    flags: BuildFlags, destinations: Sequence[Reference], build_args: Mapping[str, str]
) -> Cache | None:
    """Return what is to be cached and where; None if no flag asks for any of it.

    As kaniko has it, the repository is `cache` below the first destination unless one is named.
    Without either only the state directory is used, and without --cache not even that.

    Raises:
        UsageError: a repository of a form that is not supported.
        InvalidReference: no repository.
    """
    is_inline = bool(flags.cache_to_inline) or build_args.get(_INLINE) in {"1", "true"}
    sources = [str(Reference.parse(text)) for text in given(flags.cache_from)]
    if not (flags.cache or is_inline or sources or flags.cache_dir):
        return None
    usual = Cache()
    return Cache(
        repository=_repository(flags.cache_repo or "", destinations) if flags.cache else "",
        local=bool(flags.cache),
        sources=tuple(sources),
        inline=is_inline,
        base_directory=Path(flags.cache_dir).absolute() if flags.cache_dir else None,
        write=not flags.no_push_cache,
        run_layers=usual.run_layers if flags.cache_run_layers is None else flags.cache_run_layers,
        copy_layers=(
            usual.copy_layers if flags.cache_copy_layers is None else flags.cache_copy_layers
        ),
        ttl_seconds=usual.ttl_seconds if flags.cache_ttl is None else flags.cache_ttl,
    )


def _repository(text: str, destinations: Sequence[Reference]) -> str:
    if text.startswith("oci:"):
        path = text.removeprefix("oci:")
        if not path.strip("/"):
            raise UsageError(f"--cache-repo {text}: the path is missing")
        return f"oci:{Path(path).absolute()}"
    if text:
        reference = Reference.parse(text, default_tag="")
        if reference.tag or reference.digest:
            raise UsageError(f"--cache-repo {text}: it must be a repository, without a tag")
        return str(reference.repository)
    return f"{destinations[0].repository}/cache" if destinations else ""
