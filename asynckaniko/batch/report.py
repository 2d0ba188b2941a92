"""What a batch did, for people (rows of a table) and for CI (JUnit XML)."""

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from asynckaniko.batch.outcome import GOOD, Outcome, Status
from asynckaniko.concurrency import leaves
from asynckaniko.errors import AsynckanikoError, CommandFailed
from asynckaniko.records import dataclass

_NOT_XML = re.compile(r"[^\t\n\x20-\x7e\x85\xa0-\U0010ffff]")
"""Control characters, which XML 1.0 has no way to write."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One image as the table shows it."""

    name: str
    status: Status
    seconds: float
    digest: str
    note: str


def rows(outcomes: Sequence[Outcome]) -> list[TableRow]:
    return [
        TableRow(
            outcome.name,
            outcome.status,
            outcome.seconds,
            outcome.built.digest if outcome.built else "",
            _note(outcome),
        )
        for outcome in outcomes
    ]


def _note(outcome: Outcome) -> str:
    if outcome.error is not None:
        return first_line(outcome.error)
    notes = [outcome.reason] if outcome.reason else []
    if outcome.attempts > 1:
        notes.append(f"attempt {outcome.attempts}")
    if outcome.built is not None and outcome.built.references:
        notes.append(", ".join(outcome.built.references))
    return "; ".join(notes)


def first_line(error: BaseException) -> str:
    """Say on one line what went wrong, and where in the Dockerfile."""
    leaf = next(leaves(error))
    text = (str(leaf).splitlines() or [type(leaf).__name__])[0]
    if isinstance(leaf, AsynckanikoError):
        return f"{leaf.span}: {text}" if leaf.span else text
    return f"bug: {type(leaf).__name__}: {text}"


def summary(outcomes: Sequence[Outcome]) -> str:
    """Count the images by how they ended: `11 built, 1 failed`."""
    counts = {status: sum(o.status is status for o in outcomes) for status in Status}
    words = [f"{count} {status}" for status, count in counts.items() if count]
    return ", ".join(words) or "nothing to build"


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Return 0 if all is well, else the code of the first failure; 1 where there is a bug.

    A failed RUN counts as 3 whatever its own status was: one of many has nothing to pass on.
    """
    codes = []
    for outcome in outcomes:
        if outcome.error is not None:
            codes += [
                leaf.exit_code if isinstance(leaf, AsynckanikoError) else 1
                for leaf in leaves(outcome.error)
            ]
    if codes:
        return 1 if 1 in codes else codes[0]
    return 0 if all(outcome.status in GOOD for outcome in outcomes) else 3


def junit(outcomes: Sequence[Outcome], *, suite: str, seconds: float) -> str:
    """Write JUnit XML: a test case for each image."""
    root = ET.Element("testsuite")
    failures = sum(outcome.status is Status.FAILED for outcome in outcomes)
    skipped = sum(o.status in {Status.SKIPPED, Status.CANCELLED} for o in outcomes)
    root.attrib |= {
        "name": suite,
        "tests": str(len(outcomes)),
        "failures": str(failures),
        "skipped": str(skipped),
        "errors": "0",
        "time": f"{seconds:.3f}",
    }
    for outcome in outcomes:
        root.append(_case(outcome, suite))
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _case(outcome: Outcome, suite: str) -> ET.Element:
    case = ET.Element("testcase")
    case.attrib |= {"name": outcome.name, "classname": suite, "time": f"{outcome.seconds:.3f}"}
    if outcome.error is not None:
        message = _xml(first_line(outcome.error))
        failure = ET.SubElement(case, "failure", message=message)
        failure.text = _xml(_details(outcome.error))
    elif not outcome.is_good:
        ET.SubElement(case, "skipped", message=outcome.reason or outcome.status)
    elif outcome.built is not None:
        out = ET.SubElement(case, "system-out")
        out.text = "\n".join((outcome.built.digest, *outcome.built.references))
    return case


def _details(error: BaseException) -> str:
    found: list[str] = []
    for leaf in leaves(error):
        if isinstance(leaf, CommandFailed):
            found += leaf.output
        found.append(str(leaf))
    return "\n".join(found)


def _xml(text: str) -> str:
    return _NOT_XML.sub("", text.encode(errors="replace").decode())
