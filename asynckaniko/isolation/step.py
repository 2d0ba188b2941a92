"""The job that carries out one RUN, in a child of the fork server that has the namespaces.

The child is PID 1 of its own pid namespace. Whatever the command leaves running ends with it.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from asynckaniko.isolation import mounts, root
from asynckaniko.isolation.command import Command, execute
from asynckaniko.isolation.mounts import make_bench
from asynckaniko.isolation.network import enter_empty_network
from asynckaniko.isolation.owner_calls import OwnerCalls
from asynckaniko.linux import owners, syscalls
from asynckaniko.linux.accounts import Accounts


def run(arguments: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """Run a command on top of an image; its changes end up in `upper`.

    arguments: lowers (directories, base first), upper, work, scratch (an empty private
    directory), argv, env (["K=V"]), cwd, user (USER's text, "" is root), hostname, network
    ("host" or "none"), limits ({"nofile": [soft, hard]}), shm_size (bytes; without, docker's),
    files ({"/etc/hosts": content}) and mounts, each with `type`, `target` and

        bind    directory or lowers (the tree), source (in it), readonly (default true; else
                what is written is thrown away)
        cache   directory (made with mode, uid, gid if missing), source, readonly
        tmpfs   size (bytes, or as mount takes it)
        secret  fd (index into `fds`), mode, uid, gid; env: NAME to set, alone or beside target
        socket  path

    fds: stdout and stderr of the command, then the files of secrets. A pipe should have mode
    0666, or a command that opens /dev/stderr is refused.

    Returns exit_status (128 + N for signal N) and stubs, the paths of mount points that exist
    only during the step; where owners are recorded (`linux.owners`) also links, as OwnerCalls has
    them, and users, the names of those that programs wanted to become and did not. Raises
    StepFailed; the text names the cause.
    """
    stdout, stderr = fds[:2]
    own_network = arguments["network"] == "none"
    syscalls.unshare(syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS)
    if own_network:
        enter_empty_network()
    bench = make_bench(arguments["scratch"])
    attached, secret_env = mounts.prepare(arguments.get("mounts", ()), fds, bench)
    place, stubs = root.assemble(
        root.Layers(arguments["lowers"], arguments["upper"], arguments["work"]),
        files=arguments.get("files", {}),
        attached=attached,
        own_network=own_network,
        bench=bench,
        shm_size=arguments.get("shm_size") or root.SHM_SIZE,
    )
    syscalls.sethostname(arguments["hostname"])
    calls = OwnerCalls(arguments["upper"]) if owners.are_recorded() else None
    root.enter(place)
    # First, so that a Dockerfile's own wins.
    settings = ["=".join(root.APT_SETTING)] if calls else []
    command = Command(
        argv=arguments["argv"],
        env=[*settings, *arguments["env"], *secret_env],
        cwd=arguments["cwd"] or "/",
        user=arguments["user"],
        limits=arguments.get("limits", {}),
    )
    if calls is None:
        return {"exit_status": execute(command, stdout=stdout, stderr=stderr), "stubs": stubs}
    with calls:
        status = execute(command, stdout=stdout, stderr=stderr, attendant=calls)
    users = [_name(uid) for uid in calls.users]
    return {"exit_status": status, "stubs": stubs, "links": calls.links, "users": users}


def _name(uid: int) -> str:
    """Name a user in the finished root; by number if nobody has it."""
    directory = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        users = Accounts.read(directory).users
    except OSError:
        # The command left something else there.
        return str(uid)
    finally:
        os.close(directory)
    return next((user.name for user in users if user.uid == uid), str(uid))
