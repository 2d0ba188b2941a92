import os
import subprocess
import time
from pathlib import Path

from tests.support import ledger, processes


def test_everything_held_is_listed(tmp_path: Path) -> None:
    before = ledger.take(tmp_path, mounts_below=tmp_path)

    (tmp_path / "left").write_text("x")
    held = os.open(tmp_path / "left", os.O_RDONLY)
    with subprocess.Popen(["sleep", "1000"]) as child:
        _wait_for(child)
        after = ledger.take(tmp_path, mounts_below=tmp_path)
        child.kill()
    os.close(held)

    assert ledger.compare(before, after) == [
        f"open {tmp_path}/left",
        f"running {child.pid} (sleep 1000)",
        "in TMPDIR left",
    ]
    (tmp_path / "left").unlink()
    assert ledger.compare(before, ledger.take(tmp_path, mounts_below=tmp_path)) == []


def test_processes_that_work_in_a_directory_belong_to_it(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "1000"], cwd=tmp_path) as child:
        _wait_for(child)
        found = processes.belonging_to(tmp_path)
        sleeping = processes.running("sleep", "1000")
        child.kill()

    assert found == [f"{child.pid}: cwd of sleep 1000 "]
    assert child.pid in sleeping
    assert processes.belonging_to(tmp_path) == []


def _wait_for(child: "subprocess.Popen[bytes]") -> None:
    """Wait until the kernel shows the new program's arguments: soon after exec, not at once."""
    while not Path(f"/proc/{child.pid}/cmdline").read_bytes():
        time.sleep(0.001)
