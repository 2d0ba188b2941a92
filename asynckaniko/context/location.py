"""What the value of `--context` or `--build-context` names, before anything is opened."""

import re
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from asynckaniko.context.git_url import GitRepository, is_git_url, parse_git_url
from asynckaniko.errors import ContextError
from asynckaniko.records import dataclass

_DEFAULT_KEY = "context.tar.gz"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_AZURE_HOST = re.compile(
    r"([a-z0-9-]{1,63})\.blob\.core\."
    r"(?:windows\.net|chinacloudapi\.cn|cloudapi\.de|usgovcloudapi\.net)"
)
_FORMS = (
    "a directory (with or without dir://), tar://FILE, tar://stdin, https://, http://,"
    " git://, ssh://, git@HOST:PATH, s3://BUCKET/KEY or gs://BUCKET/KEY"
)


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory of this machine, used in place."""

    path: str


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    path: str


@dataclass(frozen=True, slots=True)
class StandardInput:
    """An archive that somebody pipes in."""


@dataclass(frozen=True, slots=True)
class WebArchive:
    url: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An archive in an object store: `store` is `s3`, `gs` or `azure`."""

    store: str
    bucket: str
    key: str
    account: str = ""
    host: str = ""


Location: TypeAlias = (
    Directory | ArchiveFile | StandardInput | WebArchive | StoredObject | GitRepository
)


def parse_location(source: str, *, pull_scheme: str = "https") -> Location:
    """Read one of the forms that docs/contexts.md lists.

    Raises:
        ContextError: none of them, or a part of it is missing or not allowed.
    """
    scheme, separator, rest = source.partition("://")
    if is_git_url(source):
        return parse_git_url(source, pull_scheme=pull_scheme)
    if not separator or not scheme.replace("+", "").isalnum():
        if not source:
            raise ContextError("build context: the path is empty")
        return Directory(source)
    match scheme:
        case "dir":
            if not rest:
                raise ContextError("build context dir://: the path is empty")
            return Directory(rest)
        case "tar":
            if not rest:
                raise ContextError("build context tar://: it names no file; give tar://stdin")
            return StandardInput() if rest == "stdin" else ArchiveFile(rest)
        case "https" | "http":
            return _web(source)
        case "s3" | "gs":
            bucket, _, key = rest.partition("/")
            return StoredObject(scheme, _bucket(bucket, source), key or _DEFAULT_KEY)
        case _:
            raise ContextError(
                f"build context {scheme}://...: this kind of context is not supported;"
                f" give {_FORMS}"
            )


def shown(source: str) -> str:
    """Return a context's value without what may be secret in it: passwords, tokens, signatures."""
    scheme, separator, rest = source.partition("://")
    if not separator:
        return source
    authority, slash, path = rest.partition("/")
    authority = authority.rpartition("@")[2]
    if scheme in {"https", "http", "git", "ssh"}:
        head, question, tail = path.partition("?")
        fragment = tail.partition("#")[1:] if question else ("", "")
        path = head + "".join(fragment)
    return f"{scheme}://{authority}{slash}{path}"


def _web(url: str) -> WebArchive | StoredObject:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        raise ContextError(f"build context {shown(url)}: {error}") from error
    if not host:
        raise ContextError(f"build context {shown(url)}: it names no host")
    azure = _AZURE_HOST.fullmatch(host)
    # A query is a signature of its own (SAS): nothing else is to be added.
    if azure and parts.scheme == "https" and not parts.query:
        bucket, _, key = unquote(parts.path.lstrip("/")).partition("/")
        if not key:
            raise ContextError(f"build context {shown(url)}: expected .../CONTAINER/BLOB")
        return StoredObject("azure", bucket, key, account=azure[1], host=host)
    return WebArchive(url)


def _bucket(name: str, source: str) -> str:
    if not _BUCKET.fullmatch(name):
        # Not the name itself: people try to put credentials there.
        raise ContextError(f"build context {shown(source)}: this is no name of a bucket")
    return name
