"""What a build reads from its request and its machine before it begins."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from anyio import to_thread

from asynckaniko.build.context import Timestamps
from asynckaniko.build.plain_roots import PlainRootOptions
from asynckaniko.build.request import BuildRequest, DockerArchive, OciLayout, Output, Push
from asynckaniko.build.scope import GlobalScope
from asynckaniko.build.workspace import Resources
from asynckaniko.dockerfile.instructions import Dockerfile
from asynckaniko.dockerfile.parser import parse
from asynckaniko.errors import AsynckanikoError, DockerfileError, HostError, UsageError
from asynckaniko.isolation import rlimits
from asynckaniko.oci.config import format_time
from asynckaniko.settings import Settings

_EPOCH_ARG = "SOURCE_DATE_EPOCH"
_NETWORK_FILES = ("/etc/resolv.conf", "/etc/hosts")


def check(request: BuildRequest) -> None:
    """Refuse what contradicts itself before anything is done. Raises UsageError."""
    if request.image_format not in ("", "oci", "docker"):
        raise UsageError(f"image format {request.image_format!r}: expected oci or docker")
    if request.compression not in ("gzip", "zstd", "none"):
        raise UsageError(f"compression {request.compression!r}: expected gzip, zstd or none")
    if request.compression == "zstd" and request.image_format == "docker":
        raise UsageError("zstd layers need the OCI format; Docker's has only gzip")
    if request.annotations and request.image_format == "docker":
        raise UsageError(
            "annotations need the OCI format: Docker's manifest has no place for them; leave out"
            " the image format docker or the annotations"
        )
    rlimits.check(request.step_limits.ulimits)
    size = request.step_limits.shm_size
    if size is not None and size <= 0:
        raise UsageError(f"the size of /dev/shm is {size} bytes: it must be more than 0")
    archives = [output for output in request.outputs if isinstance(output, DockerArchive)]
    manifests = [output for output in request.outputs if isinstance(output, Push | OciLayout)]
    if request.annotations and archives and not manifests:
        raise UsageError(
            f"{archives[0].path}: an archive for docker load has no manifest that could have"
            " annotations; write an OCI layout, or leave out the annotations"
        )
    if request.single_snapshot and request.cache and request.cache.inline:
        raise UsageError(
            "an image of a single snapshot cannot be its own cache: its layer is that of no step;"
            " leave out --cache-to-inline or --single-snapshot"
        )


def check_places(outputs: Sequence[Output]) -> None:
    """Refuse files that could not be written when all else is done. Blocks: it looks at them.

    Raises:
        UsageError: a directory has the name of the file.
        HostError: nothing may be written there.
    """
    for output in outputs:
        if isinstance(output, Push | OciLayout):
            continue
        path = output.path.absolute()
        if os.path.isdir(path):
            raise UsageError(f"{output.path} is a directory; name a file to write there")
        place = next(above for above in (path, *path.parents) if os.path.exists(above))
        if place != path and not os.path.isdir(place):
            raise UsageError(f"{output.path} cannot be written: {place} is no directory")
        if not os.access(place, os.W_OK) and not os.access(path.parent, os.W_OK):
            raise HostError(
                f"{output.path} cannot be written: {place} is not writable for user {os.geteuid()}"
            )


def plain_root_options(request: BuildRequest, settings: Settings) -> PlainRootOptions:
    """Say what of this container mode `in-place` leaves alone: all that the build is given."""
    given: list[str | Path] = [
        request.context.removeprefix("dir://"),
        *(place.removeprefix("dir://") for place in request.build_contexts.values()),
        request.dockerfile,
        *(secret.path for secret in request.secrets.values() if secret.path),
        *request.ssh.values(),
        *settings.auth_files,
        *settings.registry.ca_files,
        *settings.registry.certificates.values(),
        *(path for pair in settings.registry.client_certificates.values() for path in pair),
    ]
    if request.cache and request.cache.base_directory:
        given.append(request.cache.base_directory)
    kept = [os.path.abspath(path) for path in given if "://" not in os.fspath(path)]
    for output in request.outputs:
        if not isinstance(output, Push):
            path = os.path.abspath(output.path)
            kept.append(path if os.path.dirname(path) == "/" else os.path.dirname(path))
    # What a link leads to stays as well as the link.
    kept += [os.path.realpath(path) for path in kept]
    return PlainRootOptions(
        kept=tuple(path for path in dict.fromkeys(kept) if path != "/"),
        ignored_paths=request.in_place.ignored_paths,
        ignores_var_run=request.in_place.ignores_var_run,
        clean_up=request.in_place.clean_up,
        preserve=request.in_place.preserve,
    )


def parse_located(content: bytes, *, name: str) -> Dockerfile:
    """Parse; an error carries the text, so that it can be shown with its lines."""
    try:
        return parse(content, name=name)
    except AsynckanikoError as error:
        error.source = content.decode(errors="replace")
        raise


def read_timestamps(request: BuildRequest, scope: GlobalScope) -> Timestamps:
    """Decide which times the image gets: of now, or of SOURCE_DATE_EPOCH.

    Raises:
        DockerfileError: the ARG of that name is no number, or no time that can be written.
    """
    epoch = request.source_date_epoch
    text = scope.declared.get(_EPOCH_ARG) or request.build_args.get(_EPOCH_ARG)
    if epoch is None and text:
        try:
            epoch = int(text)
        except ValueError:
            raise DockerfileError(f"{_EPOCH_ARG}={text!r}: expected seconds since 1970") from None
    if epoch is None and request.reproducible:
        epoch = 0
    rewrite = request.rewrite_timestamp or request.reproducible
    try:
        created = format_time(time.time() if epoch is None else epoch)
    except (ValueError, OverflowError, OSError):
        raise DockerfileError(
            f"{_EPOCH_ARG}={epoch}: expected seconds since 1970, within the years 1 to 9999"
        ) from None
    return Timestamps(created=created, clamp=epoch if rewrite else None, epoch=epoch)


async def read_secrets(request: BuildRequest, resources: Resources) -> dict[str, bytes]:
    """Read the secrets into memory. Raises UsageError for a file that cannot be read."""

    def read() -> dict[str, bytes]:
        values = {}
        for name, secret in request.secrets.items():
            if secret.value is not None:
                values[name] = secret.value
            elif secret.path is not None:
                try:
                    values[name] = secret.path.read_bytes()
                except OSError as error:
                    raise UsageError(f"secret {name}: {secret.path}: {error.strerror}") from error
        return values

    return await to_thread.run_sync(read, limiter=resources.disk)


async def read_network_files(resources: Resources) -> dict[str, str]:
    """Read how this machine resolves names: RUN shares its network."""

    def read() -> dict[str, str]:
        paths = [Path(name) for name in _NETWORK_FILES]
        return {
            str(path): path.read_text(errors="surrogateescape") for path in paths if path.is_file()
        }

    return await to_thread.run_sync(read, limiter=resources.disk)
