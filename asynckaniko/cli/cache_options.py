"""The cache flags become a Cache: where layers of earlier builds are looked for and put."""

from collections.abc import Sequence

from asynckaniko.build.request import Cache
from asynckaniko.cli.build_flags import BuildFlags
from asynckaniko.errors import UsageError
from asynckaniko.oci.reference import Reference


def read_cache(flags: BuildFlags, destinations: Sequence[Reference]) -> Cache | None:
    """Return what is to be cached and where; None without --cache.

    As kaniko has it, the repository is `cache` below the first destination unless one is named.
    Without either only the state directory is used.

    Raises:
        UsageError: a repository of a form that is not supported.
        InvalidReference: no repository.
    """
    if not flags.cache:
        return None
    usual = Cache()
    return Cache(
        repository=_repository(flags.cache_repo or "", destinations),
        write=not flags.no_push_cache,
        run_layers=usual.run_layers if flags.cache_run_layers is None else flags.cache_run_layers,
        copy_layers=(
            usual.copy_layers if flags.cache_copy_layers is None else flags.cache_copy_layers
        ),
        ttl_seconds=usual.ttl_seconds if flags.cache_ttl is None else flags.cache_ttl,
    )


def _repository(text: str, destinations: Sequence[Reference]) -> str:
    if text.startswith("oci:"):
        raise UsageError(
            f"--cache-repo {text}: an OCI layout cannot be the cache; layers are kept in the "
            "state directory anyway, and a repository shares them"
        )
    if text:
        reference = Reference.parse(text, default_tag="")
        if reference.tag or reference.digest:
            raise UsageError(f"--cache-repo {text}: it must be a repository, without a tag")
        return str(reference.repository)
    return f"{destinations[0].repository}/cache" if destinations else ""
