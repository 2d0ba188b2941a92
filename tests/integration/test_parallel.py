"""What is said to happen at the same time does."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.integration.conftest import Workbench


@contextmanager
def meeting_point(parties: int) -> Iterator[str]:
    """Serve a URL that answers only when `parties` requests are waiting for it."""
    barrier = threading.Barrier(parties)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                barrier.wait(timeout=60)
                self.send_response(200)
            except threading.BrokenBarrierError:
                self.send_response(504)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def test_stages_that_wait_for_each_other_both_finish(
    bench: Workbench, busybox_layout: Path
) -> None:
    with meeting_point(2) as url:
        bench.write(
            f"""\
FROM busybox AS one
RUN wget -qO- {url} && echo 1 > /one
FROM busybox AS two
RUN wget -qO- {url} && echo 2 > /two
FROM scratch
COPY --from=one /one /
COPY --from=two /two /
"""
        )
        image = bench.build_layout("--build-context", f"busybox=oci-layout://{busybox_layout}")

    assert sorted(image.tree) == ["one", "two"]


def test_stage_that_nothing_needs_does_not_run(bench: Workbench, busybox_layout: Path) -> None:
    bench.write(
        """\
FROM busybox AS unused
RUN false
FROM busybox
RUN echo used > /used
"""
    )

    image = bench.build_layout("--build-context", f"busybox=oci-layout://{busybox_layout}")

    assert image.tree["used"].content == b"used\n"


def test_failing_stage_ends_its_siblings(bench: Workbench, busybox_layout: Path) -> None:
    with meeting_point(2) as url:
        bench.write(
            f"""\
FROM busybox AS slow
RUN wget -qO- {url} && sleep 1000
FROM busybox AS failing
RUN wget -qO- {url} && exit 7
FROM scratch
COPY --from=slow /etc/passwd /
COPY --from=failing /etc/group /
"""
        )
        done = bench.run(
            bench.command("--no-push", "--build-context", f"busybox=oci-layout://{busybox_layout}")
        )

    assert done.exit_code == 7, done.said
    assert "Dockerfile:4" in done.stderr
