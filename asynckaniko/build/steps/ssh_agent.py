"""RUN --mount=type=ssh: a socket inside the namespaces that leads to the user's agent.

The agent's own socket belongs to an id that the build does not have, so connections are passed on
by the main process. Nothing of the agent is kept: no key ever leaves it.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    connect_unix,
    create_task_group,
    create_unix_listener,
    to_thread,
)
from anyio.abc import ByteStream

from asynckaniko.build.workspace import Workspace
from asynckaniko.dockerfile.run_mounts import SshMount
from asynckaniko.errors import StepFailed

_CLOSED = (EndOfStream, BrokenResourceError, ClosedResourceError)


@asynccontextmanager
async def forwarded_agent(workspace: Workspace, agent: Path, mount: SshMount) -> AsyncIterator[str]:
    """Listen for the length of the block; gives the socket's path on the rootfs side.

    An executor without root's rights cannot give the socket to the ids that `mount` names: every
    user of the command may then use it.

    Raises:
        StepFailed: there is no socket at `agent`.
    """
    if not await to_thread.run_sync(agent.is_socket, limiter=workspace.resources.disk):
        raise StepFailed(f"ssh agent socket {agent}: no such socket; is the agent running?")
    (directory,) = await workspace.directories("ssh")
    path = f"{directory}/agent"
    # A socket's path is limited to 108 bytes; by way of the directory's descriptor it is short.
    holder = os.open(workspace.host_path(directory), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener = await create_unix_listener(f"/proc/self/fd/{holder}/agent", mode=0o666)
        root = 0 if workspace.roots else (await workspace.resources.inner.start()).root_id
        with suppress(PermissionError):
            os.chown(workspace.host_path(path), mount.uid or root, mount.gid or root)
            os.chmod(workspace.host_path(path), mount.mode)
        async with listener, create_task_group() as tasks:
            tasks.start_soon(listener.serve, partial(_forward, agent))
            yield path
            tasks.cancel_scope.cancel()
    finally:
        os.close(holder)


async def _forward(agent: Path, client: ByteStream) -> None:
    async with client, await connect_unix(agent) as server, create_task_group() as tasks:
        tasks.start_soon(_pump, client, server)
        await _pump(server, client)
        tasks.cancel_scope.cancel()


async def _pump(source: ByteStream, target: ByteStream) -> None:
    try:
        async for data in source:
            await target.send(data)
        await target.send_eof()
    except _CLOSED:
        return
