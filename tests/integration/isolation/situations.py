"""Run commands where less, or something else, is allowed than on a developer's machine.

`python -m tests.integration.isolation.situations NAME DIRECTORY COMMAND NETWORK` brings itself
into the situation NAME, in a mount namespace of its own, runs COMMAND on a busybox image and
prints what came of it as JSON; for the command `doctor`, what it finds. The tests are in
test_situations.py.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anyio

from asynckaniko.errors import AsynckanikoError
from asynckaniko.isolation import namespaces
from asynckaniko.isolation.doctor import examine
from asynckaniko.isolation.fork_server import ForkServer
from asynckaniko.isolation.namespaces import Confinement
from asynckaniko.linux import capabilities, syscalls
from asynckaniko.linux.capabilities import Capability
from tests.integration.isolation.conftest import PRELOAD, TOP, Machine, busybox_files

USER = 4321
FIVE = frozenset(
    {
        Capability.CHOWN,
        Capability.DAC_OVERRIDE,
        Capability.FOWNER,
        Capability.SETUID,
        Capability.SETGID,
    }
)


def main() -> None:
    name, directory, command, network = sys.argv[1:]
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    make_reachable([sys.base_prefix, sys.prefix, str(TOP), directory])
    os.chdir(TOP)
    SITUATIONS[name](directory)
    print(json.dumps(anyio.run(run, name, Path(directory), command, network)))


def make_reachable(paths: Iterable[str]) -> None:
    """Let other users reach `paths` whatever their parents' modes, in this mount namespace."""
    originals = {os.path.realpath(path): os.open(path, os.O_PATH) for path in paths}
    covered: set[str] = set()
    for path, original in originals.items():
        closed = next((place for place in _parents(path) if not _is_open(place)), None)
        if closed is None and not any(path.startswith(f"{place}/") for place in covered):
            continue
        if closed is not None:
            syscalls.mount("tmpfs", closed, "tmpfs", 0, "mode=755")
            covered.add(closed)
        os.makedirs(path, 0o755, exist_ok=True)
        syscalls.mount(f"/proc/self/fd/{original}", path, None, syscalls.MS_BIND | syscalls.MS_REC)


def _parents(path: str) -> list[str]:
    return [str(parent) for parent in reversed(Path(path).parents)]


def _is_open(directory: str) -> bool:
    return os.stat(directory).st_mode & 0o001 != 0


def ordinary(directory: str) -> None:
    """Root with all rights."""


def masked_proc(directory: str) -> None:
    """Parts of /proc are covered, as in every container."""
    for name in ("scsi", "acpi", "irq"):
        if os.path.isdir(f"/proc/{name}"):
            syscalls.mount("tmpfs", f"/proc/{name}", "tmpfs", syscalls.MS_RDONLY)


def shared_pids(directory: str) -> None:
    """As `masked_proc`, and commands stay in the pid namespace."""
    masked_proc(directory)


def identity(directory: str) -> None:
    """Root with all rights, who keeps his own id in the build's namespace."""


def five_capabilities(directory: str) -> None:
    """Root with the capabilities that a hardened Pod has left."""
    masked_proc(directory)
    capabilities.limit(FIVE)


def subordinate(directory: str) -> None:
    """An ordinary user with lines in /etc/subuid and /etc/subgid."""
    _write_over("/etc/passwd", f"root:x:0:0::/root:/bin/sh\nbuilder:x:{USER}:{USER}::/:/bin/sh\n")
    _write_over("/etc/subuid", "builder:200000:65536\n")
    _write_over("/etc/subgid", f"{USER}:300000:65536\n")
    _become_user(directory)


def unnamed_subordinate(directory: str) -> None:
    """An ordinary user with ids but without a name, as runAsUser makes one."""
    _write_over("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
    _write_over("/etc/subuid", f"{USER}:200000:65536\n")
    _write_over("/etc/subgid", f"{USER}:300000:65536\n")
    _become_user(directory)


def no_subordinates(directory: str) -> None:
    """An ordinary user without such lines."""
    _write_over("/etc/subuid", "")
    _become_user(directory)


def administrator(directory: str) -> None:
    """Root of a user namespace with SYS_ADMIN in it: hostUsers: false and that capability."""
    _enter_a_pods_namespaces(directory)
    capabilities.limit(capabilities.DOCKER_DEFAULT | {Capability.SYS_ADMIN})


def no_namespaces(directory: str) -> None:
    """The limit of user namespaces is 0, and there is nothing else."""
    _enter_a_pods_namespaces(directory)
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    capabilities.limit(FIVE)


def _enter_a_pods_namespaces(directory: str) -> None:
    os.chdir(directory)
    namespaces.enter(Confinement(mode="userns"))
    syscalls.mount("proc", "/proc", "proc")
    masked_proc(directory)
    os.chdir(TOP)


SITUATIONS = {
    situation.__name__: situation
    for situation in (
        ordinary,
        masked_proc,
        shared_pids,
        identity,
        five_capabilities,
        subordinate,
        unnamed_subordinate,
        no_subordinates,
        administrator,
        no_namespaces,
    )
}

CONFINEMENTS = {
    "identity": Confinement(id_map="identity"),
    "shared_pids": Confinement(shared_pids=True),
    # Else one id would do.
    "unnamed_subordinate": Confinement(mode="userns"),
}


def _become_user(directory: str) -> None:
    os.chown(directory, USER, USER)
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)


def _write_over(path: str, content: str) -> None:
    file = tempfile.NamedTemporaryFile("w", delete=False)  # noqa: SIM115  bound until the end
    file.write(content)
    file.close()
    os.chmod(file.name, 0o644)
    if not os.path.exists(path):
        Path(path).touch()
    syscalls.mount(file.name, path, None, syscalls.MS_BIND)
    os.unlink(file.name)


async def run(name: str, directory: Path, command: str, network: str) -> dict[str, Any]:
    if command == "doctor":
        return asdict(await examine(directory))
    confinement = CONFINEMENTS.get(name, Confinement())
    before = os.getuid()
    try:
        async with ForkServer.start(
            directory=directory, preload=PRELOAD, namespaces=True, confinement=confinement
        ) as server:
            machine = Machine(server, directory)
            machine.lowers = [await machine.make("layers/busybox", busybox_files())]
            done = await machine.run(command, network=network)
            return {
                "uid": before,
                "root_id": server.root_id,
                "exit_status": done.exit_status,
                "stdout": done.stdout,
                "stderr": done.stderr,
                "upper": await machine.read(done.upper),
            }
    except AsynckanikoError as error:
        return {"error": type(error).__name__, "message": str(error)}


if __name__ == "__main__":
    main()
