"""Pictures as text: the few elements of SVG that plots and bars need."""

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

INK, FAINT, GRID = "#24292f", "#6e7781", "#d8dee4"
COLOURS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#9a6700", "#bf3989")


@dataclass
class Drawing:
    """A canvas in pixels, origin at the top left, on white so that it reads in dark pages."""

    width: float
    height: float
    _parts: list[str] = field(default_factory=list)

    def line(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        colour: str = INK,
        width: float = 1,
        dashes: str = "",
    ) -> None:
        style = f' stroke-dasharray="{dashes}"' if dashes else ""
        ends = f'x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"'
        self._parts.append(f'<line {ends} stroke="{colour}" stroke-width="{width:g}"{style}/>')

    def rectangle(
        self, left: float, top: float, width: float, height: float, colour: str, title: str = ""
    ) -> None:
        shape = f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
        inner = f"<title>{escape(title)}</title>" if title else ""
        self._parts.append(f'<rect {shape} fill="{colour}">{inner}</rect>')

    def dot(self, at: tuple[float, float], colour: str) -> None:
        self._parts.append(f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="3.5" fill="{colour}"/>')

    def text(
        self,
        at: tuple[float, float],
        words: str,
        *,
        anchor: str = "start",
        colour: str = INK,
        size: float = 11,
        weight: str = "normal",
    ) -> None:
        """Write words; `at` is on their base line. `anchor` is start, middle or end."""
        place = f'x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="{anchor}"'
        style = f'fill="{colour}" font-size="{size:g}" font-weight="{weight}"'
        self._parts.append(f"<text {place} {style}>{escape(words)}</text>")

    def write(self, path: Path) -> None:
        box = f'width="{self.width:g}" height="{self.height:g}"'
        view = f'viewBox="0 0 {self.width:g} {self.height:g}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {box} {view} font-family="sans-serif">'
        paper = '<rect width="100%" height="100%" fill="#ffffff"/>'
        path.write_text("\n".join([head, paper, *self._parts, "</svg>"]) + "\n")
