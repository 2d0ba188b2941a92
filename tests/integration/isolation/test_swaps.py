"""RUN --mount without mounts: what is shown, what is thrown away, and what is put back."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from asynckaniko.build.plain_roots import put_back
from asynckaniko.errors import StepFailed
from asynckaniko.isolation.swap_recovery import recover
from asynckaniko.isolation.swaps import Swapped, swapped_in
from asynckaniko.linux import syscalls
from asynckaniko.linux.overlay import mount_overlay
from asynckaniko.store.state import StateDirectory
from tests.integration.isolation.jobs import make_tree, read_tree
from tests.unit.rootfs.children import in_child, in_namespaces

Result = TypeVar("Result")
Files = Mapping[str, Any]
SECRET = b"s3cr3t bytes"
IMAGE: Files = {
    "etc/app/": {"mode": 0o750, "uid": 5, "gid": 6},
    "etc/app/conf": {"content": "of the image", "mode": 0o640, "uid": 5},
    "etc/app/link": {"link": "conf"},
    "var/cache/": "",
    "var/lib": {"link": "/var/cache"},
    "srv/": "",
}
CONTEXT: Files = {
    "sub/file": {"content": "1", "mode": 0o604, "uid": 7, "gid": 8},
    "sub/again": {"hardlink": "file"},
    "sub/link": {"link": "/etc/passwd"},
    "out": {"link": "../../caches"},
}
BIND = {"type": "bind", "directory": "context", "source": "sub", "target": "/srv/src"}
CACHED = {"type": "cache", "directory": "caches/a", "target": "/etc/app"}
CACHE: Files = {"a/kept": "before", "a/part/inner": {"content": "2", "uid": 9}}


def texts(top: str) -> dict[str, str]:
    return read_tree({"directory": top}, [])


def times(top: str) -> dict[str, int]:
    found = {top: os.lstat(top).st_mtime_ns}
    for parent, directories, files in os.walk(top):
        for name in directories + files:
            found[f"{parent}/{name}"] = os.lstat(f"{parent}/{name}").st_mtime_ns
    return found


def files_with(content: bytes) -> list[str]:
    return [
        f"{parent}/{name}"
        for parent, _, files in os.walk(".")
        for name in files
        if os.path.isfile(f"{parent}/{name}")
        and not os.path.islink(f"{parent}/{name}")
        and content in Path(parent, name).read_bytes()
    ]


class Bench:
    """An image, a context and a cache in the current directory, to try mounts on."""

    def __init__(self) -> None:
        for directory, files in (("image", IMAGE), ("context", CONTEXT), ("caches", CACHE)):
            make_tree({"directory": directory, "files": files}, [])
        os.mkdir("drawer", 0o700)
        self.secret = os.memfd_create("secret")
        os.write(self.secret, SECRET)

    def step(
        self, specs: Sequence[Mapping[str, Any]], act: Callable[[], Result]
    ) -> tuple[Result, Swapped]:
        """Let `act` be the command of a step; it finds the image's `/` at `image`."""
        with swapped_in(specs, [self.secret], root="image", drawer="drawer") as swapped:
            return act(), swapped


@pytest.fixture
def in_bench(tmp_path: Path) -> Callable[[Callable[[Bench], Result]], Result]:
    """Return a function that calls another with a bench, as root of a user namespace."""

    def run(work: Callable[[Bench], Result]) -> Result:
        return in_namespaces(tmp_path, lambda: work(Bench()))

    return run


InBench = Callable[[Callable[[Bench], Any]], Any]


class TestBind:
    def test_shows_a_copy_with_owners_modes_times_and_links(self, in_bench: InBench) -> None:
        def work(bench: Bench) -> None:
            def act() -> None:
                assert texts("image/srv/src") == texts("context/sub")
                assert os.path.samefile("image/srv/src/file", "image/srv/src/again")
                assert os.lstat("image/srv/src/file").st_ino != os.lstat("context/sub/file").st_ino
                shown, given = times("image/srv/src"), times("context/sub")
                assert list(shown.values()) == list(given.values())

            bench.step([BIND], act)

        in_bench(work)

    def test_writes_are_thrown_away_and_the_image_is_as_it_was(self, in_bench: InBench) -> None:
        def work(bench: Bench) -> None:
            before = texts("image"), times("image"), texts("context")

            def act() -> None:
                Path("image/srv/src/file").write_text("changed")
                Path("image/srv/src/new").write_text("new")
                os.unlink("image/srv/src/link")

            bench.step([BIND, {**BIND, "target": "/etc/app"}], act)

            assert (texts("image"), times("image"), texts("context")) == before

        in_bench(work)

    def test_shows_a_file_over_another(self, in_bench: InBench) -> None:
        bind = {"type": "bind", "directory": "context", "source": "/sub/file"}

        def work(bench: Bench) -> tuple[str, Swapped]:
            return bench.step(
                [{**bind, "target": "/etc/app/conf"}], Path("image/etc/app/conf").read_text
            )

        text, swapped = in_bench(work)
        assert text == "1"
        assert (swapped.restored, swapped.parents) == (["etc/app/conf"], ["etc/app"])

    def test_shows_nothing_of_an_empty_image(self, in_bench: InBench) -> None:
        spec = {"type": "bind", "lowers": [], "target": "/other"}

        shown, _ = in_bench(lambda bench: bench.step([spec], lambda: os.listdir("image/other")))

        assert shown == []

    @pytest.mark.parametrize("source", ["nope", "sub/file/x", "out", "../../caches"])
    def test_source_outside_or_missing_is_an_error(self, in_bench: InBench, source: str) -> None:
        spec = {"type": "bind", "directory": "context", "source": source, "target": "/a"}

        with pytest.raises(StepFailed, match=r"source=.*not found|is not a directory"):
            in_bench(lambda bench: bench.step([spec], lambda: None))

    def test_target_is_found_with_links_inside_the_image(self, in_bench: InBench) -> None:
        spec = {**BIND, "target": "/srv/../var/lib/../lib/new/src"}

        def work(bench: Bench) -> tuple[bool, Swapped, bool]:
            found, swapped = bench.step([spec], lambda: os.path.exists("image/var/cache/new/src"))
            return found, swapped, os.path.exists("image/var/cache/new")

        found, swapped, left = in_bench(work)
        assert (found, left) == (True, False)
        assert (swapped.stubs, swapped.parents) == (["var/cache/new"], ["var/cache"])

    def test_other_kind_at_the_target_is_an_error(self, in_bench: InBench) -> None:
        with pytest.raises(StepFailed, match="cannot mount a directory at /etc/app/conf: a file"):
            in_bench(lambda bench: bench.step([{**BIND, "target": "/etc/app/conf"}], lambda: None))


class TestCache:
    def test_is_the_directory_itself_and_goes_home(self, in_bench: InBench) -> None:
        def work(bench: Bench) -> None:
            image, number = texts("image"), os.lstat("caches/a").st_ino

            def act() -> None:
                assert os.lstat("image/etc/app").st_ino == number
                Path("image/etc/app/new").write_text("after")

            bench.step([CACHED], act)

            assert texts("image") == image
            assert Path("caches/a/new").read_text() == "after"
            assert Path("caches/a/part/inner").read_text() == "2"

        in_bench(work)

    def test_is_made_as_asked_and_left_so(self, in_bench: InBench) -> None:
        spec = {**CACHED, "directory": "caches/b", "mode": 0o1770, "uid": 7, "gid": 8}

        def work(bench: Bench) -> tuple[str, str]:
            bench.step([spec], lambda: os.chown("image/etc/app", 9, 8))
            return texts("caches")["b"], texts("image")["etc/app"]

        assert in_bench(work) == ("directory 1770 9:8", "directory 750 5:6")

    def test_part_of_it_is_shown(self, in_bench: InBench) -> None:
        spec = {**CACHED, "source": "part", "target": "/var/x/y"}

        def work(bench: Bench) -> dict[str, str]:
            def act() -> None:
                assert os.listdir("image/var/x/y") == ["inner"]
                Path("image/var/x/y/new").write_text("3")

            bench.step([spec], act)
            return texts("caches")

        assert in_bench(work)["a/part/new"].endswith(" 3")

    def test_read_only_one_stays_as_it_is(self, in_bench: InBench) -> None:
        def work(bench: Bench) -> bool:
            before = texts("caches")
            bench.step([{**CACHED, "readonly": True}], lambda: os.unlink("image/etc/app/kept"))
            return texts("caches") == before

        assert in_bench(work)

    def test_other_file_system_is_copied_there_and_back(self, in_bench: InBench) -> None:
        def work(bench: Bench) -> tuple[dict[str, str], dict[str, str], bool]:
            os.mkdir("elsewhere")
            syscalls.unshare(syscalls.CLONE_NEWNS)
            syscalls.mount("tmpfs", "elsewhere", "tmpfs")
            make_tree({"directory": "elsewhere", "files": CACHE}, [])
            before = texts("image")

            def act() -> None:
                assert texts("image/etc/app") == texts("elsewhere/a")
                os.unlink("image/etc/app/kept")
                Path("image/etc/app/new").write_text("after")

            bench.step([{**CACHED, "directory": "elsewhere/a"}], act)
            return texts("elsewhere"), texts("caches"), texts("image") == before

        there, here, is_restored = in_bench(work)
        assert is_restored
        assert there.pop("a/new").endswith("after")
        del here["a/kept"]
        assert there == here

    def test_same_one_at_two_targets_is_an_error(self, in_bench: InBench) -> None:
        def work(bench: Bench) -> tuple[bool, str]:
            before = texts("caches"), texts("image")
            with pytest.raises(StepFailed) as failure:
                bench.step([CACHED, {**CACHED, "target": "/b"}], lambda: None)
            return (texts("caches"), texts("image")) == before, str(failure.value)

        unchanged, message = in_bench(work)
        assert unchanged
        assert "the cache is at another target already" in message

    def test_command_that_moves_it_away_fails_and_it_goes_home(self, in_bench: InBench) -> None:
        def work(bench: Bench) -> tuple[bool, str]:
            before = texts("caches"), texts("image")
            with pytest.raises(StepFailed) as failure:
                bench.step([CACHED], lambda: os.rename("image/etc/app", "image/srv/taken"))
            return (texts("caches"), texts("image")) == before, str(failure.value)

        unchanged, message = in_bench(work)
        assert unchanged
        assert "target=/etc/app: the command moved it away from its target" in message

    def test_one_deleted_and_made_anew_is_kept(self, in_bench: InBench) -> None:
        def act() -> None:
            subprocess.run(["rm", "-r", "image/etc/app"], check=True)
            os.mkdir("image/etc/app")
            Path("image/etc/app/new").touch()

        def work(bench: Bench) -> tuple[list[str], list[str]]:
            bench.step([CACHED], act)
            return os.listdir("caches/a"), sorted(os.listdir("image/etc/app"))

        assert in_bench(work) == (["new"], ["conf", "link"])

    def test_link_put_in_its_place_is_not_followed(self, in_bench: InBench) -> None:
        def act() -> None:
            subprocess.run(["rm", "-r", "image/etc/app"], check=True)
            os.symlink("/etc", "image/etc/app")

        def work(bench: Bench) -> tuple[list[str], list[str]]:
            bench.step([CACHED], act)
            return os.listdir("caches"), sorted(os.listdir("image/etc/app"))

        assert in_bench(work) == ([], ["conf", "link"])


class TestSecret:
    def test_is_a_file_for_its_owner_and_on_no_disk_afterwards(self, in_bench: InBench) -> None:
        specs = [
            {"type": "secret", "fd": 0, "target": "/run/secrets/a"},
            {"type": "secret", "fd": 0, "target": "/run/b", "mode": 0o440, "uid": 5, "gid": 6},
        ]

        def work(bench: Bench) -> tuple[dict[str, str], Swapped, list[str], bool]:
            before = texts("image")
            seen, swapped = bench.step(specs, lambda: texts("image/run"))
            return seen, swapped, files_with(SECRET), texts("image") == before

        seen, swapped, left, is_restored = in_bench(work)
        assert seen["secrets/a"] == f"file 400 0:0 {SECRET.decode()}"
        assert seen["b"] == f"file 440 5:6 {SECRET.decode()}"
        assert swapped.stubs == ["run"]
        assert left == []
        assert is_restored

    @pytest.mark.parametrize("trick", [os.rename, os.link])
    def test_other_name_for_it_is_left_with_nothing(
        self, in_bench: InBench, trick: Callable[[str, str], None]
    ) -> None:
        def work(bench: Bench) -> tuple[int, list[str]]:
            spec = {"type": "secret", "fd": 0, "target": "/s"}
            bench.step([spec], lambda: trick("image/s", "image/srv/stolen"))
            return os.stat("image/srv/stolen").st_size, files_with(SECRET)

        assert in_bench(work) == (0, [])

    def test_is_a_variable_without_a_file(self, in_bench: InBench) -> None:
        def work(bench: Bench) -> tuple[list[str], Swapped]:
            spec = {"type": "secret", "fd": 0, "env": "TOKEN"}
            return bench.step([spec], lambda: files_with(SECRET))

        files, swapped = in_bench(work)
        assert (files, swapped.environment) == ([], [f"TOKEN={SECRET.decode()}"])


def test_tmpfs_is_empty_for_all_and_gone_afterwards(in_bench: InBench) -> None:
    def work(bench: Bench) -> tuple[dict[str, str], bool]:
        before = texts("image"), times("image")

        def act() -> dict[str, str]:
            seen = texts("image/etc")
            Path("image/etc/app/x").touch()
            return seen

        seen, _ = bench.step([{"type": "tmpfs", "target": "/etc/app"}], act)
        return seen, (texts("image"), times("image")) == before

    assert in_bench(work) == ({"app": "directory 1777 0:0"}, True)


def test_socket_can_be_spoken_to(in_bench: InBench) -> None:
    def work(bench: Bench) -> tuple[bytes, bool]:
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client,
        ):
            server.bind("agent")
            spec = {"type": "socket", "path": "agent", "target": "/run/agent.0"}
            bench.step([spec], lambda: client.sendto(b"heard", "image/run/agent.0"))
            return server.recv(100), os.path.exists("image/run")

    assert in_bench(work) == (b"heard", False)


def test_files_and_trees_that_the_build_gives_are_for_the_step_only(in_bench: InBench) -> None:
    def work(bench: Bench) -> tuple[dict[str, str], bool]:
        before = texts("image")
        make_tree({"directory": "devices", "files": {"null": ""}}, [])
        specs = [
            {"type": "file", "content": "nameserver 192.0.2.1\n", "target": "/etc/resolv.conf"},
            {"type": "tree", "directory": "devices", "target": "/dev"},
        ]
        seen, _ = bench.step(specs, lambda: texts("image"))
        return seen, texts("image") == before and not os.path.exists("devices")

    seen, is_restored = in_bench(work)
    assert is_restored
    assert seen["etc/resolv.conf"] == "file 644 0:0 nameserver 192.0.2.1\n"
    assert seen["dev/null"] == "file 644 0:0 "


NESTED: Sequence[Mapping[str, Any]] = [
    {"type": "secret", "fd": 0, "target": "/etc/app/deep/token"},
    {"type": "tmpfs", "target": "/etc/app/cache/tmp"},
    {"type": "cache", "directory": "caches/a", "target": "/etc/app/cache"},
    {"type": "bind", "directory": "context", "source": "sub", "target": "/etc/app"},
    {"type": "bind", "directory": "context", "source": "sub/file", "target": "/srv/file"},
]


class TestTogether:
    def test_mounts_nest_in_any_order(self, in_bench: InBench) -> None:
        def work(bench: Bench) -> tuple[Swapped, list[str], str]:
            before = texts("image"), times("image")

            def act() -> None:
                assert Path("image/etc/app/deep/token").read_bytes() == SECRET
                assert Path("image/etc/app/file").read_text() == "1"
                Path("image/etc/app/cache/kept").write_text("after")
                Path("image/etc/app/cache/tmp/x").touch()

            _, swapped = bench.step(NESTED, act)
            assert (texts("image"), times("image")) == before
            return swapped, sorted(os.listdir("caches/a")), Path("caches/a/kept").read_text()

        swapped, cached, text = in_bench(work)
        assert (swapped.restored, swapped.stubs) == (["etc/app"], ["srv/file"])
        assert (cached, text) == (["kept", "part"], "after")

    def test_what_a_command_writes_beside_a_mount_stays(self, in_bench: InBench) -> None:
        def work(bench: Bench) -> dict[str, str]:
            before = texts("image")
            Path("image/etc/app/conf").touch()
            spec = {"type": "tmpfs", "target": "/made/here/tmp"}
            bench.step([spec], lambda: Path("image/made/own").write_text("mine") and None)
            return {path: text for path, text in texts("image").items() if path not in before}

        assert in_bench(work) == {"made": "directory 755 0:0", "made/own": "file 666 0:0 mine"}

    def test_directory_deleted_with_a_target_in_it_stays_deleted(self, in_bench: InBench) -> None:
        def work(bench: Bench) -> tuple[list[str], list[str]]:
            spec = {"type": "cache", "directory": "caches/a", "target": "/var/cache"}
            bench.step([spec], lambda: subprocess.run(["rm", "-r", "image/var"], check=True))
            return sorted(os.listdir("image")), os.listdir("drawer")

        assert in_bench(work) == (["etc", "srv"], [])

    @pytest.mark.parametrize("target", ["", "/", "/..", "/a/.."])
    def test_root_is_no_target(self, in_bench: InBench, target: str) -> None:
        with pytest.raises(StepFailed, match="the target must not be the root"):
            in_bench(lambda bench: bench.step([{"type": "tmpfs", "target": target}], lambda: None))

    def test_chrooted_command_sees_them(self, in_bench: InBench) -> None:
        def work(bench: Bench) -> str:
            def act() -> str:
                def command() -> str:
                    os.chroot("image")
                    os.chdir("/")
                    return " ".join(sorted(os.listdir("/etc/app/cache")))

                return in_child(command)

            return bench.step(NESTED, act)[0]

        assert in_bench(work) == "kept part tmp"

    def test_mount_points_are_refused(self, in_bench: InBench) -> None:
        def work(bench: Bench) -> str:
            syscalls.unshare(syscalls.CLONE_NEWNS)
            syscalls.mount("tmpfs", "image/srv", "tmpfs")
            with pytest.raises(StepFailed) as failure:
                bench.step([{"type": "tmpfs", "target": "/srv"}], lambda: None)
            return str(failure.value)

        assert "target=/srv: a volume or file of the container is mounted there" in in_bench(work)


class TestOverlay:
    """The root filesystem of a container is an overlay, whose directories cannot be renamed."""

    def test_directories_of_the_image_are_copied_aside_and_back(self, in_bench: InBench) -> None:
        def work(bench: Bench) -> bool:
            on_overlay(bench)
            before = texts("image"), times("image")
            with pytest.raises(OSError, match="cross-device"):
                os.rename("image/etc/app", "image/etc/other")
            bench.step([{"type": "tmpfs", "target": "/etc/app"}], lambda: None)
            return (texts("image"), times("image")) == before

        assert in_bench(work)

    def test_what_is_mounted_inside_is_not_touched(self, in_bench: InBench) -> None:
        def work(bench: Bench) -> tuple[str, str]:
            os.mkdir("image/etc/app/volume")
            on_overlay(bench)
            syscalls.mount("tmpfs", "image/etc/app/volume", "tmpfs")
            Path("image/etc/app/volume/precious").write_text("data")
            with pytest.raises(StepFailed) as failure:
                bench.step([{"type": "tmpfs", "target": "/etc"}], lambda: None)
            return str(failure.value), Path("image/etc/app/volume/precious").read_text()

        message, precious = in_bench(work)
        assert "cannot be moved aside" in message
        assert precious == "data"


def on_overlay(bench: Bench) -> None:
    """Make the image the lower layer of an overlay, as an executor's own image is."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    for directory in ("upper", "work", "scratch"):
        os.mkdir(directory)
    mount_overlay(["image"], "image", upper="upper", work="work", scratch="scratch")


@pytest.mark.parametrize("by", ["step", "recovery"])
def test_copies_across_file_systems_survive_every_kill(in_bench: InBench, by: str) -> None:
    """The drawer, and the cache, are on another file system than the image."""
    specs = [CACHED | {"directory": "elsewhere/a"}, {**BIND, "target": "/srv"}]

    def work(bench: Bench) -> list[str]:
        os.mkdir("elsewhere")
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("tmpfs", "elsewhere", "tmpfs")
        syscalls.mount("tmpfs", "drawer", "tmpfs")
        make_tree({"directory": "elsewhere", "files": CACHE}, [])
        before = texts("image"), texts("elsewhere")
        wrong: list[str] = []
        for operation in range(1, 1000):
            if by == "step":
                status = killed_at(operation, lambda: bench.step(specs, lambda: None))
            else:
                assert killed_in(bench, specs) == signal.SIGKILL
                status = killed_at(operation, lambda: recover({"drawer": "drawer"}, []))
            recover({"drawer": "drawer"}, [])
            # The next step with the cache finishes what was begun with it.
            bench.step(specs[:1], lambda: None)
            after = texts("image"), texts("elsewhere")
            if os.listdir("drawer") or after != before:
                wrong.append(f"{operation}: {differing(before, after)}")
            if status == 0:
                assert operation > 20
                break
        return wrong

    assert in_bench(work) == []


class TestKilled:
    """SIGKILL leaves no time to put anything back; `recover` does it."""

    def test_step_killed_at_any_operation_is_recovered(self, in_bench: InBench) -> None:
        def work(bench: Bench) -> list[str]:
            before = texts("image"), texts("caches"), texts("context")
            wrong = []
            operations = 0
            while True:
                operations += 1
                # Before its operation number `operations`.
                status = killed_at(operations, lambda: bench.step(NESTED, lambda: None))
                if status == 0:
                    break
                assert status == signal.SIGKILL
                recover({"drawer": "drawer"}, [])
                after = texts("image"), texts("caches"), texts("context")
                left = [*files_with(SECRET), *os.listdir("drawer")]
                if left or after != before:
                    wrong.append(f"{operations}: {left} {differing(before, after)}")
            assert operations > 50
            return wrong

        assert in_bench(work) == []

    def test_recovery_killed_at_any_operation_is_recovered(self, in_bench: InBench) -> None:
        def work(bench: Bench) -> list[str]:
            before = texts("image"), texts("caches")
            wrong = []
            operations = 0
            while True:
                operations += 1
                assert in_child(lambda: killed_in(bench, NESTED)) == signal.SIGKILL
                status = killed_at(operations, lambda: recover({"drawer": "drawer"}, []))
                recover({"drawer": "drawer"}, [])
                after = texts("image"), texts("caches")
                left = [*files_with(SECRET), *os.listdir("drawer")]
                if left or after != before:
                    wrong.append(f"{operations}: {left} {differing(before, after)}")
                if status == 0:
                    break
            assert operations > 20
            return wrong

        assert in_bench(work) == []

    def test_living_steps_are_left_alone(self, in_bench: InBench) -> None:
        def work(bench: Bench) -> tuple[int, list[str]]:
            def act() -> int:
                return in_child(lambda: recover({"drawer": "drawer"}, []))

            count, _ = bench.step([{"type": "tmpfs", "target": "/etc/app"}], act)
            return count, sorted(os.listdir("image/etc/app"))

        assert in_bench(work) == (0, ["conf", "link"])

    def test_links_of_a_dead_command_lead_nowhere(self, in_bench: InBench) -> None:
        """The parent of a target has become a link to a directory of the host."""

        def work(bench: Bench) -> tuple[list[str], int]:
            make_tree({"directory": "host/app", "files": {"precious": "1"}}, [])

            def act() -> None:
                os.rename("image/etc", "image/moved")
                os.symlink(os.path.abspath("host"), "image/etc")

            killed_in(bench, [{"type": "tmpfs", "target": "/etc/app"}], act)
            count = recover({"drawer": "drawer"}, [])
            return os.listdir("host/app"), count

        assert in_bench(work) == (["precious"], 1)

    def test_root_that_is_another_one_now_is_not_touched(self, in_bench: InBench) -> None:
        def work(bench: Bench) -> tuple[list[str], list[str]]:
            killed_in(bench, [{"type": "tmpfs", "target": "/etc/app"}])
            os.rename("image", "old")
            make_tree({"directory": "image", "files": IMAGE}, [])
            recover({"drawer": "drawer"}, [])
            return sorted(os.listdir("image/etc/app")), os.listdir("drawer")

        assert in_bench(work) == (["conf", "link"], [])

    def test_cache_that_another_step_has_made_meanwhile_is_kept(self, in_bench: InBench) -> None:
        def work(bench: Bench) -> list[str]:
            killed_in(bench, [CACHED])
            make_tree({"directory": "caches/a", "files": {"newer": ""}}, [])
            recover({"drawer": "drawer"}, [])
            return os.listdir("caches/a")

        assert in_bench(work) == ["newer"]


def test_next_start_brings_home_what_a_killed_build_had_in_place(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    tree = "builds/dead/1/root"
    for directory, files in ((tree, IMAGE), ("caches", CACHE), ("builds/dead/1/aside", {})):
        make_tree({"directory": str(state.listed / directory), "files": files}, [])
    (state.builds / "dead.lock").touch()

    def step() -> None:
        os.chdir(state.listed)
        with swapped_in([CACHED], [], root=tree, drawer="builds/dead/1/aside"):
            Path(tree, "etc/app/new").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    assert status_of(step) == signal.SIGKILL
    assert not (state.listed / "caches/a").exists()

    StateDirectory(tmp_path, put_back=put_back)

    assert sorted(os.listdir(state.listed / "caches/a")) == ["kept", "new", "part"]
    assert list((state.listed / "builds").iterdir()) == []


def killed_in(
    bench: Bench, specs: Sequence[Mapping[str, Any]], act: Callable[[], None] = lambda: None
) -> int:
    """Kill a step when its command is done; return the signal."""

    def command() -> None:
        act()
        os.kill(os.getpid(), signal.SIGKILL)

    return status_of(lambda: bench.step(specs, command))


def killed_at(operation: int, function: Callable[[], object]) -> int:
    """Kill a process before its n-th operation on files; return the signal, 0 if it had fewer."""

    def counted() -> None:
        left = operation

        def count(event: str, _: object) -> None:
            nonlocal left
            if event == "open" or event.startswith("os."):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        function()

    return status_of(counted)


def status_of(function: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


def differing(before: Sequence[dict[str, str]], after: Sequence[dict[str, str]]) -> list[str]:
    return [
        str(set(one.items()) ^ set(other.items()))
        for one, other in zip(before, after, strict=True)
        if one != other
    ]
