"""A logical line to a typed instruction: flags, number of arguments, what each may be.

BuildKit's frontend/dockerfile/instructions is the model, with its messages: people search for
them. Errors here have no span: the parser adds it.
"""

import re
from collections.abc import Callable

from asynckaniko.dockerfile.arguments import Arguments
from asynckaniko.dockerfile.blanks import SPACES
from asynckaniko.dockerfile.flags import Flags
from asynckaniko.dockerfile.heredoc import read_opening, with_bodies
from asynckaniko.dockerfile.instructions import (
    Add,
    Arg,
    Cmd,
    Command,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Heredoc,
    KeyValue,
    Label,
    Maintainer,
    OnBuild,
    Run,
    Shell,
    StageInstruction,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from asynckaniko.dockerfile.lexer import LogicalLine
from asynckaniko.dockerfile.run_mounts import mount_source
from asynckaniko.dockerfile.statements import (
    Statement,
    array_or_blank_separated,
    blank_separated,
    json_array,
    pairs,
    quoted_words,
    split_statement,
)
from asynckaniko.dockerfile.values import parse_duration
from asynckaniko.dockerfile.wording import hint, shown
from asynckaniko.errors import DockerfileError

_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_ONBUILD = re.compile(rf"[{SPACES}]*onbuild[{SPACES}]*", re.IGNORECASE)
_RETRIES = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_MILLISECOND = 10**6
_MOST_RETRIES = (1 << 31) - 1


def interpret(logical: LogicalLine, escape: str) -> From | StageInstruction:
    """Make the instruction that a logical line is.

    Raises:
        DockerfileError: unknown instruction or flag, arguments that are missing or wrong.
    """
    statement = split_statement(logical.text, escape)
    keyword = statement.keyword.upper()
    make = _MAKERS.get(keyword)
    if make is None:
        near = hint(statement.keyword, _MAKERS, ignore_case=True)
        raise DockerfileError(f"unknown instruction: {shown(statement.keyword)}{near}")
    return make(Arguments(keyword, statement.arguments, statement.flags, logical, escape))


def _from(line: Arguments) -> From:
    words = blank_separated(line.arguments)
    name = ""
    if len(words) == 3 and words[1].lower() == "as":
        name = words[2]
        if not _STAGE_NAME.fullmatch(name.lower()):
            raise DockerfileError(
                f"invalid name for build stage: {shown(name)!r}, name can't start with a number or"
                " contain symbols"
            )
    elif len(words) != 1:
        raise DockerfileError("FROM requires either one or three arguments")
    flags = line.flags()
    return From(
        image=words[0],
        platform=flags.text("platform"),
        name=name.lower(),
        name_as_written=name,
        **line.common,
    )


def _arg(line: Arguments) -> Arg:
    line.flags()
    words = line.at_least_one(quoted_words(line.arguments, line.escape))
    found = []
    for word in words:
        key, equals, value = word.partition("=")
        if not key:
            raise DockerfileError("ARG names can not be blank")
        found.append(KeyValue(key, value if equals else None))
    return Arg(pairs=tuple(found), **line.common)


def _key_values(line: Arguments) -> tuple[KeyValue, ...]:
    found = pairs(line.keyword, line.arguments, line.escape)
    line.flags()
    if not found:
        raise DockerfileError(f"{line.keyword} requires at least one argument")
    if not all(name for name, _, _ in found):
        raise DockerfileError(f"{line.keyword} names can not be blank")
    return tuple(KeyValue(name, value, legacy) for name, value, legacy in found)


def _command(line: Arguments) -> Command:
    array = json_array(line.arguments)
    if array is None:
        return Command(shell=line.arguments)
    return Command(argv=tuple(array), is_exec=True)


def _run(line: Arguments) -> Run:
    flags = line.flags()
    if line.array() == []:
        raise DockerfileError("RUN requires at least one argument")
    network, security = flags.text("network"), flags.text("security")
    if network not in ("", "default", "none", "host"):
        raise DockerfileError(
            f"invalid network mode {shown(network)!r}{hint(network, ('default', 'none', 'host'))}"
        )
    if security not in ("", "sandbox", "insecure"):
        raise DockerfileError(
            f"security {shown(security)!r} is not valid{hint(security, ('sandbox', 'insecure'))}"
        )
    mounts = flags.list("mount")
    for mount in mounts:
        mount_source(mount)
    return Run(
        command=_command(line),
        heredocs=line.logical.heredocs,
        mounts=mounts,
        network=network,
        security=security,
        devices=flags.list("device"),
        **line.common,
    )


def _sources(line: Arguments) -> tuple[tuple[str, ...], tuple[Heredoc, ...], str]:
    """Split sources, heredocs among them, and destination."""
    words = line.array()
    is_json = words is not None
    words = blank_separated(line.arguments) if words is None else words
    if len(words) < 2:
        raise DockerfileError(
            f"{line.keyword} requires at least two arguments, but only one was provided."
            " Destination could not be determined"
        )
    *sources, destination = words
    if is_json:
        return tuple(sources), (), destination
    if _opens(destination):
        raise DockerfileError(f"{line.keyword} cannot accept a heredoc as a destination")
    bodies = {heredoc.name: heredoc for heredoc in line.logical.heredocs}
    names = [name for source in sources if (name := _opens(source))]
    if len(names) != len(line.logical.heredocs) or not bodies.keys() >= set(names):
        raise DockerfileError(
            f"{line.keyword}: a heredoc must be one word without blanks, with no quote open"
        )
    plain = tuple(source for source in sources if not _opens(source))
    return plain, tuple(bodies[name] for name in names), destination


def _opens(word: str) -> str:
    """Return the name of the heredoc that a word opens, empty if it opens none."""
    if "<<" not in word:
        return ""
    try:
        opening = read_opening(word)
    except DockerfileError:
        return ""
    return opening.name if opening else ""


def _copy(line: Arguments) -> Copy:
    sources, heredocs, destination = _sources(line)
    flags = line.flags()
    return Copy(
        sources=sources,
        destination=destination,
        heredocs=heredocs,
        from_=flags.text("from"),
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.switch("link"),
        parents=flags.switch("parents"),
        excludes=flags.list("exclude"),
        **line.common,
    )


def _add(line: Arguments) -> Add:
    sources, heredocs, destination = _sources(line)
    flags = line.flags()
    return Add(
        sources=sources,
        destination=destination,
        heredocs=heredocs,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.switch("link"),
        excludes=flags.list("exclude"),
        checksum=flags.text("checksum"),
        keep_git_dir=flags.switches.get("keep-git-dir"),
        unpack=flags.switches.get("unpack"),
        **line.common,
    )


def _volume(line: Arguments) -> Volume:
    words = line.array()
    words = line.at_least_one(blank_separated(line.arguments) if words is None else words)
    line.flags()
    paths = tuple(word.strip(SPACES) for word in words)
    if not all(paths):
        raise DockerfileError("VOLUME specified can not be an empty string")
    return Volume(paths=paths, **line.common)


def _expose(line: Arguments) -> Expose:
    words = line.at_least_one(blank_separated(line.arguments))
    line.flags()
    return Expose(ports=tuple(sorted(words)), **line.common)


def _cmd(line: Arguments) -> Cmd:
    line.flags()
    return Cmd(command=_command(line), **line.common)


def _entrypoint(line: Arguments) -> Entrypoint:
    line.flags()
    return Entrypoint(command=_command(line), **line.common)


def _shell(line: Arguments) -> Shell:
    line.flags()
    array = line.array()
    if array is None and line.arguments:
        raise DockerfileError("SHELL requires the arguments to be in JSON form")
    return Shell(argv=tuple(line.at_least_one(array or [])), **line.common)


def _healthcheck(line: Arguments) -> Healthcheck:
    first = re.split(f"[{SPACES}]+", line.arguments, maxsplit=1)
    kind, rest = first[0].upper(), "".join(first[1:])
    line.at_least_one([kind] if kind else [])
    if kind == "NONE":
        if rest:
            raise DockerfileError("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(test=("NONE",), **line.common)
    array = json_array(rest)
    flags = line.flags()
    if kind != "CMD":
        raise DockerfileError(f"Unknown type {shown(kind)!r} in HEALTHCHECK (try CMD)")
    if not rest or array == []:
        raise DockerfileError("Missing command after HEALTHCHECK CMD")
    return Healthcheck(
        test=("CMD-SHELL", rest) if array is None else ("CMD", *array),
        interval=_interval(flags, "interval"),
        timeout=_interval(flags, "timeout"),
        start_period=_interval(flags, "start-period"),
        start_interval=_interval(flags, "start-interval"),
        retries=_retries(flags.text("retries")),
        **line.common,
    )


def _interval(flags: Flags, name: str) -> int:
    text = flags.text(name)
    if not text:
        return 0
    try:
        duration = parse_duration(text)
    except DockerfileError as error:
        raise DockerfileError(f"--{name}: {error.message}") from None
    if duration and duration < _MILLISECOND:
        raise DockerfileError(f"Interval {name!r} cannot be less than 1ms: --{name}={shown(text)}")
    return duration


def _retries(text: str) -> int:
    if not text:
        return 0
    if not _RETRIES.fullmatch(text) or int(text) > _MOST_RETRIES:
        raise DockerfileError(f"--retries={shown(text)} is not a number of retries")
    if int(text) < 0:
        raise DockerfileError(f"--retries cannot be negative ({int(text)})")
    return int(text)


def _onbuild(line: Arguments) -> OnBuild:
    trigger = split_statement(line.arguments, line.escape)
    keyword = trigger.keyword.upper()
    line.at_least_one([keyword] if keyword else [])
    line.flags()
    if keyword == "ONBUILD":
        raise DockerfileError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if keyword in ("MAINTAINER", "FROM"):
        raise DockerfileError(f"{keyword} isn't allowed as an ONBUILD trigger")
    _check_form(keyword, trigger, line.escape)
    text = _ONBUILD.sub("", line.logical.text, count=1)
    return OnBuild(trigger=with_bodies(text, line.logical.heredocs), **line.common)


def _check_form(keyword: str, trigger: Statement, escape: str) -> None:
    """Refuse a trigger whose arguments have no form at all; the rest shows when it is run."""
    match keyword:
        case "ENV" | "LABEL":
            pairs(keyword, trigger.arguments, escape)
        case "ADD" | "COPY" | "RUN" | "CMD" | "ENTRYPOINT" | "SHELL" | "VOLUME":
            array_or_blank_separated(trigger.arguments)
        case _:
            pass


_MAKERS: dict[str, Callable[[Arguments], From | StageInstruction]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": lambda line: Env(pairs=_key_values(line), **line.common),
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": lambda line: Label(pairs=_key_values(line), **line.common),
    "MAINTAINER": lambda line: Maintainer(name=line.whole(), **line.common),
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": lambda line: StopSignal(signal=line.whole(), **line.common),
    "USER": lambda line: User(user=line.whole(), **line.common),
    "VOLUME": _volume,
    "WORKDIR": lambda line: Workdir(path=line.whole(), **line.common),
}
