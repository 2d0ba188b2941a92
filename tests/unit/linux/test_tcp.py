import socket

from asynckaniko.linux.tcp import acknowledged_size
from tests.support.waiting import wait_until


def test_bytes_that_arrive_are_counted() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as sender,
        server.accept()[0],
    ):
        before = acknowledged_size(sender)
        sender.sendall(bytes(1000))

        wait_until(lambda: acknowledged_size(sender) == before + 1000, "no acknowledgement")


def test_bytes_that_nobody_takes_are_not_counted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with socket.create_connection(server.getsockname()) as sender, server.accept()[0]:
            sender.setblocking(False)
            before = acknowledged_size(sender)
            sent = sender.send(bytes(1 << 20))

            assert acknowledged_size(sender) - before < sent


def test_nothing_is_known_of_another_kind_of_socket() -> None:
    sender, receiver = socket.socketpair()
    with sender, receiver:
        sender.sendall(bytes(1000))

        assert acknowledged_size(sender) == 0
