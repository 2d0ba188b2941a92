"""The other end of a connection on loopback: gives a blob, or takes one and forgets it.

A program of its own, so that its CPU time does not count. It knows as much of the distribution
protocol as a client needs for one blob: `/v2/`, GET and HEAD of a blob, POST and PUT of an upload.
"""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

BLOCK = bytes(range(256)) * 4096
_PIECE_SIZE = 1 << 20


@contextmanager
def peer(size: int) -> Iterator[str]:
    """Serve a blob of `size` bytes, BLOCK again and again; gives `host:port`."""
    command = [sys.executable, "-I", __file__, str(size)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def _serve(connection: socket.socket, size: int) -> None:
    with connection, connection.makefile("rb") as requests:
        while line := requests.readline():
            method, path, _ = line.decode().split()
            length, waits = 0, False
            while (header := requests.readline().strip().lower()) != b"":
                name, _, value = header.partition(b":")
                length = int(value) if name == b"content-length" else length
                waits = waits or name == b"expect"
            if waits:
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            buffer = bytearray(_PIECE_SIZE)
            while length:
                received = requests.readinto(memoryview(buffer)[: min(length, _PIECE_SIZE)])
                if not received:
                    return
                length -= received
            _answer(connection, method, path, size)


def _answer(connection: socket.socket, method: str, path: str, size: int) -> None:
    if method == "GET" and "/blobs/" in path:
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        for start in range(0, size, len(BLOCK)):
            connection.sendall(memoryview(BLOCK)[: size - start])
        return
    status, more = {
        "HEAD": ("404 Not Found", ""),
        "POST": ("202 Accepted", "Location: /v2/x/blobs/uploads/1\r\n"),
        "PUT": ("201 Created", ""),
    }.get(method, ("200 OK", ""))
    connection.sendall(f"HTTP/1.1 {status}\r\n{more}Content-Length: 0\r\n\r\n".encode())


def _listen(size: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_serve, args=(connection, size), daemon=True).start()


if __name__ == "__main__":
    _listen(int(sys.argv[1]))
