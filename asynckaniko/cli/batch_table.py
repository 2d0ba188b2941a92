"""The table at the end of a batch, and the lists of `--list`."""

import io
import shutil
import sys

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from asynckaniko.batch.outcome import Outcome, Status
from asynckaniko.batch.plan import Batch
from asynckaniko.batch.report import rows, summary
from asynckaniko.cli.labels import plain_text, seconds_text
from asynckaniko.cli.surroundings import Surroundings

_STYLES = {
    Status.BUILT: "green",
    Status.KEPT: "cyan",
    Status.FAILED: "bold red",
    Status.SKIPPED: "yellow",
    Status.CANCELLED: "yellow",
}
_DIGEST_LENGTH = len("sha256:") + 12


def outcome_table(
    outcomes: list[Outcome], seconds: float, *, color: bool, width: int, unicode: bool
) -> str:
    """Write a row for each image and a line that counts them."""
    table = Table(box=box.SIMPLE_HEAD if unicode else box.ASCII2, show_edge=False, pad_edge=False)
    table.add_column("IMAGE", overflow="fold", no_wrap=False)
    table.add_column("RESULT")
    table.add_column("TIME", justify="right")
    table.add_column("DIGEST", no_wrap=True)
    table.add_column("", overflow="fold", ratio=1)
    for row in rows(outcomes):
        table.add_row(
            Text(row.name),
            Text(row.status.value, style=_STYLES[row.status]),
            Text(seconds_text(row.seconds) if row.seconds else ""),
            Text(row.digest[:_DIGEST_LENGTH]),
            Text(plain_text(row.note)),
        )
    total = f"{summary(outcomes)} in {seconds_text(seconds)}"
    return _render(table, color=color, width=width) + f"\n{total}\n"


def terminal_table(outcomes: list[Outcome], seconds: float, around: Surroundings) -> str:
    """Write the table as suits standard output."""
    return outcome_table(
        outcomes,
        seconds,
        color=around.color() and sys.stdout.isatty(),
        width=terminal_width(),
        unicode=(sys.stdout.encoding or "").lower().startswith("utf"),
    )


def terminal_width() -> int:
    return max(60, shutil.get_terminal_size((120, 24)).columns)


def listing(batch: Batch, *, width: int) -> str:
    """Write what a manifest has: images, groups, variables."""
    images = Table(box=None, pad_edge=False)
    for title in ("IMAGE", "NEEDS", "TAGS"):
        images.add_column(title, overflow="fold")
    for image in batch.images:
        images.add_row(Text(image.name), Text(", ".join(image.needs)), Text(", ".join(image.tags)))
    groups = Table(box=None, pad_edge=False)
    groups.add_column("GROUP")
    groups.add_column("IMAGES", overflow="fold")
    for name, members in batch.groups.items():
        groups.add_row(Text(name), Text(", ".join(members)))
    variables = Table(box=None, pad_edge=False)
    variables.add_column("VARIABLE")
    variables.add_column("VALUE", overflow="fold")
    for name, value in batch.variables.items():
        variables.add_row(Text(name), Text(value))
    shown = [table for table in (images, groups, variables) if table.row_count]
    return "\n".join(_render(table, color=False, width=width) for table in shown)


def _render(table: Table, *, color: bool, width: int) -> str:
    text = io.StringIO()
    console = Console(
        file=text,
        width=width,
        force_terminal=color,
        no_color=not color,
        color_system="standard" if color else None,
        highlight=False,
        markup=False,
    )
    console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())
