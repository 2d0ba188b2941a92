"""--chmod: what it makes of modes, compared with chmod(1) where the two must agree."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asynckaniko.errors import DockerfileError
from asynckaniko.rootfs.chmod import Chmod


def change(text: str, mode: int, *, is_directory: bool = False) -> int:
    chmod = Chmod.parse(text)
    assert chmod is not None
    return chmod.change(mode, is_directory)


@pytest.mark.parametrize(
    ("text", "mode"),
    [("0", 0), ("644", 0o644), ("0755", 0o755), ("4755", 0o4755), ("07777", 0o7777)],
)
def test_octal_mode_holds_for_everything(text: str, mode: int) -> None:
    assert change(text, 0o600) == mode
    assert change(text, 0o700, is_directory=True) == mode
    parsed = Chmod.parse(text)
    assert parsed is not None
    assert parsed.implicit == mode


def test_symbolic_mode_leaves_implicit_directories_at_755() -> None:
    parsed = Chmod.parse("u=rwX,go=")

    assert parsed is not None
    assert parsed.implicit == 0o755


def test_no_value_is_no_change() -> None:
    assert Chmod.parse("") is None


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("u=rwX,go=rX", 0o600, 0o644),
        ("u=rwX,go=rX", 0o700, 0o755),
        ("go-w", 0o666, 0o644),
        ("a+X", 0o666, 0o666),
        ("+x", 0o666, 0o777),
        ("u+s,g+s,o+t", 0o755, 0o7755),
        ("g=u", 0o740, 0o770),
        ("u=rw+x", 0, 0o700),
        ("o-rwx,g-rwx", 0o777, 0o700),
        ("a=", 0o4755, 0),
    ],
)
def test_symbolic_mode_starts_from_the_sources(text: str, before: int, after: int) -> None:
    assert change(text, before) == after


@pytest.mark.parametrize(
    "text", ["8", "10000", "77777", "u", "u=z", "=q", "rwx", "u=rw,,g=r", "0o755", "-1", "x+u", ","]
)
def test_anything_else_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(DockerfileError, match="--chmod="):
        Chmod.parse(text)


_PERMISSIONS = st.one_of(st.sampled_from("ugo"), st.text("rwxXst", max_size=3))
_ACTIONS = st.tuples(st.sampled_from("+-="), _PERMISSIONS).map("".join)
_CLAUSES = st.tuples(
    st.text("ugoa", max_size=2), st.lists(_ACTIONS, min_size=1, max_size=2).map("".join)
).map("".join)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    text=st.lists(_CLAUSES, min_size=1, max_size=3).map(",".join),
    mode=st.integers(0, 0o7777),
    is_directory=st.booleans(),
)
def test_symbolic_modes_are_those_of_chmod(
    tmp_path: Path, text: str, mode: int, is_directory: bool
) -> None:
    path = tmp_path / ("directory" if is_directory else "file")
    path.mkdir(exist_ok=True) if is_directory else path.touch()
    path.chmod(mode)
    # Without a class chmod honours the umask; there is none here.
    subprocess.run(["sh", "-c", 'umask 0; exec chmod -- "$1" "$2"', "sh", text, path], check=True)

    assert change(text, mode, is_directory=is_directory) == path.stat().st_mode & 0o7777
