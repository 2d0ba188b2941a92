"""The commands. What they need beyond the standard library is imported when they run."""

import platform
from difflib import get_close_matches
from typing import Any

import click

import asynckaniko
from asynckaniko.cli.build_flags import NOT_YET, BuildFlags, build_flags
from asynckaniko.cli.flags import Command
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.errors import UsageError

_CONTEXT_SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
}


class Commands(click.Group):
    """The top-level group: it knows which words are commands, and says so in our words."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] not in {"-h", "--help", "--version"}:
            name = args[0].partition("=")[0]
            flags = {option for flag in build_flags() for option in flag.opts}
            if name in flags or name in NOT_YET:
                raise UsageError(
                    f"{name} is a flag of a command: asynckaniko build {' '.join(args)}"
                )
            raise UsageError(f"unknown flag: {name}")
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            names = self.list_commands(ctx)
            near = get_close_matches(args[0], names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(names)}"
            raise UsageError(f'unknown command "{args[0]}"; {hint}') from error


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        print_version()
        ctx.exit()


def print_version() -> None:
    machine = f"{platform.system().lower()}/{platform.machine()}"
    click.echo(
        f"asynckaniko {asynckaniko.__version__} (Python {platform.python_version()}, {machine})"
    )


def build(**values: Any) -> int:
    from asynckaniko.cli.build_command import run
    from asynckaniko.cli.options import resolve

    options = resolve(BuildFlags(**values), Surroundings.of_this_process())
    return run(options)


def main_group() -> click.Group:
    """Put the commands together."""
    commands = [
        Command(
            "build",
            callback=build,
            params=[
                *build_flags(),
                click.Argument(["context_argument"], metavar="[CONTEXT]", nargs=-1, required=False),
            ],
            help="Build an image from a Dockerfile and push or store it.",
            examples=_BUILD_EXAMPLES,
            foreign=NOT_YET,
            options_metavar="[FLAGS]",
            context_settings=_CONTEXT_SETTINGS,
        ),
        Command(
            "version",
            callback=print_version,
            help="Print the version.",
            options_metavar="",
            context_settings=_CONTEXT_SETTINGS,
        ),
    ]
    return Commands(
        "asynckaniko",
        commands=commands,
        help="Build container images from Dockerfiles, without a daemon and without privileges.",
        epilog="Exit codes: 0 done; a failed RUN's own; 2 the request is wrong; 3 a step failed; "
        "4 a registry refused or broke; 5 bytes do not match their digest; 6 this machine cannot "
        "do it; 130 and 143 interrupted; 1 a bug.",
        params=[
            click.Option(
                ["--version"],
                is_flag=True,
                expose_value=False,
                is_eager=True,
                callback=_version,
                help="Print the version.",
            )
        ],
        context_settings=_CONTEXT_SETTINGS,
        options_metavar="",
    )


_BUILD_EXAMPLES = """\
asynckaniko build . -d registry.example.com/team/app:1.4
asynckaniko build . -f docker/Dockerfile --target test --no-push
asynckaniko build . --oci-layout-path out --build-arg VERSION=1.4 --timings timings.html
asynckaniko build . -d app:dev --secret id=npmrc,src=$HOME/.npmrc --build-context lib=../lib
"""
