"""docs/contexts.md: every form in its table is one."""

import re
from pathlib import Path

import pytest

from asynckaniko.context.location import parse_location

PAGE = (Path(__file__).parents[3] / "docs/contexts.md").read_text()
TABLE = PAGE.partition("| `--context` |")[2].partition("\n\n")[0]
FORMS = [
    form
    for line in TABLE.splitlines()[2:]
    for form in re.findall(r"`([^`]+)`", line.split("|")[1])
    if not form.endswith("…")
]
EXPECTED = {
    "Directory": 3,
    "ArchiveFile": 1,
    "StandardInput": 1,
    "WebArchive": 1,
    "GitRepository": 5,
    "StoredObject": 3,
}


def _kind(form: str) -> str:
    text = form.replace("COMMIT", "0" * 40).replace("ACCOUNT", "account")
    return type(parse_location(text)).__name__


@pytest.mark.parametrize("form", FORMS)
def test_form_of_the_table_is_understood(form: str) -> None:
    assert _kind(form) in EXPECTED


def test_table_has_every_kind_of_context() -> None:
    kinds = [_kind(form) for form in FORMS]

    assert {kind: kinds.count(kind) for kind in set(kinds)} == EXPECTED
