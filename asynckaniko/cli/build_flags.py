"""The flags of `asynckaniko build`: kaniko's names where it has one, else BuildKit's."""

from collections.abc import Callable
from functools import partial

from asynckaniko.cli import flag_groups
from asynckaniko.cli.flag_values import one_of
from asynckaniko.cli.flags import Flag
from asynckaniko.cli.registry_flags import registries
from asynckaniko.records import dataclass

CHECK_FORMATS = ("text", "json")

EXECUTOR_ONLY = dict.fromkeys(
    (
        "--cleanup",
        "--compressed-caching",
        "--force",
        "--ignore-path",
        "--ignore-var-run",
        "--image-fs-extract-retry",
        "--pre-cleanup",
        "--preserve-context",
        "--snapshot-mode",
        "--snapshotMode",
        "--whitelist-var-run",
    ),
    "only the executor has this flag of kaniko's",
)
CGROUP_FLAGS = dict.fromkeys(
    (
        *("--cgroup-parent", "--cpu-period", "--cpu-quota", "--cpu-shares", "--cpus"),
        *("--cpuset-cpus", "--cpuset-mems", "--memory", "--memory-swap"),
    ),
    "a command gets no cgroup of its own, so it cannot be limited by one; set resources.limits of"
    " the Pod, or see --ulimit",
)
FOREIGN = EXECUTOR_ONLY | CGROUP_FLAGS
"""Flags people will try here, and why they are refused: ignoring one could change the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFlags:
    """The flags' values as given. None or () is not given; an empty string means the same.

    Only `credential_helpers` differs: ("",) names none of them.
    """

    context_argument: tuple[str, ...] = ()
    context: str | None = None
    context_sub_path: str | None = None
    bucket: str | None = None
    git: tuple[str, ...] = ()
    dockerfile: str | None = None
    destination: tuple[str, ...] = ()
    build_arg: tuple[str, ...] = ()
    target: str | None = None
    no_push: bool | None = None
    dryrun: bool | None = None
    check: bool | None = None
    build_context: tuple[str, ...] = ()
    secret: tuple[str, ...] = ()
    ssh: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    annotation: tuple[str, ...] = ()
    custom_platform: str | None = None
    image_format: str | None = None
    compression: str | None = None
    compression_level: int | None = None
    force_compression: bool | None = None
    single_snapshot: bool | None = None
    reproducible: bool | None = None
    rewrite_timestamp: bool | None = None
    oci_layout_path: str | None = None
    tar_path: str | None = None
    digest_file: str | None = None
    image_name_with_digest_file: str | None = None
    image_name_tag_with_digest_file: str | None = None
    metadata_file: str | None = None
    insecure: bool | None = None
    insecure_pull: bool | None = None
    insecure_registry: tuple[str, ...] = ()
    skip_tls_verify: bool | None = None
    skip_tls_verify_pull: bool | None = None
    skip_tls_verify_registry: tuple[str, ...] = ()
    registry_mirror: tuple[str, ...] = ()
    registry_map: tuple[str, ...] = ()
    skip_default_registry_fallback: bool | None = None
    credential_helpers: tuple[str, ...] = ()
    skip_push_permission_check: bool | None = None
    push_ignore_immutable_tag_errors: bool | None = None
    push_chunk_size: int | None = None
    push_early_size: int | None = None
    push_retry: int | None = None
    image_download_retry: int | None = None
    registry_certificate: tuple[str, ...] = ()
    registry_client_cert: tuple[str, ...] = ()
    cache: bool | None = None
    cache_repo: str | None = None
    cache_dir: str | None = None
    cache_from: tuple[str, ...] = ()
    cache_to_inline: bool | None = None
    cache_ttl: float | None = None
    cache_run_layers: bool | None = None
    cache_copy_layers: bool | None = None
    no_push_cache: bool | None = None
    state_dir: str | None = None
    jobs: int | None = None
    materialize: bool | None = None
    isolation: str | None = None
    pid: str | None = None
    ulimit: tuple[str, ...] = ()
    shm_size: str | None = None
    cleanup: bool | None = None
    preserve_context: bool | None = None
    ignore_path: tuple[str, ...] = ()
    ignore_var_run: bool | None = None
    state_size: int | None = None
    mount_size: int | None = None
    cache_mount_dir: str | None = None
    progress: str | None = None
    timings: str | None = None
    verbosity: str | None = None
    log_format: str | None = None
    log_timestamp: bool | None = None


def push_flags() -> list[Flag]:
    """Make the flags of `push`: those of `build` that say where to, how, and what is printed."""
    names = {
        "destination",
        "digest_file",
        "image_name_with_digest_file",
        "image_name_tag_with_digest_file",
    }
    groups = {"Registries", "What it prints"}
    return [flag for flag in build_flags() if flag.name in names or flag.group in groups]


def check_flags() -> list[Flag]:
    """Make the flags of `check`: those of `build` that a Dockerfile's meaning depends on."""
    names = {"context", "dockerfile", "build_arg", "target", "custom_platform"}
    group = "Flags"
    shared = [flag for flag in build_flags() if flag.name in names]
    for flag in shared:
        flag.group = group
    output = Flag(
        "--format",
        group=group,
        value=one_of(*CHECK_FORMATS),
        default="text",
        help="How findings are written; json has the fields of docker buildx.",
    )
    return [*shared, output]


def doctor_flags() -> list[Flag]:
    """Make the flags of `doctor`."""
    group = "Flags"
    shared = [flag for flag in build_flags() if flag.name == "state_dir"]
    for flag in shared:
        flag.group = group
    output = Flag(
        "--output",
        "-o",
        group=group,
        value=one_of(*CHECK_FORMATS),
        default="text",
        help="How findings are written.",
    )
    return [*shared, output]


def build_flags() -> list[Flag]:
    """Make the flags in the order of the help page."""
    sections: dict[str, Callable[[flag_groups.Make], list[Flag]]] = {
        "Common": flag_groups.common,
        "What the Dockerfile can use": flag_groups.inputs,
        "The image": flag_groups.image,
        "Where it goes": flag_groups.outputs,
        "Registries": registries,
        "The layer cache": flag_groups.caching,
        "How it runs": flag_groups.running,
        "What it prints": flag_groups.display,
    }
    found = []
    for title, section in sections.items():
        found += section(partial(Flag, group=title))
    return found
