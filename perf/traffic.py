"""What travels to and from a registry, by its own notifications."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_QUIET_SECONDS = 0.4


@dataclass(frozen=True)
class Traffic:
    """Bytes of blobs and manifests, and the number of blobs mounted across repositories."""

    pulled: int
    """By notifications, a blob counts whole for each of its ranges."""
    pushed: int
    mounted: int


class Listener:
    """Collects the events that a registry posts to `url`."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}/"
        self._lock = threading.Lock()
        self._events: list[dict[str, Any]] = []
        self._latest = 0.0

    def add(self, events: list[dict[str, Any]]) -> None:
        with self._lock:
            self._events += events
            self._latest = time.monotonic()

    def take(self) -> Traffic:
        """Return what happened since the last call, once no more events arrive."""
        asked = time.monotonic()
        while time.monotonic() - max(self._latest, asked) < _QUIET_SECONDS:
            time.sleep(0.05)
        with self._lock:
            events, self._events = self._events, []
        return Traffic(
            sum(_size(event) for event in events if event["action"] == "pull"),
            sum(_size(event) for event in events if event["action"] == "push"),
            sum(event["action"] == "mount" for event in events),
        )


def _size(event: dict[str, Any]) -> int:
    target = event["target"]
    return int(target.get("size") or target.get("length") or 0)


@contextmanager
def listen() -> Iterator[Listener]:
    """Listen on loopback until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            listener.add(json.loads(body).get("events") or [])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        listener = Listener(server)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield listener
        finally:
            server.shutdown()
            thread.join()
