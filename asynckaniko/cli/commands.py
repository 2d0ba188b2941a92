"""The commands. What they need beyond the standard library is imported when they run."""

import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

import asynckaniko
from asynckaniko.cli.build_flags import (
    FOREIGN,
    BuildFlags,
    build_flags,
    check_flags,
    doctor_flags,
    push_flags,
)
from asynckaniko.cli.flag_values import SWITCH, PathName, Value
from asynckaniko.cli.flags import Command, Flag
from asynckaniko.cli.loading import loading
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.errors import UsageError

_CONTEXT_SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
}
_SHARED: dict[str, Any] = {"context_settings": _CONTEXT_SETTINGS}
_FLAGS: dict[str, Any] = {"options_metavar": "[FLAGS]", **_SHARED}
_BARE: dict[str, Any] = {"options_metavar": "", **_SHARED}

PROGRAM = "asynckaniko"
COMPLETE_VARIABLE = "_ASYNCKANIKO_COMPLETE"
_SHELLS = ("bash", "zsh", "fish")


class Commands(click.Group):
    """The top-level group: it knows which words are commands, and says so in our words.

    A command is made when it is asked for: the others' flags, and the modules that hold them, are
    of no use to it.
    """

    def __init__(self, makers: Mapping[str, Callable[[], click.Command]], **settings: Any) -> None:
        super().__init__(PROGRAM, **settings)
        self._makers = makers

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._makers)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self._makers and cmd_name not in self.commands:
            self.add_command(self._makers[cmd_name]())
        return self.commands.get(cmd_name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] not in {"-h", "--help", "--version"}:
            name = args[0].partition("=")[0]
            flags = {option for flag in build_flags() for option in flag.opts}
            if name in flags or name in FOREIGN:
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
            from difflib import get_close_matches

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
    flags = BuildFlags(**values)
    if flags.check:
        return _check(flags, "text")
    with loading():
        from asynckaniko.cli.build_command import run
        from asynckaniko.cli.options import resolve

    return run(resolve(flags, Surroundings.of_this_process(), builds_one=True))


def batch(words: tuple[str, ...], **values: Any) -> int:
    with loading():
        from asynckaniko.cli.batch import run
        from asynckaniko.cli.batch_flags import read_flags

    return run(read_flags(words, values), Surroundings.of_this_process())


def check(**values: Any) -> int:
    form = values.pop("format") or "text"
    return _check(BuildFlags(**values), form)


def _check(flags: BuildFlags, form: str) -> int:
    from asynckaniko.cli.check_command import CheckedFile
    from asynckaniko.cli.options import resolve

    around = Surroundings.of_this_process()
    options = resolve(replace(flags, no_push=True), around)
    checked = CheckedFile.of(options.request, options.settings.limits)
    color = around.color() and sys.stdout.isatty()
    sys.stdout.write(checked.json() if form == "json" else checked.text(color=color))
    return checked.exit_code


def push(source: str, **values: Any) -> int:
    with loading():
        from asynckaniko.cli.options import resolve
        from asynckaniko.cli.push_command import run

    flags = BuildFlags(no_push=False, **values)
    if not any(flags.destination):
        raise UsageError("the image would go nowhere: give --destination")
    return run(Path(source), resolve(flags, Surroundings.of_this_process()))


def doctor(state_dir: str | None, output: str | None) -> int:
    from asynckaniko.cli.doctor_command import run

    around = Surroundings.of_this_process()
    named = state_dir or around.get("ASYNCKANIKO_STATE_DIR")
    directory = Path(named).absolute() if named else around.state_dir()
    return run(directory, form=output or "text", stdout=sys.stdout)


def login(registry: str, username: str | None, password: str | None, password_stdin: bool) -> None:
    from asynckaniko.cli.login_command import read_password, store_credentials

    if not username:
        raise UsageError("--username is needed")
    if password:
        click.echo("warning: --password shows in process lists; use --password-stdin", err=True)
    secret = read_password(
        password or "", from_stdin=bool(password_stdin), read_stdin=sys.stdin.read
    )
    place = store_credentials(registry, username, secret, Surroundings.of_this_process())
    click.echo(f"credentials for {registry} are kept in {place}")


def completion(shell: str) -> None:
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise UsageError(f'no completion for "{shell}": it must be one of {", ".join(_SHELLS)}')
    click.echo(kind(main_group(), {}, PROGRAM, COMPLETE_VARIABLE).source())


def _context_argument() -> click.Argument:
    return click.Argument(
        ["context_argument"],
        metavar="[CONTEXT]",
        nargs=-1,
        required=False,
        type=PathName("dir"),
    )


def _login_flags() -> list[Flag]:
    group = "Flags"
    return [
        Flag("--username", "-u", group=group, value=Value("NAME"), help="Who signs in."),
        Flag("--password-stdin", group=group, value=SWITCH, help="Read the password from stdin."),
        Flag(
            "--password",
            "-p",
            group=group,
            value=Value("TEXT"),
            help="The password itself; others can see it in process lists.",
        ),
    ]


def main_group() -> click.Group:
    """Put the commands together."""
    version = click.Option(
        ["--version"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_version,
        help="Print the version.",
    )
    return Commands(
        _MAKERS,
        help="Build container images from Dockerfiles, without a daemon and without privileges.",
        epilog="Exit codes: 0 done; a failed RUN's own; 2 the request is wrong; 3 a step failed; "
        "4 a registry refused or broke; 5 bytes do not match their digest; 6 this machine cannot "
        "do it; 130 and 143 interrupted; 1 a bug.",
        params=[version],
        context_settings=_CONTEXT_SETTINGS,
        options_metavar="",
    )


def _build_command() -> click.Command:
    return Command(
        "build",
        callback=build,
        params=[*build_flags(), _context_argument()],
        help="Build an image from a Dockerfile and push or store it.",
        examples=_BUILD_EXAMPLES,
        foreign=FOREIGN,
        **_FLAGS,
    )


def _batch_command() -> click.Command:
    from asynckaniko.cli.batch_flags import batch_command

    return batch_command(batch, _SHARED)


def _check_command() -> click.Command:
    return Command(
        "check",
        callback=check,
        params=[*check_flags(), _context_argument()],
        help="Lint the Dockerfile by BuildKit's rules. The exit status is 2 if anything is "
        "found. `# check=skip=RULE` and `# check=error=true` in the file are honoured.",
        examples=_CHECK_EXAMPLES,
        **_FLAGS,
    )


def _push_command() -> click.Command:
    return Command(
        "push",
        callback=push,
        short_help="Push an image that exists: an OCI layout or an archive.",
        params=[*push_flags(), click.Argument(["source"], metavar="PATH", type=PathName("file"))],
        help="Push an image that exists: an OCI layout directory, a tar of one, or the archive of "
        "docker save. It must hold one image, which is sent as it is.",
        examples="asynckaniko push out -d registry.example.com/team/app:1.4\n",
        **_FLAGS,
    )


def _index_command() -> click.Command:
    from asynckaniko.cli.index_flags import index_commands

    return index_commands(_SHARED)


def _warm_command() -> click.Command:
    from asynckaniko.cli.cache_flags import warm_command

    return warm_command(_SHARED)


def _cache_command() -> click.Command:
    from asynckaniko.cli.cache_flags import cache_commands

    return cache_commands(_SHARED)


def _doctor_command() -> click.Command:
    return Command(
        "doctor",
        callback=doctor,
        short_help="Try in which ways RUN works here, and say what would allow more.",
        params=doctor_flags(),
        help="Try in which ways RUN can be kept from this machine here, and say what would allow "
        "more. The exit status is 6 if there is none.",
        examples="asynckaniko doctor --state-dir /var/lib/asynckaniko\n",
        **_FLAGS,
    )


def _login_command() -> click.Command:
    return Command(
        "login",
        callback=login,
        short_help="Keep credentials for a registry in docker's config file.",
        params=[*_login_flags(), click.Argument(["registry"])],
        help="Keep credentials for a registry in docker's config file, or with its helper.",
        examples="asynckaniko login registry.example.com -u ci --password-stdin < token\n",
        **_FLAGS,
    )


def _completion_command() -> click.Command:
    return Command(
        "completion",
        callback=completion,
        params=[click.Argument(["shell"], metavar="|".join(_SHELLS))],
        help="Print a script that completes commands and flags.",
        examples='eval "$(asynckaniko completion bash)"\n',
        **_BARE,
    )


def _version_command() -> click.Command:
    return Command("version", callback=print_version, help="Print the version.", **_BARE)


_BUILD_EXAMPLES = """\
asynckaniko build . -d registry.example.com/team/app:1.4
asynckaniko build . -f docker/Dockerfile --target test --no-push
asynckaniko build . --oci-layout-path out --timings timings.html
asynckaniko build . -d app:dev --secret id=npmrc,src=$HOME/.npmrc
asynckaniko build . -d app:dev --build-context lib=../lib --build-arg V=2
"""

_CHECK_EXAMPLES = """\
asynckaniko check .
asynckaniko check . -f docker/Dockerfile --format json
"""

_MAKERS: Mapping[str, Callable[[], click.Command]] = {
    "build": _build_command,
    "batch": _batch_command,
    "check": _check_command,
    "push": _push_command,
    "index": _index_command,
    "warm": _warm_command,
    "cache": _cache_command,
    "doctor": _doctor_command,
    "login": _login_command,
    "completion": _completion_command,
    "version": _version_command,
}
