"""The flags of `asynckaniko warm` and of kaniko's warmer."""

from asynckaniko.cli.build_flags import build_flags
from asynckaniko.cli.flag_values import DIRECTORY, DURATION, FILE, SWITCH, Value, repeated
from asynckaniko.cli.flags import Flag

_GROUP = "What is warmed"
_NO_REGISTRY = frozenset(
    {
        "insecure",
        "skip_tls_verify",
        "skip_push_permission_check",
        "push_ignore_immutable_tag_errors",
        "push_chunk_size",
        "push_early_size",
        "push_retry",
    }
)
"""Flags about registries that only pushes have."""


def warm_flags() -> list[Flag]:
    """Make the flags of `asynckaniko warm`."""
    known = {flag.name: flag for flag in build_flags()}
    shared = [
        flag
        for flag in known.values()
        if (flag.group == "Registries" and flag.name not in _NO_REGISTRY)
        or (flag.group == "What it prints" and flag.name != "timings")
    ]
    for name in ("build_arg", "custom_platform"):
        known[name].group = _GROUP
    ttl = "Check the content of images that are older, and let their time begin again."
    return [
        _dockerfile_flag(_GROUP, "-f"),
        known["build_arg"],
        known["custom_platform"],
        _directory_flag(_GROUP),
        _force_flag(_GROUP),
        Flag("--cache-ttl", group=_GROUP, value=DURATION, default="336h", help=ttl),
        *shared,
    ]


def kaniko_warmer_flags() -> list[Flag]:
    """Make the flags of /kaniko/warmer: kaniko's names and letters, no other."""
    group = "Flags"
    known = {flag.name: flag for flag in build_flags()}
    shared = (
        *("build_arg", "insecure_pull", "insecure_registry", "log_format", "log_timestamp"),
        *("registry_certificate", "registry_client_cert", "registry_map", "registry_mirror"),
        *("skip_default_registry_fallback", "skip_tls_verify_pull", "skip_tls_verify_registry"),
        "verbosity",
    )
    for name in shared:
        known[name].group = group
    known["registry_mirror"].variable = ""
    flags = [
        Flag("--image", "-i", group=group, value=repeated("REF"), help="Warm this image."),
        _directory_flag(group, "-c"),
        _dockerfile_flag(group, "-d"),
        _force_flag(group, "-f"),
        Flag(
            "--cache-ttl",
            group=group,
            value=DURATION,
            default="336h",
            help="Check the content of images that are older, and let their time begin again.",
        ),
        Flag(
            "--customPlatform",
            group=group,
            value=Value("OS/ARCH[/VARIANT]"),
            default="this machine's",
            help="Platform of the images.",
        ),
        *(known[name] for name in shared),
    ]
    return sorted(flags, key=lambda flag: flag.opts[0])


def _directory_flag(group: str, *names: str) -> Flag:
    return Flag(
        "--cache-dir",
        *names,
        group=group,
        value=DIRECTORY,
        default="/cache",
        help="Where base images are kept, as OCI layouts named by digest.",
    )


def _dockerfile_flag(group: str, name: str) -> Flag:
    return Flag(
        "--dockerfile",
        name,
        group=group,
        value=FILE,
        help="Warm the images of this Dockerfile's FROM lines; a path or a URL.",
    )


def _force_flag(group: str, *names: str) -> Flag:
    return Flag("--force", *names, group=group, value=SWITCH, help="Download what is there, too.")
