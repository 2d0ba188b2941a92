"""Start the process of a fork server; it loads its modules while its client has other work."""

import json  # noqa: TID251  what the server reads in the standard library's way
import os
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from asynckaniko.errors import HostError

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BOOTSTRAP = (
    "import os, sys; sys.path[:0] = sys.argv[2:];"
    "from asynckaniko.isolation.server import main; main(int(sys.argv[1]));"
    # Whoever waits for its end need not wait until each of its modules is undone.
    "os._exit(0)"
)


class Launch:
    """A fork server's process that works nowhere yet: `ForkServer.start` tells it where, and how.

    Whoever has begun it closes it, whether it was used or not.
    """

    def __init__(
        self, control: socket.socket, process: subprocess.Popen[bytes], *, end: int, stderr: int
    ) -> None:
        self.control = control
        self.process = process
        self.end = end
        """Readable when the process has ended."""
        self.stderr = stderr
        """A memfd with all it said."""
        self._is_closed = False

    @classmethod
    def begin(cls, preload: Sequence[str]) -> Self:
        """Start it, and let it load `preload`. Blocks for some milliseconds. Raises HostError."""
        with ExitStack() as failing:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            failing.enter_context(ours)
            ours.setblocking(False)
            with theirs:
                stderr = os.memfd_create("stderr")
                failing.callback(os.close, stderr)
                process = _spawn(theirs.fileno(), stderr)
                failing.callback(process.wait)
                failing.callback(process.kill)
                try:
                    end = os.pidfd_open(process.pid)
                except OSError as error:
                    raise HostError(f"pidfd_open: {error.strerror}") from error
                ours.send(json.dumps({"preload": list(preload)}).encode())
            failing.pop_all()
        return cls(ours, process, end=end, stderr=stderr)

    def close(self) -> None:
        """Let go of the process; kill it, and wait, if it has not ended. Can be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        self.control.close()
        self.process.kill()
        self.process.wait()
        os.close(self.end)
        os.close(self.stderr)


@contextmanager
def launched(preload: Sequence[str]) -> Iterator[Launch | None]:
    """Launch a server that a block will probably need; None if that fails: who needs it is told."""
    try:
        launch = Launch.begin(preload)
    except HostError:
        yield None
        return
    try:
        yield launch
    finally:
        launch.close()


def _spawn(control: int, stderr: int) -> subprocess.Popen[bytes]:
    # The executor image has newuidmap beside its Python, and nowhere else.
    path = f"{Path(sys.executable).parent}:{_PATH}"
    command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", _BOOTSTRAP, str(control)]
    try:
        return subprocess.Popen(
            command + _import_path(),
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            env={"PATH": path},
            pass_fds=[control],
            # Ctrl-C is for the caller, who cancels in order.
            start_new_session=True,
        )
    except OSError as error:
        raise HostError(f"cannot start {sys.executable}: {error.strerror}") from error


def _import_path() -> list[str]:
    """List where this process finds modules, the standard library's own places excepted."""
    package = Path(__file__).resolve().parents[2]
    library = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    places = [str(package)]
    for entry in sys.path:
        place = os.path.abspath(entry)
        inside_library = os.path.dirname(place) in library or place in library
        if place not in places and not (inside_library and Path(place).name != "site-packages"):
            places.append(place)
    return [place for place in places if os.path.exists(place)]
