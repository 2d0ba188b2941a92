"""Where the time went: spans, the page, the data and the trace."""

from html.parser import HTMLParser
from typing import Any

import orjson
import pytest

from asynckaniko.cli.timeline import Timeline, total_by_kind
from asynckaniko.cli.timeline_files import render_timings
from asynckaniko.cli.timeline_page import clipped
from asynckaniko.events import BuildStarted, Step, StepFailedEvent, StepFinished, StepStarted
from tests.unit.cli.script import MAKE, digest, whole_build


def timeline(*moments: tuple[float, Any]) -> Timeline:
    found = Timeline()
    for at, event in moments or whole_build():
        found.add(event, at=at)
    return found


def test_groups_are_bases_then_stages_then_outputs() -> None:
    groups = timeline().groups()

    assert [(group.title, len(group.rows)) for group in groups] == [
        ("Base images", 3),
        ("Stage build", 3),
        ("Stage final", 2),
        ("Outputs", 6),
    ]


def test_step_and_the_packing_of_its_layer_share_a_row() -> None:
    build = timeline().groups()[1]

    assert build.rows[2].label == "[3/3] RUN make -j4 all"
    run, pack = build.rows[2].spans
    assert (run.kind, pack.kind) == ("step", "pack")
    assert [run.start_seconds, run.seconds] == pytest.approx([3.5, 2.6])
    assert [pack.start_seconds, pack.seconds] == pytest.approx([6.2, 0.2])
    assert pack.detail == "12.3 MB in 455 entries became 4.1 MB"


def test_transfers_are_in_order_of_their_start() -> None:
    outputs = timeline().groups()[-1]

    starts = [row.spans[0].start_seconds for row in outputs.rows]
    assert starts == sorted(starts)
    assert outputs.rows[0].label.startswith(digest("RUN apt-get")[:7])


def test_seconds_of_each_kind_are_added_up() -> None:
    totals = total_by_kind(timeline().groups())

    assert totals["pull"] == pytest.approx(2.6)
    assert totals["pack"] == pytest.approx(0.8)
    assert "reuse" not in totals


def test_step_that_failed_and_step_that_was_cut_off_are_marked() -> None:
    other = Step("build", 2, 3, "RUN other", 4)
    found = timeline(
        (0.0, BuildStarted("Dockerfile", "build", ("build",))),
        (1.0, StepStarted(other)),
        (1.0, StepStarted(MAKE)),
        (3.0, StepFailedEvent(MAKE, 2.0, "exit status 2")),
    )

    (stage,) = found.groups()
    assert [(row.spans[0].state, row.spans[0].seconds) for row in stage.rows] == [
        ("unfinished", 2.0),
        ("failed", 2.0),
    ]
    assert found.outcome == "failed: [3/3] RUN make -j4 all"


def test_cached_step_is_marked() -> None:
    found = timeline(
        (0.0, BuildStarted("Dockerfile", "build", ("build",))),
        (1.0, StepStarted(MAKE)),
        (1.0, StepFinished(MAKE, 0.0, cached=True)),
    )

    assert found.groups()[0].rows[0].spans[0].state == "cached"


class Page(HTMLParser):
    """Checks nesting, and collects what is seen and what is loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.loaded: list[str] = []
        self.bars = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [name for name, _ in attrs if name in {"src", "href"}]
        self.bars += tag == "rect" and "y" in dict(attrs) and "stripe" not in str(attrs)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.seen.append(data)


def test_page_shows_every_row_and_loads_nothing() -> None:
    found = timeline()
    page = Page(render_timings(found, ".html"))

    assert page.open == []
    assert page.loaded == []
    assert "[3/3] RUN make -j4 all" in page.seen
    assert "9.8s: 4 layers, 82.6 MB" in page.seen
    assert page.bars == sum(len(row.spans) for group in found.groups() for row in group.rows)


def test_hostile_text_stays_text() -> None:
    step = Step("build", 1, 1, "RUN echo '<script>alert(1)</script>\x1b[2J'", 3)
    text = render_timings(
        timeline(
            (0.0, BuildStarted("<b>.Dockerfile", "build", ("build",))),
            (1.0, StepStarted(step)),
            (2.0, StepFailedEvent(step, 1.0, '"><img src=x>')),
        ),
        ".html",
    )

    page = Page(text)

    assert "script" not in text.replace("&lt;script&gt;", "").replace("&lt;/script&gt;", "")
    assert page.loaded == []
    assert "\x1b" not in text


def test_build_that_took_no_time_has_a_page_too() -> None:
    Page(render_timings(timeline((0.0, BuildStarted("Dockerfile", "x", ("x",)))), ".html"))


@pytest.mark.parametrize(
    ("seconds", "ticks"),
    [(0.004, "0.002s"), (9.8, "8s"), (70.0, "1m00"), (3600.0, "50m00"), (90000.0, "1200m00")],
)
def test_axis_has_round_numbers(seconds: float, ticks: str) -> None:
    found = timeline(
        (0.0, BuildStarted("Dockerfile", "build", ("build",))),
        (0.0, StepStarted(MAKE)),
        (seconds, StepFinished(MAKE, seconds)),
    )

    assert ticks in Page(render_timings(found, ".html")).seen


def test_data_lists_every_span() -> None:
    found = timeline()
    data = orjson.loads(render_timings(found, ".json"))

    assert data["seconds"] == 9.8
    assert data["outcome"] == "4 layers, 82.6 MB"
    assert {
        "group": "Stage build",
        "row": "[1/3] WORKDIR /src",
        "kind": "step",
        "label": "[1/3] WORKDIR /src",
        "start_seconds": 3.1,
        "seconds": 0.0,
        "detail": "",
        "state": "",
    } in data["spans"]


def test_trace_has_chromes_form() -> None:
    events = orjson.loads(render_timings(timeline(), ".trace"))["traceEvents"]

    complete = [event for event in events if event["ph"] == "X"]
    assert {"pid", "tid", "ts", "dur", "name"} <= set(complete[0])
    (make,) = [e for e in complete if e["cat"] == "step" and "make" in e["name"]]
    assert (make["ts"], make["dur"]) == (3_500_000, 2_600_000)
    names = [event["args"]["name"] for event in events if event["ph"] == "M"]
    assert "Stage build" in names


@pytest.mark.parametrize(
    ("text", "cells", "expected"),
    [
        ("short", 5, "short"),
        ("longer", 5, "long…"),
        ("警告警告", 8, "警告警告"),
        ("警告警告", 7, "警告警…"),
        ("警告警告", 6, "警告…"),
        ("two words", 5, "two…"),
        ("e\u0301" * 5, 5, "e\u0301" * 5),
    ],
)
def test_label_is_cut_by_columns(text: str, cells: int, expected: str) -> None:
    assert clipped(text, cells) == expected
