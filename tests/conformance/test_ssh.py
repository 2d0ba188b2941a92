"""RUN --mount=type=ssh with OpenSSH's own agent."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from asynckaniko.build.builder import Builder
from asynckaniko.build.request import BuildRequest, OciLayout
from asynckaniko.errors import StepFailed
from tests.support.images import read_layout


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Path]:
    """The socket of an agent that holds one key, called `the-key`."""
    # Directly below the session's directory: the address of a socket has 107 bytes.
    socket, key = tmp_path / "agent", tmp_path / "key"
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(socket)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "the-key", "-f", str(key)]
        subprocess.run(make, check=True, stdin=subprocess.DEVNULL)
        add = ["ssh-add", "-q", str(key)]
        environment = {"PATH": "/usr/bin:/bin", "SSH_AUTH_SOCK": str(socket)}
        deadline = time.monotonic() + 10
        # The socket is there a moment before anyone listens.
        while subprocess.run(add, env=environment, stdin=subprocess.DEVNULL).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield socket
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def program(tmp_path: Path) -> str:
    """A context with this machine's ssh-add and what it is linked with."""
    directory = tmp_path / "program"
    directory.mkdir()
    path = shutil.which("ssh-add")
    assert path, "apt-get install openssh-client (make test does)"
    linked = subprocess.run(["ldd", path], check=True, capture_output=True, text=True).stdout
    files = [word for word in linked.split() if word.startswith("/")]
    for file in (path, *files):
        name = "loader" if "ld-linux" in file else Path(file).name
        shutil.copy(file, directory / name)
    return str(directory)


DOCKERFILE = """\
FROM busybox
RUN --mount=from=program,target=/p --mount=type=ssh,required{options} \\
  /p/loader --library-path /p /p/ssh-add -l > /keys && stat -c '%a %u' $SSH_AUTH_SOCK > /socket
RUN test -z "$SSH_AUTH_SOCK"
"""


def request(tmp_path: Path, busybox: Path, program: str, options: str = "") -> BuildRequest:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(DOCKERFILE.format(options=options))
    return BuildRequest(
        context=str(context),
        build_contexts={"busybox": f"oci-layout://{busybox}", "program": program},
        ssh={"default": tmp_path / "agent"},
        outputs=(OciLayout(path=tmp_path / "layout"),),
    )


@pytest.mark.parametrize(
    ("options", "socket"),
    [
        ("", "600 0"),
        (",id=default,target=/run/agent", "600 0"),
        (",uid=1000,gid=50,mode=0660", "660 1000"),
    ],
)
async def test_command_speaks_with_the_agent_and_leaves_nothing(
    builder: Builder,
    busybox_layout: Path,
    tmp_path: Path,
    agent: Path,
    program: str,
    options: str,
    socket: str,
) -> None:
    await builder.build(request(tmp_path, busybox_layout, program, options))

    image = read_layout(tmp_path / "layout")
    assert b"the-key" in image.tree["keys"].content
    assert image.tree["socket"].content.decode() == f"{socket}\n"
    assert {path for layer in image.layers[1:] for path in layer} == {"keys", "socket"}


async def test_agent_that_is_required_and_not_given_is_an_error(
    builder: Builder, busybox_layout: Path, tmp_path: Path, program: str
) -> None:
    with pytest.raises(StepFailed, match="ssh agent other") as caught:
        await builder.build(request(tmp_path, busybox_layout, program, ",id=other"))

    assert caught.value.span is not None
    assert caught.value.span.first == 2
