"""parse_location: which of the forms a context's value is."""

import pytest

from asynckaniko.context.git_url import GitRepository
from asynckaniko.context.location import (
    ArchiveFile,
    Directory,
    StandardInput,
    StoredObject,
    WebArchive,
    parse_location,
    shown,
)
from asynckaniko.errors import ContextError

AZURE = "account.blob.core.windows.net"


@pytest.mark.parametrize(
    ("source", "location"),
    [
        (".", Directory(".")),
        ("dir:///w", Directory("/w")),
        ("dir://rel", Directory("rel")),
        ("a:b", Directory("a:b")),
        ("tar:///c.tgz", ArchiveFile("/c.tgz")),
        ("tar://c.tgz", ArchiveFile("c.tgz")),
        ("tar://stdin", StandardInput()),
        ("https://h/c.tgz?sig=1", WebArchive("https://h/c.tgz?sig=1")),
        ("http://h", WebArchive("http://h")),
        ("s3://b", StoredObject("s3", "b", "context.tar.gz")),
        ("s3://b/deep/k", StoredObject("s3", "b", "deep/k")),
        ("gs://b/", StoredObject("gs", "b", "context.tar.gz")),
        (
            f"https://{AZURE}/box/a%20b",
            StoredObject("azure", "box", "a b", account="account", host=AZURE),
        ),
        (f"https://{AZURE}/box/x?sv=1&sig=2", WebArchive(f"https://{AZURE}/box/x?sv=1&sig=2")),
        ("https://h/x.git.tgz", WebArchive("https://h/x.git.tgz")),
    ],
)
def test_form_is_recognised(source: str, location: object) -> None:
    assert parse_location(source) == location


@pytest.mark.parametrize(
    "source",
    [
        "git://h/p",
        "https://h/p.git",
        "https://h/p.git#r",
        "ssh://h/p",
        "git@h:p",
        "http://h/p.git/",
    ],
)
def test_repositories_are_recognised(source: str) -> None:
    assert isinstance(parse_location(source), GitRepository)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "the path is empty"),
        ("dir://", "the path is empty"),
        ("tar://", "it names no file"),
        ("ftp://h/x", "this kind of context is not supported"),
        ("s3://", "this is no name of a bucket"),
        ("s3://-x/k", "this is no name of a bucket"),
        ("https:///x", "it names no host"),
        ("http://[::1/x", "Invalid IPv6 URL"),
        (f"https://{AZURE}/box", "expected .../CONTAINER/BLOB"),
    ],
)
def test_what_is_no_form_is_an_error(source: str, message: str) -> None:
    with pytest.raises(ContextError) as caught:
        parse_location(source)

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("https://u:p@h/x?sig=s#r", "https://h/x#r"),
        ("git://token@h/p#main", "git://h/p#main"),
        ("s3://k:s@b/x?y", "s3://b/x?y"),
        ("git@h:p", "git@h:p"),
        ("/a?b", "/a?b"),
    ],
)
def test_secrets_are_not_shown(source: str, text: str) -> None:
    assert shown(source) == text
