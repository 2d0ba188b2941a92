"""kaniko's own flags, all of them, and which of them have no effect here.

Both projects' flags are here: GoogleContainerTools/kaniko 1.24 and osscontainertools/kaniko 1.28.
"""

from collections.abc import Mapping
from typing import Any

from asynckaniko.cli.build_flags import BuildFlags, build_flags
from asynckaniko.cli.flag_groups import COMPRESSIONS
from asynckaniko.cli.flag_values import FILE, NUMBER, SWITCH, OneOf, Value, repeated
from asynckaniko.cli.flags import Flag
from asynckaniko.errors import UsageError

_GROUP = "Flags"

_SHARED = frozenset(
    {
        "annotation",
        "build_arg",
        "cache",
        "cache_dir",
        "cache_mount_dir",
        "cache_copy_layers",
        "cache_repo",
        "cache_run_layers",
        "cache_ttl",
        "custom_platform",
        "destination",
        "digest_file",
        "dockerfile",
        "dryrun",
        "image_download_retry",
        "image_format",
        "image_name_tag_with_digest_file",
        "image_name_with_digest_file",
        "insecure",
        "insecure_pull",
        "insecure_registry",
        "isolation",
        "label",
        "materialize",
        "no_push",
        "no_push_cache",
        "oci_layout_path",
        "pid",
        "push_retry",
        "registry_certificate",
        "registry_client_cert",
        "registry_map",
        "registry_mirror",
        "reproducible",
        "secret",
        "single_snapshot",
        "skip_default_registry_fallback",
        "skip_tls_verify",
        "skip_tls_verify_pull",
        "skip_tls_verify_registry",
        "tar_path",
        "verbosity",
        "log_format",
        "log_timestamp",
        "compression_level",
        "credential_helpers",
        "push_chunk_size",
        "push_early_size",
        "shm_size",
        "ulimit",
        "push_ignore_immutable_tag_errors",
        "skip_push_permission_check",
    }
)
"""Fields of BuildFlags that kaniko has under the same name and with the same meaning.

Seven are ours, `cache_mount_dir`, `isolation`, `pid`, `ulimit`, `shm_size`, `push_chunk_size` and
`push_early_size`: what they choose is not to be had otherwise.
"""

_IN_PLACE_ONLY = ("cleanup", "ignore_path", "ignore_var_run", "preserve_context")
_IN_PLACE = "the image's files are unpacked over this container's in mode in-place only"

WITHOUT_EFFECT: Mapping[str, str] = {
    "snapshot_mode": "every change of a step is seen, whatever the mode",
    "use_new_run": "every change of a step is seen anyway",
    "compressed_caching": "layers are never held in memory",
    "pre_cleanup": "mode in-place always begins with what is mounted and its own files only",
    "force": "mode in-place would delete the files of a machine",
    "kaniko_dir": "state is kept below ASYNCKANIKO_STATE_DIR",
    "image_fs_extract_retry": "a layer that arrives damaged is fetched again anyway",
    "skip_unused_stages": "stages that nothing needs are never built",
    "force_build_metadata": "metadata is always recorded",
    "azure_container_registry_config": "kaniko ignores it, too",
}
"""Accepted, because what they ask for is so or does not arise; the reason is logged at debug."""

DEPRECATED: Mapping[str, tuple[str, str]] = {
    "whitelist_var_run": ("--whitelist-var-run", "ignore_var_run"),
    "customplatform": ("--customPlatform", "custom_platform"),
    "snapshotmode": ("--snapshotMode", "snapshot_mode"),
    "tarpath": ("--tarPath", "tar_path"),
}
"""Old spellings: as written, and the parameter they set."""


def executor_flags() -> list[Flag]:
    """Make the flags of /kaniko/executor."""
    ours = {flag.name: flag for flag in build_flags()}
    shared = [_regrouped(ours[name]) for name in sorted(_SHARED)]
    return sorted([*shared, *_own_flags()], key=lambda flag: flag.opts[0])


def _regrouped(flag: Flag) -> Flag:
    flag.group = _GROUP
    # The old spellings are flags of their own here: they are warned of.
    flag.opts = [name for name in flag.opts if name == name.lower()]
    return flag


def _own_flags() -> list[Flag]:
    text = Value("TEXT")
    switches = (
        *("cleanup", "compressed-caching"),
        *("force", "force-build-metadata", "ignore-var-run"),
        *("pre-cleanup", "preserve-context"),
        *("skip-unused-stages", "use-new-run"),
        "whitelist-var-run",
    )
    texts = (
        *("context-sub-path", "customPlatform", "kaniko-dir"),
        *("snapshotMode", "tarPath", "azure-container-registry-config"),
    )
    lists = ("git", "ignore-path", "target")
    flags = [
        *(_own(f"--{name}", value=SWITCH) for name in switches),
        *(_own(f"--{name}", value=text) for name in texts),
        *(_own(f"--{name}", value=repeated("TEXT")) for name in lists),
        _own("--bucket", "-b", value=text),
        _own("--context", "-c", value=FILE),
        _own("--compression", value=Value("gzip|zstd", OneOf(*COMPRESSIONS[:2]))),
        _own("--image-fs-extract-retry", value=NUMBER),
        _own("--snapshot-mode", value=Value("full|redo|time", OneOf("full", "redo", "time"))),
    ]
    for flag in flags:
        flag.hidden = flag.name in {*DEPRECATED, "bucket", "azure_container_registry_config"}
    return flags


def _own(*names: str, value: Value) -> Flag:
    name = names[0].removeprefix("--").replace("-", "_").lower()
    if name in WITHOUT_EFFECT:
        help = f"Without effect: {WITHOUT_EFFECT[name]}."
    else:
        help = _HELP.get(name, "")
    return Flag(*names, group=_GROUP, value=value, help=help)


_HELP = {
    "bucket": "The same as --context gs://BUCKET.",
    "compression": "Compression of new layers.",
    "context": "The build context; /workspace/ by default.",
    "context_sub_path": "Directory within the context.",
    "cleanup": f"Empty the root filesystem at the end: {_IN_PLACE}.",
    "ignore_path": "Leave this path, or what matches this glob, alone; with --isolation=in-place.",
    "ignore_var_run": "Leave /var/run out of layers, in mode in-place; the default.",
    "preserve_context": "With --cleanup, bring back what was in / before the build.",
    "git": "How git contexts are fetched: branch=NAME, depth=N, single-branch, ...",
    "target": "Build this stage.",
}


def read_flags(values: Mapping[str, Any]) -> BuildFlags:
    """Turn kaniko's flags into ours.

    Raises:
        UsageError: more than one target.
    """
    found = dict(values)
    for old, (_, name) in DEPRECATED.items():
        value = found.pop(old)
        found[name] = found[name] if value is None or value == "" else value
    targets = [target for value in found["target"] for target in value.split(",") if target]
    if len(targets) > 1:
        raise UsageError("--target: only one stage can be built at a time")
    return BuildFlags(
        context=found["context"] or "/workspace/",
        context_sub_path=(found["context_sub_path"] or "").strip("/"),
        bucket=found["bucket"],
        # kaniko clones the whole history unless it is told otherwise, and builds rely on it.
        git=("depth=0", *found["git"]),
        target=targets[0] if targets else None,
        compression=found["compression"],
        **{name: found[name] for name in (*_SHARED, *_IN_PLACE_ONLY)},
    )
