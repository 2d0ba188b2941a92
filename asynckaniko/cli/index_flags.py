"""The command `index create` and its flags."""

from collections.abc import Mapping
from typing import Any

import click

from asynckaniko.cli.build_flags import BuildFlags, push_flags
from asynckaniko.cli.flag_values import repeated
from asynckaniko.cli.flags import Command, Flag
from asynckaniko.cli.inputs import given, read_pairs
from asynckaniko.cli.surroundings import Surroundings


def index_commands(settings: Mapping[str, Any]) -> click.Group:
    """Make the group; `settings` are what all commands have in common."""
    create = Command(
        "create",
        callback=_create,
        params=[
            *_flags(),
            click.Argument(["name"], metavar="DEST"),
            click.Argument(["sources"], metavar="SOURCE...", nargs=-1, required=True),
        ],
        help="Push an image index of images that exist, one for each platform. A source is a "
        "reference, oci-layout://PATH[:TAG], or the path of an OCI layout, of a tar of one or of "
        "an archive of docker save; a path begins with ./ or /. Platforms are read from the "
        "images' configs. An index among the sources gives all its images.",
        examples="asynckaniko index create r.example.com/app:1 r.example.com/app:1-{amd64,arm64}\n"
        "asynckaniko index create r.example.com/app:1 ./amd64 ./arm64.tar\n",
        options_metavar="[FLAGS]",
        **settings,
    )
    return click.Group(
        "index",
        commands=[create],
        help="Put images for several platforms under one name.",
        options_metavar="",
        **settings,
    )


def _flags() -> list[Flag]:
    flags = push_flags()
    for flag in flags:
        if flag.name == "destination":
            flag.help = "One more name for the index."
    annotation = Flag(
        "--annotation",
        group="The index",
        value=repeated("KEY=VALUE"),
        help="Set an annotation of the index.",
    )
    return [annotation, *flags]


def _create(name: str, sources: tuple[str, ...], **values: Any) -> int:
    from asynckaniko.cli.options import resolve
    from asynckaniko.cli.push_command import run_index

    annotations = read_pairs(given(values.pop("annotation")), flag="--annotation", form="KEY=VALUE")
    names = (name, *given(values.pop("destination")))
    flags = BuildFlags(no_push=False, destination=names, **values)
    return run_index(sources, annotations, resolve(flags, Surroundings.of_this_process()))
