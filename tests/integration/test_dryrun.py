"""--dryrun: what would be built is printed, and nothing is done."""

import re

import pytest

from tests.integration.conftest import Workbench
from tests.support.images import Image
from tests.support.registry import Registry

DOCKERFILE = """\
ARG VERSION=1
FROM HOST/base:${VERSION} AS Builder
RUN  make   all
FROM HOST/base:1 AS unused
RUN false
FROM scratch AS made
COPY --from=builder /out /out
FROM made
COPY file /file
LABEL a=b
"""
KEY = re.compile(r"(HIT|MISS): [0-9a-f]{64}$", re.MULTILINE)


@pytest.fixture
def host(bench: Workbench, registry: Registry) -> str:
    Image.of({"out": "x", "bin/sh": "no shell"}).push(registry, "base", "1")
    bench.write(DOCKERFILE.replace("HOST", registry.host), {"file": "f"})
    return registry.host


def test_plan_has_the_stages_that_are_needed_and_nothing_is_done(
    bench: Workbench, registry: Registry, host: str
) -> None:
    before = registry.mark()
    archive = bench.directory / "image.tar"

    done = bench.build(
        *("--dryrun", "-d", f"{host}/app:1", "-d", f"{host}/app:2", f"--tar-path={archive}"),
        f"--digest-file={bench.directory}/digest",
    )

    assert done.stdout == (
        f"FROM {host}/base:1 AS Builder\nRUN make all\n\n"
        "FROM scratch AS made\nCOPY --from=builder /out /out\n\n"
        "FROM made\nCOPY file /file\nLABEL a=b\n"
        f"PUSH [{host}/app:1 {host}/app:2]\nWRITE {archive}\n"
    )
    assert {request.method for request in registry.requests(before)} <= {"GET", "HEAD"}
    assert not archive.exists()
    assert not (bench.directory / "digest").exists()


def test_plan_tells_what_a_cache_has(bench: Workbench) -> None:
    bench.write("FROM scratch\nCOPY one /one\nCOPY two /two\n", {"one": "1", "two": "2"})
    cache = ("--cache", "--cache-copy-layers", "--no-push")
    cold = bench.build("--dryrun", *cache)
    again = bench.build("--dryrun", *cache)
    bench.build(*cache)
    (bench.context / "two").write_text("other")

    warm = bench.build("--dryrun", *cache)

    assert KEY.findall(cold.stdout) == ["MISS", "MISS"]
    assert again.stdout == cold.stdout
    assert KEY.findall(warm.stdout) == ["HIT", "MISS"]
    lines = [KEY.sub(r"\1", line) for line in warm.stdout.splitlines()]
    assert lines == [
        *("FROM scratch", "CACHE HIT", "COPY one /one", "CACHE MISS", "COPY two /two"),
    ]


@pytest.mark.parametrize(
    ("dockerfile", "flags", "exit_code", "message"),
    [
        ("FROM scratch\nCOPI a /a\n", [], 2, "COPI"),
        ("FROM scratch\nRUN x\n", ["--isolation=none"], 3, "RUN cannot be run"),
        ("FROM scratch\nRUN x\n", ["--target=y"], 2, "target stage 'y'"),
    ],
)
def test_what_would_fail_for_certain_fails(
    bench: Workbench, dockerfile: str, flags: list[str], exit_code: int, message: str
) -> None:
    bench.write(dockerfile)

    done = bench.run(bench.command("--dryrun", "--no-push", *flags))

    assert done.exit_code == exit_code
    assert message in done.stderr
    assert done.stdout == ""
