"""The commands that look after caches: `warm`, `cache list` and `cache prune`."""

import sys
from collections.abc import Mapping
from typing import Any

import click

from asynckaniko.cli.build_flags import build_flags
from asynckaniko.cli.flag_values import DURATION, SIZE, SWITCH, one_of
from asynckaniko.cli.flags import Command, Flag
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.cli.warm_flags import warm_flags
from asynckaniko.errors import UsageError

_GROUP = "Flags"
_PRUNING = ("max_size", "max_mount_size", "older_than", "all")


def warm_command(settings: Mapping[str, Any]) -> click.Command:
    """Make the command; `settings` are what all commands have in common."""
    return Command(
        "warm",
        callback=_warm,
        params=[*warm_flags(), click.Argument(["images"], metavar="[REF]...", nargs=-1)],
        short_help="Bring base images into a directory for --cache-dir.",
        help="Bring base images into a directory, from which builds take them with --cache-dir. "
        "The exit status is not 0 if an image cannot be had; the others are there all the same.",
        examples="asynckaniko warm debian:12 python:3.12-slim --cache-dir /cache\n"
        "asynckaniko warm -f Dockerfile --cache-dir /cache\n",
        options_metavar="[FLAGS]",
        **settings,
    )


def cache_commands(settings: Mapping[str, Any]) -> click.Group:
    """Make the group; `settings` are what all commands have in common."""
    return click.Group(
        "cache",
        commands=[
            Command(
                "list",
                callback=_list,
                params=_list_flags(),
                short_help="List what is kept, what was used last first.",
                help="List what the state directory keeps for later builds, what was used last "
                "first.",
                options_metavar="[FLAGS]",
                **settings,
            ),
            Command(
                "prune",
                callback=_prune,
                params=_prune_flags(),
                short_help="Remove what was not used for longest.",
                help="Remove what was not used for longest, and first what nothing refers to any "
                "more. What a running build may be using stays.",
                examples="asynckaniko cache prune --max-size 20GB --max-mount-size 5GB\n"
                "asynckaniko cache prune --older-than 168h\n",
                options_metavar="[FLAGS]",
                **settings,
            ),
        ],
        short_help="Look after the layers that are kept for later builds.",
        help="Look after the layers that the state directory keeps for later builds.",
        options_metavar="",
        **settings,
    )


def _places() -> list[Flag]:
    flags = [flag for flag in build_flags() if flag.name in {"state_dir", "cache_mount_dir"}]
    for flag in flags:
        flag.group = _GROUP
        if flag.name == "cache_mount_dir":
            flag.help = "Look at the caches of mounts there, not at those in the state directory."
    return flags


def _list_flags() -> list[Flag]:
    return [
        *_places(),
        Flag(
            "--format",
            group=_GROUP,
            value=one_of("text", "json"),
            default="text",
            help="How the list is written; json has sizes in bytes and times in POSIX seconds.",
        ),
    ]


def _prune_flags() -> list[Flag]:
    return [
        *_places(),
        Flag(
            "--max-size",
            group=_GROUP,
            value=SIZE,
            help="Remove layers until the rest takes no more.",
        ),
        Flag(
            "--max-mount-size",
            group=_GROUP,
            value=SIZE,
            help="The same for the caches of RUN --mount=type=cache.",
        ),
        Flag(
            "--older-than",
            group=_GROUP,
            value=DURATION,
            help="Remove everything that was not used for this long.",
        ),
        Flag("--all", group=_GROUP, value=SWITCH, help="Remove everything."),
    ]


def _warm(images: tuple[str, ...], **values: Any) -> int:
    from asynckaniko.cli.warm_command import WarmCommand
    from asynckaniko.cli.warm_options import read_warm

    options = read_warm(images, values, Surroundings.of_this_process())
    return WarmCommand(options, stdout=sys.stdout, stderr=sys.stderr).run()


def _list(state_dir: str | None, cache_mount_dir: str | None, format: str | None) -> int:
    from asynckaniko.cli.cache_command import CacheCommand

    around = Surroundings.of_this_process()
    command = CacheCommand(state_dir, cache_mount_dir, around, stdout=sys.stdout)
    return command.list(as_json=format == "json")


def _prune(state_dir: str | None, cache_mount_dir: str | None, **values: Any) -> int:
    from asynckaniko.cli.cache_command import CacheCommand

    if all(values[name] is None for name in _PRUNING):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in _PRUNING)
        raise UsageError(f"nothing says what is to be removed: give one of {names}")
    around = Surroundings.of_this_process()
    command = CacheCommand(state_dir, cache_mount_dir, around, stdout=sys.stdout)
    return command.prune(
        size=values["max_size"],
        mount_size=values["max_mount_size"],
        unused_seconds=values["older_than"],
        everything=bool(values["all"]),
    )
