from pathlib import Path

import pytest

from asynckaniko.batch.outcome import Built
from asynckaniko.batch.state_file import StateFile
from asynckaniko.errors import UsageError

BUILT = Built(
    digest="sha256:11",
    references=("r.io/a:1",),
    platforms={"linux/amd64": "sha256:22"},
    layouts=("/out",),
    input_digest="sha256:33",
)


def test_what_was_recorded_is_there_again_as_not_new(tmp_path: Path) -> None:
    state = StateFile.open(tmp_path / "deep/state.json", resume=False)
    state.record("a", BUILT)
    state.write()

    again = StateFile.open(tmp_path / "deep/state.json", resume=True)

    assert again.images["a"].is_new is False
    assert again.images["a"].references == ("r.io/a:1",)
    assert again.images["a"].platforms == {"linux/amd64": "sha256:22"}


def test_without_resume_an_old_file_counts_for_nothing(tmp_path: Path) -> None:
    state = StateFile.open(tmp_path / "state.json", resume=False)
    state.record("a", BUILT)
    state.write()

    assert StateFile.open(tmp_path / "state.json", resume=False).images == {}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 1}', '{"version":1,"images":[]}'])
def test_file_of_another_kind_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "s").write_text(content)

    with pytest.raises(UsageError, match="no state file of a batch"):
        StateFile.open(tmp_path / "s", resume=True)


def test_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").write_text('{"version": 2, "images": {}}')

    with pytest.raises(UsageError, match="version 2, expected 1"):
        StateFile.open(tmp_path / "s", resume=True)
