"""Loops are found by name, and stand beside their limits."""

import sys

import pytest

from perf import micro
from perf.micro._peer import BLOCK, peer
from perf.micro._result import Result, rate_of


def test_every_loop_of_the_design_is_there() -> None:
    assert {"copy", "deflate", "http", "inflate", "key", "pack", "parse", "scan", "unpack"} <= set(
        micro.modules()
    )


def test_share_of_the_limit_is_that_of_the_medians() -> None:
    limit = Result("memcpy", "MB", (50.0, 400.0, 200.0))

    shown = str(Result("loop", "MB", (10.0, 60.0, 50.0)).beside(limit))

    assert "50.0 MB/s (10.0-60.0)" in shown
    assert shown.endswith("25% of memcpy: 200.0")


def test_time_of_a_program_counts() -> None:
    spin = "import time\nwhile time.process_time() < 0.05: pass"

    measured = rate_of("spin", 1, "runs", [sys.executable, "-c", spin])

    assert max(measured.rates) <= 1 / 0.05


def test_unknown_loop_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert micro.main(["deflat"]) == 2
    assert "no deflat; there are copy, deflate" in capsys.readouterr().err


def test_peer_gives_the_blob_and_takes_an_upload() -> None:
    import urllib.request

    size = len(BLOCK) + 5
    with peer(size) as host:
        with urllib.request.urlopen(f"http://{host}/v2/x/blobs/1") as answer:
            given = answer.read()
        request = urllib.request.Request(
            f"http://{host}/v2/x/blobs/uploads/1", data=given, method="PUT"
        )
        with urllib.request.urlopen(request) as answer:
            status = answer.status

    assert given == BLOCK + BLOCK[:5]
    assert status == 201
