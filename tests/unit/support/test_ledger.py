import os
import subprocess
from pathlib import Path

from tests.support import ledger, processes


def test_everything_held_is_listed(tmp_path: Path) -> None:
    before = ledger.take(tmp_path)

    (tmp_path / "left").write_text("x")
    held = os.open(tmp_path / "left", os.O_RDONLY)
    with subprocess.Popen(["sleep", "1000"]) as child:
        after = ledger.take(tmp_path)
        child.kill()
    os.close(held)

    assert ledger.compare(before, after) == [
        f"open {tmp_path}/left",
        f"running {child.pid} (sleep 1000)",
        "in TMPDIR left",
    ]
    (tmp_path / "left").unlink()
    assert ledger.compare(before, ledger.take(tmp_path)) == []


def test_processes_that_work_in_a_directory_belong_to_it(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "1000"], cwd=tmp_path) as child:
        found = processes.belonging_to(tmp_path)
        sleeping = processes.running("sleep", "1000")
        child.kill()

    assert found == [f"{child.pid}: cwd of sleep 1000 "]
    assert child.pid in sleeping
    assert processes.belonging_to(tmp_path) == []
