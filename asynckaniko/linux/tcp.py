"""What the kernel knows of a TCP connection (tcp(7), TCP_INFO)."""

import sys
from socket import IPPROTO_TCP, TCP_INFO
from typing import Protocol

_BYTES_ACKED = slice(120, 128)
"""`tcpi_bytes_acked` in struct tcp_info of linux/tcp.h, since Linux 4.1."""


class Socket(Protocol):
    """What event loops show of a socket."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...


def acknowledged_size(socket: Socket) -> int:
    """Return how many bytes the other side has acknowledged; 0 where nobody counts them.

    That is so for what is no TCP connection. A connection has one from its first packet on.
    """
    try:
        info = socket.getsockopt(IPPROTO_TCP, TCP_INFO, _BYTES_ACKED.stop)
    except OSError:
        return 0
    return int.from_bytes(info[_BYTES_ACKED], sys.byteorder)
