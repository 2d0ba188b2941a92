"""The flags of `asynckaniko batch`: its own, and those of `build` that hold for every image."""

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import click

from asynckaniko.cli.build_flags import BuildFlags, build_flags
from asynckaniko.cli.flag_values import FILE, NUMBER, SWITCH, PathName, Value, one_of, repeated
from asynckaniko.cli.flags import Command, Flag
from asynckaniko.records import dataclass

_SHARED = frozenset({"git", "state_dir", "cache_mount_dir", "isolation", "pid"})
_SHARED_GROUPS = frozenset({"Registries", "What it prints"})
ENGINES = ("local", "kubernetes")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFlags:
    """The flags' values as given. None or () is not given."""

    words: tuple[str, ...] = ()
    var: tuple[str, ...] = ()
    set: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    print: bool | None = None
    list: bool | None = None
    jobs: int | None = None
    memory: str | None = None
    keep_going: bool | None = None
    fail_fast: bool | None = None
    changed_since: str | None = None
    skip_existing: bool | None = None
    resume: str | None = None
    no_push: bool | None = None
    engine: str | None = None
    render: bool | None = None
    detach: bool | None = None
    pack: int | None = None
    metadata_file: str | None = None
    junit_file: str | None = None
    plan: str | None = None
    build: BuildFlags


def read_flags(words: Sequence[str], values: dict[str, Any]) -> BatchFlags:
    """Sort what click read into the batch's own flags and those of each build."""
    own = {field.name for field in fields(BatchFlags)} - {"words", "build"}
    build = {name: value for name, value in values.items() if name not in own}
    mine = {name: value for name, value in values.items() if name in own}
    return BatchFlags(words=tuple(words), build=BuildFlags(no_push=True, **build), **mine)


def batch_flags() -> list[Flag]:
    """Make the flags in the order of the help page."""
    return [
        *_choosing(),
        *_running(),
        *_cluster(),
        *_results(),
        *(flag for flag in build_flags() if flag.name in _SHARED or flag.group in _SHARED_GROUPS),
    ]


def _choosing() -> list[Flag]:
    flag = partial(Flag, group="Which images, and how they are made")
    return [
        flag("--var", value=repeated("NAME=VALUE"), help="Set a variable of the manifest."),
        flag(
            "--set",
            value=repeated("PATTERN.FIELD[.KEY]=VALUE"),
            help="Change a field of the images that match: --set 'api*.args.V=2'.",
        ),
        flag(
            "--only",
            value=repeated("NAME"),
            help="Build these images, groups or patterns, and what they need.",
            default="the group default, else all",
        ),
        flag(
            "--changed-since",
            value=Value("REF"),
            help="Build what changed since this commit, what is built on it, and what it needs.",
        ),
        flag(
            "--skip-existing",
            value=SWITCH,
            help="Leave out images whose tags exist, made of the same input; new ones are labelled "
            "with the digest of their input.",
        ),
        flag("--resume", value=FILE, help="Go on with the batch that left this state file."),
        flag("--print", value=SWITCH, help="Print the resolved manifest and build nothing."),
        flag("--list", value=SWITCH, help="List images, groups and variables."),
    ]


def _running() -> list[Flag]:
    flag = partial(Flag, group="How it runs")
    return [
        flag(
            "--jobs", value=NUMBER, default="twice the cores, at most 16", help="Images at a time."
        ),
        flag(
            "--memory",
            value=Value("SIZE"),
            default="90% of what there is",
            help="What builds may take together, by their resources.memory.",
        ),
        flag(
            "--keep-going",
            value=SWITCH,
            default="true",
            help="After a failure build everything that does not need what failed.",
        ),
        flag("--fail-fast", value=SWITCH, help="After a failure stop everything."),
        flag("--no-push", value=SWITCH, help="Build without pushing."),
    ]


def _cluster() -> list[Flag]:
    flag = partial(Flag, group="On a cluster")
    return [
        flag("--engine", value=one_of(*ENGINES), default="local", help="Where images are built."),
        flag("--render", value=SWITCH, help="Print the Kubernetes objects as YAML, send nothing."),
        flag(
            "--detach",
            value=SWITCH,
            help="Submit and return; `asynckaniko batch attach NAME FILE` comes back to it.",
        ),
        flag(
            "--pack",
            value=NUMBER,
            default="1",
            help="Images that one Pod builds at most. For small ones: a Pod takes time to start.",
        ),
        flag("--plan", value=FILE, help="In a Pod, with run-index: the plan that was mounted."),
    ]


def _results() -> list[Flag]:
    flag = partial(Flag, group="Results")
    return [
        flag("--metadata-file", value=FILE, help="Write digests and names, as buildx bake does."),
        flag("--junit-file", value=FILE, help="Write JUnit XML, a test case for each image."),
    ]


def batch_command(callback: Any, settings: dict[str, Any]) -> click.Command:
    """Make the command."""
    return Command(
        "batch",
        callback=callback,
        params=[
            *batch_flags(),
            click.Argument(["words"], metavar="FILE", nargs=-1, type=PathName("file")),
        ],
        short_help="Build many images: a manifest, bake or compose file, or a list.",
        help="Build the images of a manifest (YAML or JSON), a docker-bake.json, a compose file or "
        "a list of Dockerfiles, here or on a Kubernetes cluster. What images have in common is "
        "done once.",
        examples=_EXAMPLES,
        options_metavar="[FLAGS]",
        **settings,
    )


_EXAMPLES = """\
asynckaniko batch images.yaml
asynckaniko batch images.yaml --only 'api*' --set 'api*.args.V=2' --jobs 8
asynckaniko batch images.yaml --changed-since main --junit-file report.xml
asynckaniko batch images.yaml --engine kubernetes --render > jobs.yaml
"""
