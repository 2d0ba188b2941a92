"""Flags and environment become Settings and BuildRequest: defaults < environment < flags."""

from collections.abc import Iterable
from dataclasses import field, replace
from pathlib import Path
from typing import Literal, TypeGuard

from asynckaniko.build.request import (
    BuildRequest,
    DigestFile,
    DockerArchive,
    InPlace,
    NamesFile,
    OciLayout,
    Output,
    Push,
)
from asynckaniko.cli.build_flags import BuildFlags
from asynckaniko.cli.cache_options import read_cache
from asynckaniko.cli.context_options import bucket_context, read_context_options
from asynckaniko.cli.flag_groups import PROGRESS
from asynckaniko.cli.flag_values import parse_size
from asynckaniko.cli.inputs import given, read_build_args, read_pairs, read_secrets, read_ssh
from asynckaniko.cli.isolation_options import read_isolation, read_step_limits
from asynckaniko.cli.registry_options import (
    read_credentials,
    read_registry_options,
    read_retry,
)
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.context.location import shown
from asynckaniko.errors import InvalidReference, UsageError
from asynckaniko.oci.platform import Platform
from asynckaniko.oci.reference import Reference
from asynckaniko.records import dataclass
from asynckaniko.settings import Limits, Settings

ProgressMode = Literal["tty", "plain", "json", "quiet", "none", "log"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplayOptions:
    """How a build is shown. `mode` "log" prints kaniko's log lines."""

    mode: ProgressMode = "plain"
    verbosity: str = "info"
    log_format: str = "color"
    log_timestamp: bool = False
    color: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """All that `asynckaniko build` needs to know."""

    settings: Settings
    request: BuildRequest
    display: DisplayOptions = field(default_factory=DisplayOptions)
    timings: Path | None = None
    metadata_file: Path | None = None
    dry_run: bool = False
    """The plan is printed and not carried out."""
    digest_url: str = field(default="", repr=False)
    """Where the digest is sent; its query is a signature."""


def resolve(flags: BuildFlags, around: Surroundings, *, builds_one: bool = False) -> BuildOptions:
    """Turn flags and environment into values.

    With `builds_one`, this process is for one image, whose commands may come near to it.

    Raises:
        UsageError: values that cannot be used, or that contradict each other.
        InvalidReference: a destination or platform that is none.
    """
    settings = Settings(
        state_dir=_absolute(flags.state_dir or around.get("ASYNCKANIKO_STATE_DIR"))
        or around.state_dir(),
        state_size=_size(flags.state_size, around, "ASYNCKANIKO_STATE_SIZE"),
        mount_size=_size(flags.mount_size, around, "ASYNCKANIKO_MOUNT_SIZE"),
        cache_mount_dir=_absolute(
            flags.cache_mount_dir or around.get("ASYNCKANIKO_CACHE_MOUNT_DIR")
        ),
        isolation=replace(
            read_isolation(flags.isolation, flags.pid, around), may_be_plain=builds_one
        ),
        limits=_limits(flags),
        retry=read_retry(flags),
        registry=read_registry_options(flags, around),
        auth_files=around.auth_files(),
        credentials=read_credentials(flags, around),
    )
    return BuildOptions(
        settings=settings,
        request=_request(flags, around),
        display=_display(flags, around),
        timings=_timings(flags.timings),
        metadata_file=_absolute(flags.metadata_file),
        dry_run=bool(flags.dryrun),
        digest_url=flags.digest_file if _is_url(flags.digest_file) else "",
    )


def _request(flags: BuildFlags, around: Surroundings) -> BuildRequest:
    if flags.compression == "zstd" and flags.image_format == "docker":
        raise UsageError(
            "--compression=zstd cannot be used with --image-format=docker: "
            "Docker's manifest has no type for zstd layers; use --image-format=oci"
        )
    args = read_build_args(given(flags.build_arg), around.environment)
    context = _context(flags)
    contexts = read_pairs(given(flags.build_context), flag="--build-context", form="NAME=SOURCE")
    return BuildRequest(
        context=context,
        context_options=read_context_options(
            around,
            sub_path=flags.context_sub_path,
            git=given(flags.git),
            uses_s3=any(text.startswith("s3://") for text in (context, *contexts.values())),
        ),
        dockerfile=flags.dockerfile or "Dockerfile",
        target=flags.target or "",
        platform=_platform(flags.custom_platform),
        build_args=args,
        labels=read_pairs(given(flags.label), flag="--label", form="KEY=VALUE"),
        annotations=read_pairs(given(flags.annotation), flag="--annotation", form="KEY=VALUE"),
        build_contexts=contexts,
        secrets=read_secrets(given(flags.secret), around.environment),
        ssh=read_ssh(given(flags.ssh), around.environment),
        outputs=_outputs(flags, around),
        check_push=not flags.skip_push_permission_check,
        cache=read_cache(flags, _destinations(given(flags.destination)), args),
        source_date_epoch=_epoch(args.get("SOURCE_DATE_EPOCH") or around.get("SOURCE_DATE_EPOCH")),
        rewrite_timestamp=bool(flags.rewrite_timestamp),
        reproducible=bool(flags.reproducible),
        image_format=flags.image_format or "",
        compression=flags.compression or "gzip",
        compression_level=None if flags.compression_level == -1 else flags.compression_level,
        force_compression=bool(flags.force_compression),
        single_snapshot=bool(flags.single_snapshot),
        materialize=bool(flags.materialize),
        in_place=InPlace(
            ignored_paths=given(flags.ignore_path),
            ignores_var_run=flags.ignore_var_run is not False,
            clean_up=bool(flags.cleanup),
            preserve=bool(flags.preserve_context),
        ),
        step_limits=read_step_limits(given(flags.ulimit), flags.shm_size),
        jobs=flags.jobs or 0,
    )


def _context(flags: BuildFlags) -> str:
    positional = given(flags.context_argument)
    if len(positional) > 1:
        raise UsageError(f"one context, please: {' '.join(positional)}")
    named = [*positional, *given((flags.context or "",))]
    if flags.bucket:
        # Before kaniko knew other contexts, there was --bucket; it wins there over --context.
        named = [*positional, bucket_context(flags.bucket)]
    if len(named) > 1:
        raise UsageError(f"two contexts: {shown(named[0])} and --context {shown(named[1])}")
    return named[0] if named else "."


def _outputs(flags: BuildFlags, around: Surroundings) -> tuple[Output, ...]:
    destinations = _destinations(given(flags.destination))
    no_push = _switch(flags.no_push, around, "KANIKO_NO_PUSH")
    stored = bool(flags.oci_layout_path or flags.tar_path)
    if not destinations and not no_push and not stored:
        raise UsageError(
            "the image would go nowhere: give --destination, --oci-layout-path or --tar-path, "
            "or --no-push to build all the same"
        )
    outputs: list[Output] = []
    if not no_push:
        outputs += [Push(reference=str(reference)) for reference in destinations]
    tags = {reference.tag for reference in destinations}
    if flags.oci_layout_path:
        # More than one tag would list the image more than once, and readers of layouts that
        # hold one image (kaniko's, skopeo's) would find none to prefer.
        one_tag = tuple(tags) if len(tags) == 1 else ()
        outputs.append(OciLayout(path=Path(flags.oci_layout_path).absolute(), tags=one_tag))
    if flags.tar_path:
        references = tuple(str(reference) for reference in destinations)
        outputs.append(DockerArchive(path=Path(flags.tar_path).absolute(), references=references))
    return (*outputs, *_result_files(flags, pushes=bool(destinations) and not no_push))


def _result_files(flags: BuildFlags, *, pushes: bool) -> Iterable[Output]:
    if flags.digest_file and not _is_url(flags.digest_file):
        yield DigestFile(path=_result_path("--digest-file", flags.digest_file))
    for flag, path, with_tag in (
        ("--image-name-with-digest-file", flags.image_name_with_digest_file, False),
        ("--image-name-tag-with-digest-file", flags.image_name_tag_with_digest_file, True),
    ):
        if path and not pushes:
            raise UsageError(f"{flag} lists what was pushed: it needs a --destination")
        if path:
            yield NamesFile(path=_result_path(flag, path), with_tag=with_tag)


def _result_path(flag: str, text: str) -> Path:
    if text.startswith(("https://", "http://")):
        raise UsageError(f"{flag}: it cannot be sent to this URL; give a file")
    return Path(text).absolute()


def _is_url(text: str | None) -> TypeGuard[str]:
    return text is not None and text.startswith("https://")


def _destinations(values: Iterable[str]) -> list[Reference]:
    found = []
    for value in values:
        reference = Reference.parse(value)
        if reference.digest:
            raise InvalidReference(f"--destination {value}: a push cannot choose the digest")
        found.append(reference)
    return list(dict.fromkeys(found))


def _limits(flags: BuildFlags) -> Limits:
    if flags.jobs is not None and flags.jobs < 0:
        raise UsageError(f"--jobs {flags.jobs}: it must be 0 (no limit) or more")
    return Limits()


def _platform(text: str | None) -> str:
    return str(Platform.parse(text)) if text else ""


def _epoch(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"SOURCE_DATE_EPOCH={text}: it must be seconds since 1970")
    return int(text)


def _display(flags: BuildFlags, around: Surroundings) -> DisplayOptions:
    wanted = flags.progress or ""
    logs = bool(flags.log_format or flags.log_timestamp)
    if wanted and logs:
        raise UsageError(
            f"--progress={wanted} and --log-format/--log-timestamp exclude each other: "
            "those print kaniko's log lines instead of progress"
        )
    if not wanted and not logs:
        wanted = around.get("BUILDKIT_PROGRESS") or "auto"
        if wanted not in PROGRESS:
            words = ", ".join(PROGRESS)
            raise UsageError(f"BUILDKIT_PROGRESS={wanted}: it must be one of {words}")
    mode: ProgressMode
    match wanted:
        case "":
            mode = "log"
        case "auto":
            mode = "tty" if around.is_terminal and not around.is_dumb else "plain"
        case "tty" if not around.is_terminal:
            raise UsageError("--progress=tty: standard error is not a terminal")
        case "tty" | "plain" | "json" | "quiet" | "none" as explicit:
            mode = explicit
    return DisplayOptions(
        mode=mode,
        verbosity=flags.verbosity or "info",
        log_format=flags.log_format or "color",
        log_timestamp=bool(flags.log_timestamp),
        color=around.color(),
    )


def _timings(text: str | None) -> Path | None:
    if not text:
        return None
    path = Path(text).absolute()
    if path.suffix not in {".html", ".json", ".trace"}:
        raise UsageError(f"--timings {text}: the name must end with .html, .json or .trace")
    return path


def _switch(flag: bool | None, around: Surroundings, variable: str) -> bool:
    return bool(around.boolean(variable) if flag is None else flag)


def _size(flag: int | None, around: Surroundings, variable: str) -> int | None:
    if flag is not None or not around.get(variable):
        return flag
    size = parse_size(around.get(variable))
    if size is None:
        raise UsageError(f"{variable}={around.get(variable)}: it must be a size like 20GB")
    return size


def _absolute(text: str | None) -> Path | None:
    return Path(text).absolute() if text else None
