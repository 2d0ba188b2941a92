"""No Dockerfile makes a build fail in another way than with an error that was meant."""

import os
import shutil
from pathlib import Path

import pytest
from anyio import fail_after
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asynckaniko.build.builder import Builder
from asynckaniko.build.request import BuildRequest, Cache, OciLayout
from asynckaniko.concurrency import leaves
from asynckaniko.dockerfile.growth import MOST_VARIABLES
from asynckaniko.errors import AsynckanikoError, DockerfileError
from tests.support.images import make_tar

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "250")) // 5
"""A build takes longer than to parse."""


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory, busybox_layout: Path) -> Path:
    directory = tmp_path_factory.mktemp("hostile")
    (directory / "f").write_text("file")
    (directory / "d/e").mkdir(parents=True)
    (directory / "d/e/g").write_text("deep")
    (directory / "link").symlink_to("d")
    (directory / "up").symlink_to("../../../../../etc")
    (directory / "a.tar").write_bytes(make_tar({"x/": b"", "x/y": "y"}))
    (directory / ".dockerignore").write_text("ignored\n**/*.tmp\n")
    shutil.copytree(busybox_layout, directory / "busybox-layout")
    return directory


async def build(builder: Builder, context: Path, text: str, **more: object) -> None:
    (context / "Dockerfile").write_text(text)
    layout = context.parent / "hostile-layout"
    request = BuildRequest(
        context=str(context),
        build_contexts={"busybox": f"oci-layout://{context}/busybox-layout"},
        outputs=(OciLayout(path=layout),),
        **more,  # type: ignore[arg-type]
    )
    await builder.build(request)


LONG = "0123456789abcdef"
DOUBLED = f"FROM scratch AS base\nENV a={LONG}\n" + "ENV a=$a$a$a$a\n" * 7
"""A variable of 256 KiB in nine lines."""


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        (DOUBLED + "ENV b$i=$a\n" * 3000, "MiB of text"),
        (DOUBLED + "USER $a\n" * 3000, "MiB of text"),
        (DOUBLED + "COPY <<X /x\n$a\nX\n" * 1000, "MiB of text"),
        (DOUBLED.replace("ENV", "ARG") + "RUN true\n" * 3000, "MiB of text"),
        (
            DOUBLED
            + "".join(f"FROM base AS s{i}\nLABEL a=$a\n" for i in range(500))
            + "FROM scratch\n"
            + "".join(f"COPY --from=s{i} / /\n" for i in range(500)),
            "MiB of text",
        ),
        ("FROM scratch\n" + "EXPOSE 1-65535\n" * 100, "MiB of text"),
        (
            "FROM scratch\nENV " + " ".join(f"v{i}=" for i in range(MOST_VARIABLES + 1)),
            "variables",
        ),
        (
            "FROM scratch AS s0\n" + "".join(f"FROM s{i} AS s{i + 1}\n" for i in range(900)),
            "each FROM the one before",
        ),
        (
            "FROM scratch AS b\n"
            + "ONBUILD ENV c=d\n" * 500
            + "".join(f"FROM b AS c{i}\n" for i in range(30))
            + "FROM scratch\n"
            + "".join(f"COPY --from=c{i} / /\n" for i in range(30)),
            "10000 ONBUILD triggers",
        ),
        ("FROM scratch\n" + f"WORKDIR {LONG * 12}\n" * 100, "WORKDIR is longer"),
        ("FROM scratch\nADD http://[::1 /x\n", "is no URL"),
        ("FROM scratch\nADD https://127.0.0.1:99999/x /x\n", "is no URL"),
        ("ARG SOURCE_DATE_EPOCH=99999999999999999\nFROM scratch\n", "seconds since 1970"),
    ],
    ids=lambda value: value[-30:].strip().replace("\n", " ") if len(value) > 40 else value,
)
async def test_file_that_would_grow_without_bounds_is_an_error(
    builder: Builder, context: Path, text: str, fragment: str
) -> None:
    with pytest.raises(DockerfileError, match=fragment):
        await build(builder, context, text)


def lines_of(*texts: str) -> st.SearchStrategy[str]:
    return st.sampled_from(texts)


PATHS = lines_of(
    *("f", "/f", "d", "d/", "d/*", "*", "**", "link", "up", "up/passwd", "a.tar", ".", "..", "/"),
    *("../..", "none", "[", "[a", "d/e/g", "x" * 300, "a/" * 200, "$a", "${b:-f}", "ignored"),
    *("/proc/self", "/dev/null", "/etc/passwd", ".wh.f", '"f"', "f\\ g", "\u00e9", "-", "~"),
)
OWNERS = lines_of("0", "1:2", "root", "nobody:mail", "stranger", "-1", "4294967296", "a:b:c", ":")
MODES = lines_of("0", "777", "7777", "u+x", "a=rwX,g-w", "x", "-1", "99999")
NAMES = lines_of("one", "two", "One", "0", "1", "7", "busybox", "scratch", "none::", "a/b:c@d")
MOUNTS = st.builds(
    lambda kind, options: f"--mount=type={kind},{','.join(options)}",
    lines_of("bind", "cache", "tmpfs", "secret", "ssh", "bnid"),
    st.lists(
        st.one_of(
            PATHS.map(lambda path: f"target={path}"),
            PATHS.map(lambda path: f"source={path}"),
            NAMES.map(lambda name: f"from={name}"),
            NAMES.map(lambda name: f"id={name}"),
            MODES.map(lambda mode: f"mode={mode}"),
            lines_of("rw", "ro", "required", "sharing=locked", "sharing=private", "size=1m"),
        ),
        max_size=4,
    ),
)
COPY_FLAGS = st.lists(
    st.one_of(
        OWNERS.map(lambda owner: f"--chown={owner}"),
        MODES.map(lambda mode: f"--chmod={mode}"),
        NAMES.map(lambda name: f"--from={name}"),
        PATHS.map(lambda path: f"--exclude={path}"),
        lines_of("--link", "--parents", "--unpack", "--unpack=false", "--keep-git-dir"),
    ),
    max_size=3,
    unique_by=lambda flag: flag.partition("=")[0],
)
INSTRUCTIONS = st.one_of(
    st.builds(
        lambda keyword, flags, sources, target: " ".join([keyword, *flags, *sources, target]),
        lines_of("COPY", "ADD"),
        COPY_FLAGS,
        st.lists(PATHS, max_size=3),
        PATHS,
    ),
    st.builds(
        lambda keyword, flags, target: " ".join([keyword, *flags, "<<X", target, "\n$a ${b}\nX"]),
        lines_of("COPY", "ADD"),
        COPY_FLAGS,
        PATHS,
    ),
    st.builds(
        lambda mounts, command: " ".join(["RUN", *mounts, command]),
        st.lists(MOUNTS, max_size=2),
        lines_of("true", "rm -rf /d", "ln -s / /l", '["/f"]', "<<X\necho $a\nX", "mkdir -p /d/x"),
    ),
    PATHS.map(lambda path: f"WORKDIR {path}"),
    OWNERS.map(lambda owner: f"USER {owner}"),
    PATHS.map(lambda path: f"ENV a={path}"),
    PATHS.map(lambda path: f"ARG b={path}"),
    PATHS.map(lambda path: f"VOLUME {path}"),
    PATHS.map(lambda path: f"ONBUILD COPY f {path}"),
    NAMES.map(lambda name: f"FROM {name} AS two"),
    lines_of(
        *("EXPOSE 1-9/udp $a", "LABEL a=$a", "SHELL []", 'SHELL ["sh"]', "CMD", "ENTRYPOINT []"),
        *("STOPSIGNAL 9", "HEALTHCHECK NONE", "HEALTHCHECK CMD $a", "RUN --network=none true"),
        *("FROM one", "FROM busybox", "ENV a=${a:?x}", "COPY --from=one / /", "MAINTAINER $a"),
    ),
)
FILES = st.builds(
    lambda base, lines: "\n".join([f"FROM {base} AS one", *lines, ""]),
    lines_of("scratch", "busybox"),
    st.lists(INSTRUCTIONS, min_size=1, max_size=8),
)


@pytest.mark.timeout(600)
@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(text=FILES, cached=st.booleans())
async def test_any_instructions_in_any_order_build_or_fail_as_meant(
    builder: Builder, context: Path, text: str, cached: bool
) -> None:
    try:
        # One that hangs is a failure that shows its Dockerfile, not a run that never ends.
        with fail_after(30):
            await build(builder, context, text, cache=Cache(copy_layers=True) if cached else None)
    except* AsynckanikoError as group:
        for error in leaves(group):
            assert str(error)
            assert "Traceback" not in str(error)
