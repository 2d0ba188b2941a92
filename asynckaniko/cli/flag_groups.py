"""The flags of `asynckaniko build` in the groups of its help page."""

from collections.abc import Callable
from typing import TypeAlias

from asynckaniko.cli.flag_values import (
    DIRECTORY,
    DURATION,
    FILE,
    NUMBER,
    SIZE,
    SWITCH,
    OneOf,
    Value,
    one_of,
    repeated,
)
from asynckaniko.cli.flags import Flag
from asynckaniko.cli.isolation_options import isolation_flags

PROGRESS = ("auto", "tty", "plain", "json", "quiet", "none")
VERBOSITY = ("trace", "debug", "info", "warn", "warning", "error", "fatal", "panic")
LOG_FORMATS = ("text", "color", "json")
COMPRESSIONS = ("gzip", "zstd", "none")
IMAGE_FORMATS = ("oci", "docker")

Make: TypeAlias = Callable[..., Flag]
"""Flag with the group filled in."""


def common(flag: Make) -> list[Flag]:
    return [
        flag(
            "--context",
            "-c",
            value=DIRECTORY,
            default=".",
            help="What COPY and ADD read, as CONTEXT: a directory, tar://FILE, tar://stdin, "
            "an archive's URL (https, http, s3, gs) or a git repository's.",
        ),
        flag(
            "--context-sub-path",
            value=DIRECTORY,
            help="Use this directory of the context as the context.",
        ),
        flag(
            "--dockerfile",
            "-f",
            value=FILE,
            default="Dockerfile",
            help="The Dockerfile: the path as given, else below the context; or a URL.",
        ),
        flag(
            "--destination",
            "-d",
            value=repeated("REF"),
            help="Push the image to registry/repository[:tag].",
        ),
        flag(
            "--build-arg",
            value=repeated("KEY[=VALUE]"),
            help="Set an ARG; KEY alone takes the value of the environment variable KEY.",
        ),
        flag(
            "--target",
            value=Value("STAGE"),
            default="the last stage",
            help="Build this stage and what it needs.",
        ),
        flag(
            "--no-push",
            value=SWITCH,
            variable="KANIKO_NO_PUSH",
            help="Build without pushing, whatever --destination says.",
        ),
        flag(
            "--dryrun",
            value=SWITCH,
            help="Print what would be built and pushed, and what a cache has; do none of it.",
        ),
        flag("--check", value=SWITCH, help="Lint the Dockerfile instead of building it."),
    ]


def inputs(flag: Make) -> list[Flag]:
    return [
        flag(
            "--build-context",
            value=repeated("NAME=SOURCE"),
            help="Name a context (all forms of --context), oci-layout://PATH[:TAG] or "
            "docker-image://REF for FROM, COPY --from and RUN --mount.",
        ),
        flag(
            "--git",
            value=repeated("KEY=VALUE"),
            help="How git contexts are fetched: branch=NAME, depth=N (0: all history; default 1), "
            "single-branch, recurse-submodules, insecure-skip-tls.",
        ),
        flag(
            "--bucket",
            "-b",
            value=Value("BUCKET"),
            help="The same as --context gs://BUCKET, for pipelines that still have it.",
        ),
        flag(
            "--secret",
            value=repeated("id=ID[,src=FILE|,env=VAR]"),
            help="Offer a file or variable to RUN --mount=type=secret.",
        ),
        flag(
            "--ssh",
            value=repeated("default|ID[=SOCKET]"),
            help="Offer an ssh agent to RUN --mount=type=ssh; the one of SSH_AUTH_SOCK unless "
            "a socket is given.",
        ),
    ]


def image(flag: Make) -> list[Flag]:
    return [
        flag("--label", value=repeated("KEY=VALUE"), help="Add a label; it wins over LABEL."),
        flag(
            "--annotation",
            value=repeated("KEY=VALUE"),
            help="Add an annotation to the image's manifest; OCI format only.",
        ),
        flag(
            "--custom-platform",
            "--customPlatform",
            value=Value("OS/ARCH[/VARIANT]"),
            default="this machine's",
            help="Platform of base images and of the result; nothing is emulated.",
        ),
        flag(
            "--image-format",
            value=one_of(*IMAGE_FORMATS),
            default="oci",
            help="Media types of manifest, config and layers.",
        ),
        flag(
            "--compression",
            value=one_of(*COMPRESSIONS),
            default="gzip",
            help="Compression of new layers.",
        ),
        flag(
            "--compression-level",
            value=NUMBER,
            default="-1, the compression's own",
            help="Level for --compression.",
        ),
        flag(
            "--force-compression",
            value=SWITCH,
            help="Give layers of the base the compression of new ones.",
        ),
        flag(
            "--single-snapshot",
            value=SWITCH,
            help="Make one layer of all steps of a stage instead of one of each.",
        ),
        flag(
            "--reproducible",
            value=SWITCH,
            help="The same input gives the same bytes: all times are SOURCE_DATE_EPOCH or 0.",
        ),
        flag(
            "--rewrite-timestamp",
            value=SWITCH,
            help="Clamp the times of files in new layers to SOURCE_DATE_EPOCH.",
        ),
    ]


def outputs(flag: Make) -> list[Flag]:
    return [
        flag("--oci-layout-path", value=DIRECTORY, help="Write an OCI image layout."),
        flag("--tar-path", "--tarPath", value=FILE, help="Write an archive for docker load."),
        flag(
            "--digest-file",
            value=FILE,
            help="Write the manifest's digest, without a line end.",
        ),
        flag(
            "--image-name-with-digest-file",
            value=FILE,
            help="Write repository@digest for each destination, one a line.",
        ),
        flag(
            "--image-name-tag-with-digest-file",
            value=FILE,
            help="Write repository:tag@digest for each destination, one a line.",
        ),
        flag(
            "--metadata-file",
            value=FILE,
            help="Write digests, size and names as JSON, with the keys of docker buildx.",
        ),
    ]


def caching(flag: Make) -> list[Flag]:
    return [
        flag(
            "--cache",
            value=SWITCH,
            help="Use layers of earlier builds, and keep those of this one.",
        ),
        flag(
            "--cache-repo",
            value=Value("REPOSITORY|oci:PATH"),
            default="cache below the first destination",
            help="Share layers through this repository, or OCI layouts called PATH:KEY; without "
            "either only the state directory is used.",
        ),
        flag(
            "--cache-from",
            value=repeated("REF"),
            help="Use the layers of this image, if it was built with --cache-to-inline; with or "
            "without --cache.",
        ),
        flag(
            "--cache-to-inline",
            value=SWITCH,
            help="Put the keys of the image's layers into its config, for --cache-from; the build "
            "argument BUILDKIT_INLINE_CACHE=1 does the same.",
        ),
        flag(
            "--cache-dir",
            value=DIRECTORY,
            help="Take base images from this directory, where `asynckaniko warm` has put them.",
        ),
        flag(
            "--cache-ttl",
            value=DURATION,
            default="336h",
            help="Use no layer, and no image of --cache-dir, that is older.",
        ),
        flag(
            "--cache-run-layers",
            value=SWITCH,
            default="true",
            help="Cache RUN and WORKDIR.",
        ),
        flag("--cache-copy-layers", value=SWITCH, default="false", help="Cache COPY and ADD."),
        flag("--no-push-cache", value=SWITCH, help="Put no layers into the repository."),
    ]


def running(flag: Make) -> list[Flag]:
    return [
        flag(
            "--state-dir",
            value=DIRECTORY,
            variable="ASYNCKANIKO_STATE_DIR",
            default="/var/lib/asynckaniko, else below ~/.local/state",
            help="Where layers are kept and builds work; not on an overlay filesystem.",
        ),
        flag(
            "--state-size",
            value=SIZE,
            default="no limit",
            variable="ASYNCKANIKO_STATE_SIZE",
            help="After the build, remove layers that were not used for long until those of the "
            "state directory take no more.",
        ),
        flag(
            "--mount-size",
            value=SIZE,
            default="no limit",
            variable="ASYNCKANIKO_MOUNT_SIZE",
            help="The same for the caches of RUN --mount=type=cache.",
        ),
        flag(
            "--cache-mount-dir",
            value=DIRECTORY,
            default="in the state directory",
            variable="ASYNCKANIKO_CACHE_MOUNT_DIR",
            help="Keep the caches of RUN --mount=type=cache here, where they outlive the state "
            "directory; several builds may share it.",
        ),
        flag("--jobs", value=NUMBER, default="all that can", help="Stages that run at one time."),
        flag(
            "--materialize",
            value=SWITCH,
            help="Unpack base images even where no step needs their files.",
        ),
        *isolation_flags(flag),
    ]


def display(flag: Make) -> list[Flag]:
    return [
        flag(
            "--progress",
            value=Value("MODE", OneOf(*PROGRESS)),
            default="auto",
            variable="BUILDKIT_PROGRESS",
            help="How progress is shown on standard error: tty (live), plain, json, quiet (result "
            "and warnings) or none; auto is tty on a terminal, else plain.",
        ),
        flag(
            "--timings",
            value=FILE,
            help="Write where the time went: a page (.html), data (.json) or a trace for "
            "Perfetto (.trace).",
        ),
        flag(
            "--verbosity",
            "-v",
            value=Value("LEVEL", OneOf(*VERBOSITY)),
            default="info",
            help="trace, debug, info, warn, error, fatal or panic.",
        ),
        flag(
            "--log-format",
            value=one_of(*LOG_FORMATS),
            help="Print kaniko's log lines in this format instead of progress.",
        ),
        flag(
            "--log-timestamp",
            value=SWITCH,
            help="Print kaniko's log lines, with the time in each.",
        ),
    ]
