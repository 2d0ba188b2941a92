"""Stacks come out of a profiler as they went in."""

import re
from pathlib import Path

import pytest

from perf.flamegraph import draw_flames, fold, read_folded
from perf.profile import find

# The layout of perf script (perf-script(1)): head, frames innermost first, blank line.
SCRIPT = """\
python3 4711 100.000001:          1 cycles:P:
\t    7f00deadbeef inflate+0x1b (/usr/lib/libz.so)
\t    7f00deadbe00 _PyEval_EvalFrameDefault+0xa (/usr/bin/python3)
\t           1635d7 [unknown] ([unknown])

python3 4711 100.000002:          1 cycles:P:
\t    7f00deadbeef ..@38.end+0x1b (/usr/lib/libisal.so.2)
\t    7f00deadbee0 [unknown] (/usr/lib/libisal.so.2)

        sh 12 100.1:          1 cycles:P:
\t ffffffff81000000 do_syscall_64+0x5 ([kernel.kallsyms])
\t    7f00deadbe00 [unknown] (/bin/sh)

"""


def test_stack_of_perf_is_folded_outermost_first() -> None:
    assert fold(SCRIPT.splitlines()) == {
        "python3;_PyEval_EvalFrameDefault;inflate": 1,
        "python3;[libisal.so.2]": 1,
        "sh;[sh];do_syscall_64": 1,
    }


def test_folded_text_with_blanks_in_a_name_is_read() -> None:
    assert read_folded(["a;f (x.py:3) 2", "a;f (x.py:3) 3", ""]) == {"a;f (x.py:3)": 5}


def test_command_line_of_a_process_is_no_frame() -> None:
    line = 'process 7:"python -c import sys; main()";process 9:"sh -c a;b";read (a.py:1) 2'

    assert read_folded([line]) == {"process 7;process 9;read (a.py:1)": 2}


def test_width_of_a_frame_is_its_share_of_the_samples(tmp_path: Path) -> None:
    draw_flames({"a;b": 3, "a;c": 1}, "t", tmp_path / "f.svg")

    text = (tmp_path / "f.svg").read_text()
    found = re.findall(r'width="([\d.]+)" height="16.0" fill="#\w+"><title>(\w+): (\d+)', text)
    assert [(name, int(count)) for _, name, count in found] == [
        ("all", 4),
        ("a", 4),
        ("b", 3),
        ("c", 1),
    ]
    assert [float(width) for width, _, _ in found] == [1199.5, 1199.5, 899.5, 299.5]


def test_profiler_that_is_not_there_is_told_with_its_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(FileNotFoundError, match=r"perf is missing: on Debian .* linux-perf"):
        find("perf")
