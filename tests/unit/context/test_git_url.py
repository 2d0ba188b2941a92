"""parse_git_url: what a name of a repository says, and what it must not."""

import pytest

from asynckaniko.context.git_url import GitRepository, parse_git_url
from asynckaniko.errors import ContextError

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("git://h/p", GitRepository("https://h/p", "git://h/p")),
        ("git://h/p#r", GitRepository("https://h/p", "git://h/p", "r")),
        ("git://h/p#r#abcdef1", GitRepository("https://h/p", "git://h/p", "r", "abcdef1")),
        ("git://h/p##abcdef1", GitRepository("https://h/p", "git://h/p", "", "abcdef1")),
        (
            "http://h:8/p.git#r:s/t",
            GitRepository("http://h:8/p.git", "http://h:8/p.git", "r", subdirectory="s/t"),
        ),
        ("http://h/p.git#:s", GitRepository("http://h/p.git", "http://h/p.git", subdirectory="s")),
        ("git@h:o/p.git#r", GitRepository("git@h:o/p.git", "git@h:o/p.git", "r")),
        ("ssh://u@h:2/p", GitRepository("ssh://u@h:2/p", "ssh://h:2/p")),
        (
            "https://u:p%40@h/p.git",
            GitRepository("https://h/p.git", "https://h/p.git", username="u", password="p@"),
        ),
        (
            "https://h/p.git?branch=b&subdir=s&commit=abcdef1",
            GitRepository("https://h/p.git", "https://h/p.git", "refs/heads/b", "abcdef1", "s"),
        ),
        (
            "https://h/p.git?tag=t",
            GitRepository("https://h/p.git", "https://h/p.git", "refs/tags/t"),
        ),
        (
            "https://h/p.git?ref=r&keep-git-dir&submodules=0",
            GitRepository(
                "https://h/p.git", "https://h/p.git", "r", keep_git_dir=True, submodules=False
            ),
        ),
    ],
)
def test_parts_are_told_apart(source: str, expected: GitRepository) -> None:
    assert parse_git_url(source, pull_scheme="https") == expected


@pytest.mark.parametrize(
    "source",
    [
        "git://-h/p",
        "git://h",
        "git://h/",
        "git://h/p\n",
        "git://h/a b",
        "git://h:99999999/p",
        "git://a/b@h/p#-r",
        "git://h/p#--upload-pack=x",
        "git://h/p#a..b",
        "git://h/p#a@{1}",
        "git://h/p#a b",
        "git://h/p#.a",
        "git://h/p#a.lock",
        "git://h/p#r#-x",
        "git://h/p#r#abc",
        "git@-h:p",
        "git@h:-p",
        "git@h:",
        "ssh://-u@h/p",
        "https://h/p.git?x=1",
        "https://h/p.git?ref=a&ref=b",
        "https://h/p.git?ref=a&tag=b",
        "https://h/p.git?ref=a#b",
        "https://h/p.git?submodules=maybe",
        "https://h/p.git?commit=abcdef1#r#abcdef2",
    ],
)
def test_what_could_be_something_else_is_refused(source: str) -> None:
    with pytest.raises(ContextError):
        parse_git_url(source)


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        ("https://u:p@H:8/p.git", "https://h:8"),
        ("http://h/p.git", "http://h"),
        ("ssh://h/p", ""),
        ("git@h:p", ""),
        ("git://h/p", ""),
    ],
)
def test_credentials_belong_to_an_origin(source: str, origin: str) -> None:
    assert parse_git_url(source).origin == origin


@pytest.mark.parametrize(
    ("source", "commit"),
    [
        (f"git://h/p#{SHA}", SHA),
        (f"git://h/p#main#{SHA}", SHA),
        ("git://h/p#main", ""),
        ("git://h/p#0123456", ""),
    ],
)
def test_full_commit_needs_no_look_up(source: str, commit: str) -> None:
    assert parse_git_url(source).wants_commit == commit
