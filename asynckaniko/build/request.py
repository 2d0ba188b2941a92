"""What a caller asks for and gets back."""

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import TypeAlias

from asynckaniko.context.options import ContextOptions
from asynckaniko.oci.config import ImageConfig
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.manifest import Manifest
from asynckaniko.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """Send the image to a registry, as `registry/repository[:tag]`."""

    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OciLayout:
    """Write an OCI image layout directory; an image that was there before is replaced.

    `tags` become `org.opencontainers.image.ref.name` annotations in its index.
    """

    path: Path
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerArchive:
    """Write a tar as `docker save` does, with these references as RepoTags."""

    path: Path
    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestFile:
    """Write `sha256:...` without a line end, after everything else has succeeded."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class NamesFile:
    """Write one `repository[:tag]@sha256:...` line for each Push, after all else has succeeded."""

    path: Path
    with_tag: bool = False


Output: TypeAlias = Push | OciLayout | DockerArchive | DigestFile | NamesFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """What RUN --mount=type=secret can ask for; read when the build starts."""

    path: Path | None = None
    value: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Where layers of earlier builds are looked for, and this build's are put."""

    repository: str = ""
    """`registry/repository`, one tag per layer; or `oci:PATH`, one layout `PATH:KEY` per layer.

    Empty: only the state directory.
    """
    sources: tuple[str, ...] = ()
    """References of images whose layers are used, if they were built with `inline`."""
    inline: bool = False
    """Put the keys of the image's layers into its config, so that it can be such a source."""
    base_directory: Path | None = None
    """Where a warmer has put base images."""
    local: bool = True
    """Look in the state directory, and keep layers there."""
    write: bool = True
    """Put new layers into `repository`."""
    run_layers: bool = True
    """Cache RUN and WORKDIR."""
    copy_layers: bool = False
    """Cache COPY and ADD."""
    ttl_seconds: float = 336 * 3600.0
    """Older layers and base images are not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InPlace:
    """What counts in mode `in-place` only."""

    ignored_paths: tuple[str, ...] = ()
    """Paths, or globs of each name in them, that are neither changed nor part of the image."""
    ignores_var_run: bool = True
    """What commands do in /var/run is not part of the image."""
    clean_up: bool = False
    """Empty the container's root filesystem when the build ends."""
    preserve: bool = False
    """With `clean_up`, put back the files that were in it before the build."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLimits:
    """What one RUN may use. No part of cache keys."""

    ulimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Soft and hard limit by docker's name (`nofile`, `nproc`, ...); -1 is none."""
    shm_size: int | None = None
    """Bytes of /dev/shm, which is 64 MiB otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One image to build. Only `context` is required."""

    context: str
    """A directory, with or without `dir://`, or another of the forms in docs/contexts.md."""
    dockerfile: str = "Dockerfile"
    """A path: as given, else below the context; or an http(s) URL."""
    target: str = ""
    """Stage name; empty means the last stage."""
    platform: str = ""
    """`os/arch[/variant]`; empty means this machine's."""
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    build_contexts: Mapping[str, str] = field(default_factory=dict)
    """Name to context, `oci-layout://PATH[:TAG]` or `docker-image://REFERENCE`."""
    context_options: ContextOptions = field(default_factory=ContextOptions)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    ssh: Mapping[str, Path] = field(default_factory=dict)
    """Name (`default`, mostly) to an agent's socket."""
    outputs: tuple[Output, ...] = ()
    check_push: bool = True
    """Find out at the start whether the registries will take the image."""
    cache: Cache | None = None
    source_date_epoch: int | None = None
    """POSIX seconds for `created` of config and history."""
    rewrite_timestamp: bool = False
    """Clamp the times of files in new layers to `source_date_epoch`."""
    reproducible: bool = False
    """As if source_date_epoch were 0 with rewrite_timestamp, unless given."""
    image_format: str = ""
    """`oci` (the default) or `docker`."""
    compression: str = "gzip"
    compression_level: int | None = None
    single_snapshot: bool = False
    """Make one layer of all steps of a stage, without what a later step has replaced or deleted."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Of the manifest; only the OCI format has them."""
    force_compression: bool = False
    """Compress the base's layers so, too; those that are stay as they are."""
    materialize: bool = False
    """Unpack the base even where a step could do without."""
    in_place: InPlace = field(default_factory=InPlace)
    step_limits: StepLimits = field(default_factory=StepLimits)
    jobs: int = 0
    """Stages at a time; 0 leaves it to the Builder's limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """A finished image. `digest` is that of its manifest."""

    digest: Digest
    manifest: Manifest
    config: ImageConfig
    references: tuple[str, ...] = ()
    """What it was pushed as."""
