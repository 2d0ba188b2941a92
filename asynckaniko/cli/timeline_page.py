"""The timeline as one page that needs nothing else: no script, no font, no network."""

import unicodedata
from collections.abc import Iterator
from html import escape

from asynckaniko.cli.labels import plain_text, seconds_text
from asynckaniko.cli.timeline import Group, Row, Span, Timeline, total_by_kind

_WIDTH = 1200
_LABEL_WIDTH = 370
_TIME_WIDTH = 64
_ROW_HEIGHT = 20
_BAR_HEIGHT = 12
_GROUP_HEIGHT = 34
_CHARACTER_WIDTH = 6.65
"""Of the 11 px monospace font of the labels."""
_LABEL_CELLS = int((_LABEL_WIDTH - 28) / _CHARACTER_WIDTH)
_LEAST_WIDTH = 1.5
"""Something that took no time is still to be seen."""

_KINDS = {
    "image": "build image",
    "resolve": "resolve base",
    "pull": "pull and unpack",
    "reuse": "layer kept from before",
    "step": "run step",
    "pack": "pack layer",
    "push": "push",
    "write": "write output",
}

_STYLE = """
:root { color-scheme: light dark; --text: #1f2328; --soft: #656d76; --line: #e3e6ea;
  --back: #ffffff; --card: #f6f8fa; --resolve: #8250df; --pull: #0969da; --reuse: #9ec5f0;
  --step: #2da44e; --pack: #bf8700; --push: #cf5a1b; --write: #57606a; --failed: #cf222e;
  --image: #1b7c83; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --soft: #8d96a0; --line: #30363d;
  --back: #0d1117; --card: #161b22; --resolve: #a371f7; --pull: #388bfd; --reuse: #1f4b80;
  --step: #3fb950; --pack: #d29922; --push: #f0883e; --write: #8b949e; --failed: #f85149;
  --image: #39c5cf; } }
body { margin: 24px auto; max-width: 1248px; padding: 0 24px; background: var(--back);
  color: var(--text); font: 14px/1.45 system-ui, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 20px; margin: 0 0 2px; font-weight: 600; overflow-wrap: anywhere; }
.outcome { color: var(--soft); margin: 0 0 16px; }
.failed { color: var(--failed); }
ul { list-style: none; display: flex; flex-wrap: wrap; gap: 6px 22px; margin: 0 0 10px;
  padding: 10px 14px; background: var(--card); border: 1px solid var(--line); border-radius: 6px; }
li { white-space: nowrap; }
li i { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 6px; }
li b { font-weight: 600; font-variant-numeric: tabular-nums; }
div { overflow-x: auto; }
svg { width: 100%; min-width: 960px; height: auto; display: block; }
svg text { fill: var(--text); font: 11px ui-monospace, "DejaVu Sans Mono", Menlo, monospace; }
svg .group { font: 600 13px system-ui, "Segoe UI", Roboto, sans-serif; }
svg .time, svg .tick { fill: var(--soft); }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .stripe { fill: var(--card); }
svg rect.cached { opacity: .45; }
svg rect.unfinished { opacity: .6; stroke: var(--failed); stroke-dasharray: 3 2; }
"""


def render_page(timeline: Timeline) -> str:
    """Write the whole page."""
    groups = timeline.groups()
    title = plain_text(timeline.title)
    outcome = plain_text(timeline.outcome)
    mood = "" if outcome[:1].isdigit() else " failed"
    return "\n".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{escape(title)}: timeline</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            f'<p class="outcome{mood}">{seconds_text(timeline.seconds)}: {escape(outcome)}</p>',
            f"<ul>{''.join(_legend(groups))}</ul>",
            f"<div>{_picture(groups, timeline.seconds)}</div>",
            "</body></html>\n",
        )
    )


def _legend(groups: list[Group]) -> Iterator[str]:
    totals = total_by_kind(groups)
    for kind, words in _KINDS.items():
        if kind in totals:
            square = f'<i style="background:var(--{kind})"></i>'
            yield f"<li>{square}{words} <b>{seconds_text(totals[kind])}</b></li>"


def _picture(groups: list[Group], seconds: float) -> str:
    axis = _Axis(max(seconds, 0.001))
    parts: list[str] = []
    top = 22
    for group in groups:
        parts.append(_text(0, top + 22, group.title, "group"))
        top += _GROUP_HEIGHT
        for number, row in enumerate(group.rows):
            parts += _row(row, top, axis, striped=number % 2 == 0)
            top += _ROW_HEIGHT
    height = top + 8
    grid = list(axis.grid(height))
    view = f'viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="timeline"'
    # The grid is drawn over the stripes and under the bars.
    stripes = [part for part in parts if 'class="stripe"' in part]
    others = [part for part in parts if 'class="stripe"' not in part]
    return "\n".join((f"<svg {view}>", *stripes, *grid, *others, "</svg>"))


def _row(row: Row, top: int, axis: "_Axis", *, striped: bool) -> Iterator[str]:
    if striped:
        size = f'width="{_WIDTH}" height="{_ROW_HEIGHT}"'
        yield f'<rect class="stripe" x="0" y="{top}" {size} rx="3"/>'
    label = plain_text(row.label)
    yield "<g>" + _tooltip(label) + _text(12, top + 14, clipped(label, _LABEL_CELLS)) + "</g>"
    for span in row.spans:
        yield _bar(span, top, axis)
    total = sum(span.seconds for span in row.spans)
    end = max(span.start_seconds + span.seconds for span in row.spans)
    if total >= 0.05:
        yield _text(axis.x(end) + 6, top + 14, seconds_text(total), "time")


def _bar(span: Span, top: int, axis: "_Axis") -> str:
    start = axis.x(span.start_seconds)
    width = max(_LEAST_WIDTH, axis.x(span.start_seconds + span.seconds) - start)
    color = "failed" if span.state == "failed" else span.kind
    kind = _KINDS[span.kind]
    lines = [
        f"{kind}: {plain_text(span.label)}",
        f"{span.seconds:.2f} s, from {span.start_seconds:.2f} s",
        *filter(None, (plain_text(span.detail), span.state)),
    ]
    place = f'x="{start:.1f}" y="{top + (_ROW_HEIGHT - _BAR_HEIGHT) // 2}" width="{width:.1f}"'
    style = f'class="{span.state}" fill="var(--{color})"'
    tooltip = _tooltip("\n".join(lines))
    return f'<rect {place} height="{_BAR_HEIGHT}" rx="2" {style}>{tooltip}</rect>'


class _Axis:
    """Maps seconds to horizontal places."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._scale = (_WIDTH - _LABEL_WIDTH - _TIME_WIDTH) / seconds

    def x(self, seconds: float) -> float:
        return _LABEL_WIDTH + seconds * self._scale

    def grid(self, height: int) -> Iterator[str]:
        """Draw a line at each round number of seconds, six to twelve of them."""
        step = _round_step(self._seconds / 8)
        for number in range(int(self._seconds / step) + 1):
            x = self.x(number * step)
            yield f'<line class="grid" x1="{x:.1f}" y1="16" x2="{x:.1f}" y2="{height}"/>'
            yield _text(x + 3, 12, _tick_text(number * step), "tick")


def _round_step(least: float) -> float:
    """Return the smallest of 1, 2, 5, 10 ... (and of minutes beyond) that is not below `least`."""
    if least > 20:
        minutes = (30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
        return next((step for step in minutes if step >= least), 36000)
    power = 0.001
    while True:
        for factor in (1, 2, 5):
            if power * factor >= least:
                return power * factor
        power *= 10


def _tick_text(seconds: float) -> str:
    if seconds >= 60:
        return f"{int(seconds // 60)}m{int(seconds % 60):02}"
    return f"{seconds:g}s"


def _tooltip(text: str) -> str:
    return f"<title>{escape(text)}</title>"


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y}"{style}>{escape(text)}</text>'


def clipped(text: str, cells: int) -> str:
    """Cut `text` to so many columns of a monospace font, wide characters counted twice."""
    if sum(map(_cells, text)) <= cells:
        return text
    kept: list[str] = []
    room = cells - 1
    for character in text:
        room -= _cells(character)
        if room < 0:
            break
        kept.append(character)
    return f"{''.join(kept).rstrip()}…"


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
