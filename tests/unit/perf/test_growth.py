"""What a growth run shows must be what was measured: axes, tables, choice of sizes."""

import re
from pathlib import Path

import pytest

from perf.growth.command import main, sizes
from perf.growth.plot import Curve, LogAxis, Panel, draw, short
from perf.growth.results import Point, figures, read, table, write
from perf.growth.series import SERIES
from perf.measure import Usage
from perf.traffic import Traffic


def point(size: int, repeat: int, wall: float, exit_code: int = 0) -> Point:
    usage = Usage(exit_code, wall, 1.0, 0.5, 64 << 20, 32 << 20)
    return Point("layers", size, repeat, usage, Traffic(2_000_000, 1_000_000, 0))


def test_equal_ratios_are_equal_distances_on_an_axis() -> None:
    axis = LogAxis(1.0, 100.0, 300.0, 100.0)

    assert [axis.place(value) for value in (1, 10, 100)] == pytest.approx([300, 200, 100])


def test_axis_covers_a_decade_where_values_hardly_differ() -> None:
    axis = LogAxis.of([99.0, 101.0], 0.0, 1.0, span=10.0)

    assert axis.high / axis.low == pytest.approx(10)
    assert axis.low * axis.high == pytest.approx(99 * 101)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.9, 11, [1, 2, 5, 10]), (3, 30, [5, 10, 20]), (0.5, 50_000, [1, 10, 100, 1000, 10_000])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert LogAxis(low, high, 0, 1).ticks() == pytest.approx(expected)


def test_points_of_a_curve_stand_where_the_axes_say(tmp_path: Path) -> None:
    curve = Curve("wall", [(10.0, 1.0), (100.0, 10.0), (1000.0, 100.0)])

    draw("t", "files", [Panel("seconds", [curve])], tmp_path / "p.svg")

    dots = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', (tmp_path / "p.svg").read_text())
    (x0, y0), (x1, y1), (x2, y2) = [(float(x), float(y)) for x, y in dots]
    assert (x1 - x0, y0 - y1) == pytest.approx((x2 - x1, y1 - y2), abs=0.2)
    assert x0 < x1
    assert y0 > y1  # upwards: y counts from the top


def test_value_of_nothing_is_left_out_of_a_plot(tmp_path: Path) -> None:
    curve = Curve("moved", [(1.0, 0.0), (10.0, 0.0)])

    draw("t", "files", [Panel("MB", [curve])], tmp_path / "p.svg")

    assert "nothing" in (tmp_path / "p.svg").read_text()


@pytest.mark.parametrize(
    ("value", "text"),
    [(250_000, "250k"), (999.7, "1k"), (0.05234, "0.0523"), (1_500_000, "1.5M"), (27.0, "27")],
)
def test_labels_have_three_digits(value: float, text: str) -> None:
    assert short(value) == text


def test_cost_of_one_more_is_the_difference_of_medians() -> None:
    points = [point(1, 0, 1.0), point(1, 1, 3.0), point(1, 2, 2.0), point(21, 0, 4.0)]

    rows = [row.split(" | ") for row in table(points).splitlines()[2:]]

    assert [row[3] for row in rows] == ["**2.00** (1.00-3.00)", "**4.00** (4.00-4.00)"]
    assert [row[4] for row in rows] == ["", "100"]  # (4 - 2) s over 20
    assert [row[7] for row in rows] == ["3.0 |", "3.0 |"]


def test_size_that_only_failed_is_shown_as_failed() -> None:
    points = [point(1, 0, 1.0), point(20, 0, 1.0, exit_code=1)]

    assert [row.size for row in figures(points, "layers")] == [1]
    assert table(points).splitlines()[-1].startswith("| layers | 20 | 0 | failed |")


def test_results_of_two_runs_are_shown_as_one(tmp_path: Path) -> None:
    first, second = [point(1, 0, 1.0)], [point(20, 0, 2.0)]
    write(tmp_path / "1.json", {"commit": "a"}, first)
    write(tmp_path / "2.json", {"commit": "a"}, second)

    assert read([tmp_path / "1.json", tmp_path / "2.json"]) == first + second


def test_sizes_are_those_of_the_series_unless_told() -> None:
    chosen = sizes(["layers", "stages"], ["layers=20,1"])

    assert chosen == {"layers": [1, 20], "stages": SERIES["stages"].sizes}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["leaves"], "no series leaves"),
        (["layers", "--points", "stages=1"], "stages is none of layers"),
        (["layers", "--points", "layers=0,1"], "whole numbers from 1 on"),
    ],
)
def test_wrong_choice_is_an_error(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert complaint in capsys.readouterr().err


def test_size_without_room_on_the_disk_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [f"--{what}={tmp_path}" for what in ("work", "plots")]

    code = main(["blob", "--points=blob=1000000000000", *places])

    assert code == 1
    assert "blob 1000000000000 is left out: it needs 3000000002048 MiB" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", SERIES)
def test_context_of_a_series_depends_on_its_size_alone(name: str, tmp_path: Path) -> None:
    for copy in "ab":
        (tmp_path / copy).mkdir()
        SERIES[name].write(tmp_path / copy, "registry/base:1", 3)

    first, second = (
        {file.relative_to(root): file.read_bytes() for file in root.rglob("*") if file.is_file()}
        for root in (tmp_path / "a", tmp_path / "b")
    )
    assert first == second
    assert first
