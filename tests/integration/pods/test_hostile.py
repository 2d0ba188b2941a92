"""Commands that mean harm, in the built image, once for each mode. docs/security.md has the table.

The Pod is the fence: it has a pid namespace of its own, and a limit of processes. What a command
could kill or fill is the Pod.
"""

import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.pods.conftest import Pod, PodFactory

# The first test of a session may have to wait until the image is built.
pytestmark = pytest.mark.timeout(600)
CELLS = [
    ("default", "userns"),
    ("restricted-unconfined", "single-id"),
    ("userns-admin", "namespaces"),
    ("runtime-default", "chroot"),
    ("runtime-default", "in-place"),
]
"""A Pod for each mode that runs commands."""
IN_VARIABLE, IN_FILE = "canary-in-a-variable", "canary-in-a-file"
CREDENTIALS = f'{{"auths": {{"registry.invalid": {{"auth": "dTpw", "note": "{IN_FILE}"}}}}}}'
MARK = "98765"
"""Seconds that nothing else sleeps: what processes are known by."""
LIMIT = 200

HOSTILE = """
FROM {busybox}
COPY --chmod=755 attach /attach
RUN kill -9 -1; kill -9 1; kill -TERM 1; kill -STOP 1; mkdir /out; echo survived > /out/kill
RUN for place in environ maps mem stack root/kaniko/.docker/config.json cwd/Dockerfile fd/0; do \\
      cat /proc/1/$place > /dev/null 2>&1 && echo $place; \\
    done > /out/read; \\
    cat /proc/[0-9]*/environ /proc/[0-9]*/root/kaniko/.docker/config.json /kaniko/.docker/* \\
      /var/lib/asynckaniko/* > /out/stolen 2> /dev/null; \\
    env >> /out/stolen; /attach; echo $? > /out/attach
RUN setsid sleep {mark} & (setsid sh -c '(sleep {mark} &); sleep {mark}' > /dev/null 2>&1 &); \\
    trap '' TERM HUP INT; nohup sleep {mark} > /dev/null 2>&1 & echo started > /out/daemons
RUN grep -l '[9]8765' /proc/[0-9]*/cmdline > /out/left; true
RUN b() {{ [ $1 -gt 0 ] && {{ b $(($1-1)) & b $(($1-1)) & }}; sleep 1000; }}; \\
    sleep 1 & timer=$!; b 9 2> /dev/null & wait $timer; echo bombed > /out/bomb
RUN mkdir -p /closed/a/b && echo x > /closed/a/b/c \\
 && chmod 000 /closed/a/b/c /closed/a/b /closed/a && chmod 000 /closed
RUN mount -t tmpfs none /tmp; echo $? > /out/mount; \\
    mount --bind /bin /tmp; echo $? >> /out/mount; \\
    umount /proc; echo $? >> /out/mount; \\
    unshare -U true; echo $? >> /out/mount; \\
    mknod /tmp/disk b 8 0; echo $? >> /out/mount; \\
    [ -e /proc/sysrq-trigger ] && echo c > /proc/sysrq-trigger; echo $? >> /out/mount
"""


def attacher(pid: int) -> bytes:
    """Assemble a program for x86-64 whose exit status is the errno of PTRACE_ATTACH to `pid`."""
    code = b"\xb8\x65\0\0\0"  # mov eax, 101: ptrace
    code += b"\xbf\x10\0\0\0"  # mov edi, 16: PTRACE_ATTACH
    code += b"\xbe" + struct.pack("<I", pid)  # mov esi, pid
    code += b"\x31\xd2\x45\x31\xd2\x0f\x05"  # xor edx, edx; xor r10d, r10d; syscall
    code += b"\xf7\xd8\x89\xc7\xb8\x3c\0\0\0\x0f\x05"  # exit(-eax)
    start, header, program = 0x400000, 64, 56
    size = header + program + len(code)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    entry = start + header + program
    elf = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, start, start, size, size, 4096)
    return ident + elf + load + code


def prepared(there: Pod, dockerfile: str) -> Pod:
    there.write(dockerfile)
    (there.context / "attach").write_bytes(attacher(1))
    there.credentials = CREDENTIALS
    there.process_limit = LIMIT
    return there


@pytest.mark.parametrize(("name", "mode"), CELLS)
def test_hostile_commands_reach_nothing_and_leave_nothing(
    name: str, mode: str, pod: PodFactory, busybox: str
) -> None:
    there = prepared(pod(name, mode=mode), HOSTILE.format(busybox=busybox, mark=MARK))

    done = there.run(
        *("--no-push", "--oci-layout-path=/output/image", "--insecure-pull"),
        variables={"REGISTRY_PASSWORD": IN_VARIABLE},
    )

    assert done.exit_code == 0, done.said
    tree = there.read_output().tree
    said = {
        path.removeprefix("out/"): entry.content.decode(errors="replace").split()
        for path, entry in tree.items()
        if path.startswith("out/")
    }
    stolen = " ".join(said.pop("stolen"))
    assert IN_VARIABLE not in stolen
    # A volume of the container is part of the root filesystem that in-place commands have.
    assert (IN_FILE in stolen) == (mode == "in-place")
    mounted = said.pop("mount")
    assert "0" not in mounted
    assert len(mounted) == 6
    assert said == {
        "kill": ["survived"],
        "read": [],
        "attach": ["1"],  # EPERM
        "daemons": ["started"],
        "left": [],
        "bomb": ["bombed"],
    }
    assert {path: tree[path].permissions for path in tree if path.startswith("closed")} == {
        "closed": "d---------",
        "closed/a": "d---------",
        "closed/a/b": "d---------",
        "closed/a/b/c": "----------",
    }
    assert IN_FILE not in done.said
    assert IN_VARIABLE not in done.said


CANCELLED = """
import os, signal, subprocess, sys
flags = ["--no-push", "--insecure-pull", "--progress=plain"]
build = subprocess.Popen(
    ["/kaniko/asynckaniko", "build", "/workspace", *flags], stderr=subprocess.PIPE
)
for line in build.stderr:
    if b" ready" in line and b"RUN" not in line:
        break
build.send_signal(signal.SIGTERM)
rest = build.stderr.read()
print("exit", build.wait())
for process in filter(str.isdigit, os.listdir("/proc")):
    try:
        command = open(f"/proc/{process}/cmdline", "rb").read()
    except OSError:
        continue
    if b"98765" in command and int(process) != os.getpid():
        print("left", command)
"""


@pytest.mark.parametrize(("name", "mode"), CELLS)
def test_command_that_ignores_sigterm_ends_with_the_build(
    name: str, mode: str, pod: PodFactory, busybox: str
) -> None:
    there = pod(name, mode=mode)
    there.write(
        f"FROM {busybox}\nRUN trap '' TERM INT HUP; setsid sleep {MARK} & echo ready;"
        f" sleep {MARK}; sleep {MARK}\n"
    )

    done = there.run(entrypoint=("/kaniko/bin/python3", "-ISc", CANCELLED))

    assert done.stdout.split() == ["exit", "143"], done.said


@pytest.fixture
def small_disk() -> Iterator[list[Path]]:
    mounted: list[Path] = []
    yield mounted
    for place in mounted:
        subprocess.run(["umount", place], check=True)


# In place, what fills is not the volume but the container's own disk: the kubelet's to limit.
@pytest.mark.parametrize(("name", "mode"), [cell for cell in CELLS if cell[1] != "in-place"])
def test_full_disk_is_the_commands_error_and_then_the_builds(
    name: str, mode: str, pod: PodFactory, busybox: str, small_disk: list[Path]
) -> None:
    there = pod(name, mode=mode)
    there.state.mkdir()
    options = ["-o", "size=24m,mode=755"]
    subprocess.run(["mount", "-t", "tmpfs", *options, "disk", there.state], check=True)
    small_disk.append(there.state)
    there.write(
        f"FROM {busybox}\nRUN head -c 100m /dev/zero > /fill || echo full: $? ; rm /fill\n"
        "RUN head -c 100m /dev/zero | tr '\\0' x > /fill; echo filled\n"
    )

    done = there.run(
        *("build", "/workspace", "--no-push", "--insecure-pull", "--progress=plain"),
        "--oci-layout-path=/output/image",
        entrypoint=("/kaniko/asynckaniko",),
    )

    assert "full: 1" in done.stderr
    assert "filled" in done.stderr
    assert done.exit_code == 6, done.said
    assert "free space on the volume of the state directory" in done.stderr
    assert "Traceback" not in done.stderr
