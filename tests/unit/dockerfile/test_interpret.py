from typing import Any

import pytest

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
    Instruction,
    KeyValue,
    Label,
    Maintainer,
    OnBuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from asynckaniko.dockerfile.parser import parse
from asynckaniko.errors import DockerfileError, SourceSpan

SECOND = 10**9


def only(text: str) -> Instruction:
    (instruction,) = parse(f"FROM scratch\n{text}\n".encode()).stages[0].instructions
    return instruction


def made(kind: type[Instruction], text: str, **fields: Any) -> Instruction:
    """Build what `text`, in line 2, should become."""
    last = 2 + text.count("\n")
    original = text.split("\n", maxsplit=1)[0]
    return kind(span=SourceSpan("Dockerfile", 2, last), original=original, **fields)


def shell(text: str) -> Command:
    return Command(shell=text)


def argv(*words: str) -> Command:
    return Command(argv=words, is_exec=True)


def doc(name: str, content: str, *, expand: bool = True) -> Heredoc:
    return Heredoc(name=name, content=content, expand=expand, raw=content)


@pytest.mark.parametrize(
    ("text", "kind", "fields"),
    [
        ("RUN a  b", Run, {"command": shell("a  b")}),
        ("RUN", Run, {"command": shell("")}),
        ('RUN ["a", "b c"]', Run, {"command": argv("a", "b c")}),
        ("RUN ['a']", Run, {"command": shell("['a']")}),
        (
            (
                "RUN --mount=type=cache,target=/c --mount=target=/d --network=none"
                " --security=sandbox --device=x a"
            ),
            Run,
            {
                "command": shell("a"),
                "mounts": ("type=cache,target=/c", "target=/d"),
                "network": "none",
                "security": "sandbox",
                "devices": ("x",),
            },
        ),
        (
            "RUN <<A sh\nx\nA",
            Run,
            {"command": shell("<<A sh"), "heredocs": (doc("A", "x\n"),)},
        ),
        ("CMD a", Cmd, {"command": shell("a")}),
        ("CMD []", Cmd, {"command": argv()}),
        ('ENTRYPOINT ["a"]', Entrypoint, {"command": argv("a")}),
        ("ENTRYPOINT []", Entrypoint, {"command": argv()}),
        ('SHELL ["a", "-c"]', Shell, {"argv": ("a", "-c")}),
        ("COPY a b/ c", Copy, {"sources": ("a", "b/"), "destination": "c"}),
        ('COPY ["a b", "c"]', Copy, {"sources": ("a b",), "destination": "c"}),
        ('COPY ["<<A", "c"]', Copy, {"sources": ("<<A",), "destination": "c"}),
        (
            (
                "COPY --from=x --chown=1:2 --chmod=u+x --link --parents=true --exclude=*.o"
                " --exclude=!k.o a b"
            ),
            Copy,
            {
                "sources": ("a",),
                "destination": "b",
                "from_": "x",
                "chown": "1:2",
                "chmod": "u+x",
                "link": True,
                "parents": True,
                "excludes": ("*.o", "!k.o"),
            },
        ),
        (
            "COPY f <<A <<'B' /d/\n1\nA\n2\nB",
            Copy,
            {
                "sources": ("f",),
                "destination": "/d/",
                "heredocs": (doc("A", "1\n"), doc("B", "2\n", expand=False)),
            },
        ),
        ("ADD a b", Add, {"sources": ("a",), "destination": "b"}),
        (
            "ADD --checksum=sha256:0 --keep-git-dir --unpack=FALSE --link=false a b",
            Add,
            {
                "sources": ("a",),
                "destination": "b",
                "checksum": "sha256:0",
                "keep_git_dir": True,
                "unpack": False,
            },
        ),
        ("ENV a=1 b='x'", Env, {"pairs": (KeyValue("a", "1"), KeyValue("b", "'x'"))}),
        ("ENV a x  y", Env, {"pairs": (KeyValue("a", "x  y", legacy=True),)}),
        ("LABEL a=1", Label, {"pairs": (KeyValue("a", "1"),)}),
        (
            'ARG a b= c="x y"',
            Arg,
            {"pairs": (KeyValue("a", None), KeyValue("b", ""), KeyValue("c", '"x y"'))},
        ),
        ("WORKDIR /a b", Workdir, {"path": "/a b"}),
        ("USER a:b", User, {"user": "a:b"}),
        ("STOPSIGNAL $s", StopSignal, {"signal": "$s"}),
        ("MAINTAINER A B <c@d>", Maintainer, {"name": "A B <c@d>"}),
        ("VOLUME /a $b", Volume, {"paths": ("/a", "$b")}),
        ('VOLUME ["/a b "]', Volume, {"paths": ("/a b",)}),
        ("EXPOSE 9 80/tcp $p", Expose, {"ports": ("$p", "80/tcp", "9")}),
        ("HEALTHCHECK NONE", Healthcheck, {"test": ("NONE",)}),
        ("HEALTHCHECK cmd a  b", Healthcheck, {"test": ("CMD-SHELL", "a  b")}),
        (
            (
                "HEALTHCHECK --interval=1m30s --timeout=1ms --start-period=2s --start-interval=0"
                ' --retries=3 CMD ["a"]'
            ),
            Healthcheck,
            {
                "test": ("CMD", "a"),
                "interval": 90 * SECOND,
                "timeout": 10**6,
                "start_period": 2 * SECOND,
                "retries": 3,
            },
        ),
        ("ONBUILD  copy --link a b", OnBuild, {"trigger": "copy --link a b"}),
        ("OnBuild RUN <<-A\n\tx\n\tA", OnBuild, {"trigger": "RUN <<-A\n\tx\nA"}),
        ("ONBUILD FOO bar", OnBuild, {"trigger": "FOO bar"}),
    ],
)
def test_line_becomes_a_typed_instruction(
    text: str, kind: type[Instruction], fields: dict[str, Any]
) -> None:
    assert only(text) == made(kind, text, **fields)


def test_keywords_are_read_in_any_case() -> None:
    stage = parse(b"from scratch As Base\nwOrKdIr /x\n").stages[0]

    assert (stage.base.name, stage.base.name_as_written) == ("base", "Base")
    assert isinstance(stage.instructions[0], Workdir)


@pytest.mark.parametrize(
    ("text", "image", "platform", "name"),
    [
        ("FROM a", "a", "", ""),
        ("FROM a:1@sha256:00", "a:1@sha256:00", "", ""),
        ("FROM --platform=$P $I aS n.1_x-y", "$I", "$P", "n.1_x-y"),
    ],
)
def test_from_names_image_platform_and_stage(
    text: str, image: str, platform: str, name: str
) -> None:
    base = parse(text.encode()).stages[0].base

    assert isinstance(base, From)
    assert (base.image, base.platform, base.name) == (image, platform, name)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("FROM", "FROM requires either one or three arguments"),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("FROM a is b", "FROM requires either one or three arguments"),
        ("FROM a AS 1b", "1b"),
        ("FROM a AS b/c", "b/c"),
        ("FROM --platfrom=x a", "unknown flag: --platfrom (did you mean platform?)"),
        ("COPY --chwon=1 a b", "unknown flag: --chwon (did you mean chown?)"),
        ("COPY --mount=x a b", "unknown flag: --mount"),
        ("COPY --link --link a b", "duplicate flag specified: --link"),
        ("COPY --chown=1 --chown=1 a b", "duplicate flag specified: --chown"),
        ("COPY --link=yes a b", "expecting boolean value for flag --link, not: yes"),
        ("COPY --link= a b", "missing a value on flag: --link"),
        ("COPY --from a b", "missing a value on flag: --from"),
        ("CMD --help", "unknown flag: --help"),
        ("WORKDIR --x /a", "unknown flag: --x"),
        ("ARG --x a", "unknown flag: --x"),
        ("COPY", "COPY requires at least two arguments"),
        ("ADD a", "ADD requires at least two arguments"),
        ("COPY a <<X\nX", "COPY cannot accept a heredoc as a destination"),
        ("COPY <<'x y' /a\nx y", "heredoc must be one word"),
        ("COPY <<X it's /a", "heredoc must be one word"),
        ('COPY ["a\\u0000", "b"]', "NUL"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("USER ", "USER requires exactly one argument"),
        ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
        ("MAINTAINER", "MAINTAINER requires exactly one argument"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV a", "ENV must have two arguments"),
        ("ENV =a", "ENV names can not be blank"),
        ("LABEL", "LABEL requires at least one argument"),
        ("LABEL a=b c", "Must be of the form: name=value"),
        ("ARG", "ARG requires at least one argument"),
        ("ARG =a", "ARG names can not be blank"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ("VOLUME []", "VOLUME requires at least one argument"),
        ('VOLUME [" "]', "VOLUME specified can not be an empty string"),
        ("SHELL", "SHELL requires at least one argument"),
        ("SHELL []", "SHELL requires at least one argument"),
        ("SHELL sh -c", "SHELL requires the arguments to be in JSON form"),
        ("RUN []", "RUN requires at least one argument"),
        ("RUN [1]", "strings only"),
        ("RUN --network=nome a", "invalid network mode 'nome' (did you mean none?)"),
        ("RUN --security=max a", "security 'max' is not valid"),
        ("RUN --mount=from=$x,target=/y a", "doesn't support variable expansion"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK NONE a", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK CMD []", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK TCP 1", "Unknown type 'TCP' in HEALTHCHECK"),
        ("HEALTHCHECK --interval=1us CMD a", "cannot be less than 1ms"),
        ("HEALTHCHECK --timeout=-1s CMD a", "cannot be less than 1ms"),
        ("HEALTHCHECK --interval=1 CMD a", "--interval: invalid duration '1'"),
        ("HEALTHCHECK --retries=-1 CMD a", "cannot be negative"),
        ("HEALTHCHECK --retries=x CMD a", "--retries=x"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD --x RUN a", "unknown flag: --x"),
        ("ONBUILD onbuild RUN a", "Chaining ONBUILD"),
        ("ONBUILD FROM a", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD maintainer a", "MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("ONBUILD ENV a", "ENV must have two arguments"),
        ("ONBUILD CMD [1]", "strings only"),
        ("RUM a", "unknown instruction: RUM (did you mean RUN?)"),
        ("wrkdir a", "unknown instruction: wrkdir (did you mean workdir?)"),
        ("FROBNICATE", "unknown instruction: FROBNICATE"),
    ],
)
def test_wrong_line_is_an_error_where_it_stands(text: str, fragment: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(f"FROM scratch\n\n{text}\nRUN b\n".encode())

    assert fragment in str(caught.value)
    assert caught.value.span is not None
    assert caught.value.span.first == 3
    assert caught.value.source is not None
    assert text in caught.value.source
