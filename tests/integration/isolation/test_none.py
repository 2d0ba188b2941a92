"""Builds without RUN, where no command could be run, and that say so of themselves."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from tests.integration.conftest import Finished, Workbench
from tests.integration.isolation.conftest import TOP
from tests.support.images import Files, directory, hardlink, make_tar, read_layout, symlink

BASE: Files = {
    "etc/": directory(),
    "etc/passwd": "root:x:0:0::/root:/bin/sh\napp:x:33:34::/srv:/bin/sh\n",
    "etc/group": "root:x:0:\nwww:x:44:app\n",
    "usr/": directory(),
    "usr/bin/": directory(0o711, 7, 8),
    "usr/bin/tool": "#!tool\n",
    "usr/bin/same": hardlink("usr/bin/tool"),
    "bin": symlink("usr/bin"),
    "srv/": directory(0o750, 33, 34),
    "srv/gone": "old",
    "root/": directory(0o700),
    "root/.secret": "closed",
}
DOCKERFILE = """\
FROM base AS one
COPY --chown=app:www --chmod=4750 a.txt /bin/
COPY b/ /srv/
WORKDIR /srv/deep/er
COPY a.txt ../other

FROM base
COPY --from=one /usr/bin /copied
COPY --from=one --chown=1:2 /srv /root/*ecret /srv/
ADD archive.tar /srv/
USER app
WORKDIR work
COPY --link a.txt /opt/linked
"""
FILES = {"a.txt": "a\n", "b/one": "1\n", "b/sub/two": "2\n"}
_FENCE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def write_context(bench: Workbench) -> None:
    bench.write(DOCKERFILE, FILES)
    archive = make_tar({"gone/": directory(0o701), "gone/in": "x", "plain": "y"})
    (bench.context / "archive.tar").write_bytes(archive)


def in_situation(name: str, place: Path, *arguments: str) -> Finished:
    """Run the command where only so much is allowed; the place is given to whoever runs it."""
    module = "tests.integration.isolation.situated"
    done = subprocess.run(
        [*_FENCE, sys.executable, "-m", module, name, place, *arguments],
        cwd=TOP,
        env={**os.environ, "HOME": str(place), "TMPDIR": str(place)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    place.mkdir()
    return place


def test_image_is_the_same_to_the_byte_as_with_namespaces(
    bench: Workbench, base: Callable[[Files], str]
) -> None:
    write_context(bench)
    context = f"base={base(BASE)}"
    epoch = ("--build-arg", "SOURCE_DATE_EPOCH=1700000000")
    arguments = ("--reproducible", "--build-context", context, *epoch)

    digests = []
    for mode in ("none", "userns"):
        image = bench.build_layout(f"--isolation={mode}", *arguments)
        digests.append([layer["digest"] for layer in image.manifest["layers"]])
        files = image.tree
        assert files["copied/a.txt"].permissions == "-rwsr-x---"
        assert (files["copied/a.txt"].uid, files["copied/a.txt"].gid) == (33, 44)
        assert (files["srv/sub"].uid, files["srv/sub"].gid) == (1, 2)
        assert files["opt/linked"].content == b"a\n"
        assert (files["usr/bin"].mode, files["usr/bin"].uid) == (0o711, 7)
        assert files["srv/.secret"].content == b"closed"
        assert files["work"].uid == 33
    assert digests[0] == digests[1]


@pytest.mark.parametrize("situation", ["no_subordinates", "no_namespaces"])
def test_auto_builds_without_run_where_no_namespace_can_be_had(place: Path, situation: str) -> None:
    (place / "Dockerfile").write_text(
        "FROM scratch AS a\nCOPY --chown=5:6 file /dir/\n"
        "FROM scratch\nCOPY --from=a / /\nWORKDIR /w\n"
    )
    (place / "file").write_text("text")

    done = in_situation(
        situation, place, "build", ".", "--state-dir=state", "--oci-layout-path=out"
    )

    assert done.exit_code == 0, done.said
    files = read_layout(place / "out").tree
    assert (files["dir/file"].uid, files["dir/file"].gid) == (5, 6)
    assert files["w"].kind == "directory"
    assert os.listdir(place / "state/listed/builds") == []


def test_metadata_needs_no_process_but_its_own(place: Path) -> None:
    (place / "Dockerfile").write_text('FROM scratch\nENV A=1\nCMD ["/x"]\n')

    done = in_situation(
        "no_subordinates", place, "build", ".", "--isolation=userns", "--state-dir=state",
        "--no-push",
    )  # fmt: skip

    assert done.exit_code == 0, done.said


def test_auto_says_of_run_what_is_missing_and_which_line(place: Path) -> None:
    (place / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\nRUN true\n")

    done = in_situation("no_namespaces", place, "build", ".", "--state-dir=state", "--no-push")

    assert done.exit_code == 6
    assert "Dockerfile:3" in done.stderr
    assert "user.max_user_namespaces" in done.stderr


def test_run_is_refused_with_the_mode_and_the_way_out(bench: Workbench) -> None:
    bench.write("FROM scratch\nCOPY Dockerfile /\nRUN true\n")

    done = bench.run(bench.command("--isolation=none", "--no-push"))

    assert done.exit_code == 3
    assert "Dockerfile:3" in done.stderr
    assert "--isolation=none" in done.stderr
    assert "asynckaniko doctor" in done.stderr
    assert "COPY" not in done.stderr.partition("Dockerfile:3")[0]


def test_run_of_a_stage_that_nothing_needs_is_no_matter(bench: Workbench) -> None:
    bench.write("FROM scratch AS unused\nRUN true\nFROM scratch\nCOPY Dockerfile /\n")

    assert "Dockerfile" in bench.build_layout("--isolation=none").tree


def test_base_layers_are_kept_for_the_next_build(
    bench: Workbench, base: Callable[[Files], str]
) -> None:
    bench.write("FROM base\nCOPY Dockerfile /bin/\n")
    arguments = ("--isolation=none", "--build-context", f"base={base(BASE)}")
    bench.build_layout(*arguments)
    kept = {path.name: path.stat().st_ino for path in (bench.state / "listed/layers").iterdir()}

    bench.build_layout(*arguments)

    assert kept
    assert kept == {p.name: p.stat().st_ino for p in (bench.state / "listed/layers").iterdir()}


def test_kept_layers_are_listed_and_pruned(bench: Workbench, base: Callable[[Files], str]) -> None:
    bench.write("FROM base\nCOPY Dockerfile /bin/\n")
    bench.build_layout("--isolation=none", "--build-context", f"base={base(BASE)}")
    program = [sys.executable, "-m", "asynckaniko", "cache"]
    state = ("--state-dir", str(bench.state))

    listed = bench.run([*program, "list", "--format=json", *state])
    assert [orjson.loads(line)["kind"] for line in listed.stdout.splitlines()] == ["listed"]

    for path in (bench.state / "listed/layers").glob("*.json"):
        os.utime(path, (1, 1))
    bench.run([*program, "prune", "--all", *state])
    assert os.listdir(bench.state / "listed/layers") == []


def test_damaged_layer_of_a_base_is_told_of(bench: Workbench, base: Callable[[Files], str]) -> None:
    context = base(BASE)
    layout = Path(context.removeprefix("oci-layout://"))
    largest = max((layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    largest.write_bytes(content)
    bench.write("FROM base\nCOPY Dockerfile /bin/\n")

    done = bench.run(
        bench.command("--isolation=none", "--no-push", "--build-context", f"base={context}")
    )

    assert done.exit_code == 5, done.said
    assert os.listdir(bench.state / "listed/layers") == []


def test_run_that_a_cache_has_need_not_run(bench: Workbench, busybox_layout: Path) -> None:
    bench.write("FROM base\nRUN echo made > /made\nWORKDIR /etc/new\nCOPY Dockerfile /made.d/\n")
    arguments = ("--cache", "--build-context", f"base=oci-layout://{busybox_layout}")
    bench.build_layout("--isolation=userns", *arguments)

    bench.write("FROM base\nRUN echo made > /made\nWORKDIR /etc/new\nCOPY Dockerfile /etc/\n")
    image = bench.build_layout("--isolation=none", *arguments)

    assert image.tree["made"].content == b"made\n"
    assert image.tree["etc/Dockerfile"].kind == "file"
