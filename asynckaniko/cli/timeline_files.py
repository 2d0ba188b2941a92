"""The forms of `--timings`: a page for people, data for programs, a trace for Perfetto."""

from dataclasses import asdict
from typing import Any

import orjson

from asynckaniko.cli.timeline import Group, Timeline, total_by_kind
from asynckaniko.cli.timeline_page import render_page


def render_timings(timeline: Timeline, suffix: str) -> str:
    """Write the timeline as the file's suffix asks: `.html`, `.json` or `.trace`."""
    match suffix:
        case ".html":
            return render_page(timeline)
        case ".trace":
            return orjson.dumps({"traceEvents": _trace(timeline.groups())}).decode()
        case _:
            return orjson.dumps(_data(timeline), option=orjson.OPT_INDENT_2).decode()


def _data(timeline: Timeline) -> dict[str, Any]:
    groups = timeline.groups()
    return {
        "version": 1,
        "title": timeline.title,
        "outcome": timeline.outcome,
        "seconds": round(timeline.seconds, 4),
        "seconds_by_kind": {k: round(s, 4) for k, s in total_by_kind(groups).items()},
        "spans": [
            {"group": group.title, "row": row.label, **asdict(span)}
            for group in groups
            for row in group.rows
            for span in row.spans
        ],
    }


def _trace(groups: list[Group]) -> list[dict[str, Any]]:
    """Write Chrome's trace events: a process for each group, a thread for each row."""
    events: list[dict[str, Any]] = []
    for process, group in enumerate(groups, start=1):
        name = {"name": group.title}
        events.append({"ph": "M", "name": "process_name", "pid": process, "args": name})
        for thread, row in enumerate(group.rows, start=1):
            place = {"pid": process, "tid": thread}
            named = {"args": {"name": row.label}}
            events.append({"ph": "M", "name": "thread_name", **place, **named})
            events += [
                {
                    "ph": "X",
                    "name": span.label,
                    "cat": span.kind,
                    "ts": round(span.start_seconds * 1e6),
                    "dur": round(span.seconds * 1e6),
                    **place,
                    "args": {"detail": span.detail, "state": span.state},
                }
                for span in row.spans
            ]
    return events
