"""Every error asynckaniko raises on purpose, in one tree, split by who must act.

AsynckanikoError
├── InvalidInput              the request is wrong; fix it and run again        exit 2
│   ├── UsageError              a flag or setting
│   ├── InvalidReference        an image reference, digest or platform
│   ├── DockerfileError         the Dockerfile; carries the span
│   ├── ContextError            the build context or .dockerignore
│   └── ManifestError           a batch manifest: everything that is wrong with it
├── StepFailed                an instruction ran and failed                     exit 3
│   ├── CommandFailed           RUN: exit status and last output lines          exit: the command's
│   └── CopyFailed              COPY, ADD or WORKDIR: missing source, file onto directory, ...
├── RegistryError             the other side refused or broke                   exit 4
│   ├── RegistryRejected        a response outside the protocol's success set
│   │   └── BlobUnknown           a manifest names blobs that the registry does not have
│   ├── Unauthorized            401 or 403, after credentials were tried
│   ├── NotFound                no such repository, tag or blob
│   ├── NoMatchingPlatform      the index has no manifest for the platform
│   └── RegistryUnavailable     still failing after the retry policy gave up
├── IntegrityError            bytes do not match their digest, size or format   exit 5
│   └── ArchiveError            a layer, context or ADD archive is malformed or hostile
└── HostError                 this machine cannot do it                         exit 6
    ├── IsolationUnavailable    no permitted way to run commands
    ├── UnsuitableStateDir      the state directory's filesystem cannot hold layers
    └── OutOfSpace

Any other exception is a bug: exit 1 with a traceback. Interrupted: 130 (SIGINT), 143 (SIGTERM).
An error crosses the process boundary of `isolation.fork_server` as its class name and fields.
"""

import errno
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Self

from asynckaniko.records import dataclass


@dataclass(frozen=True, slots=True)
class SourceSpan:
    """Lines `first` to `last` of a Dockerfile, 1-based and inclusive."""

    file: str
    first: int
    last: int

    def __str__(self) -> str:
        lines = f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.file}:{lines}"


class AsynckanikoError(Exception):
    """Root of every error raised on purpose. `message` is one text for people, without secrets."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, span: SourceSpan | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.span = span
        """Where in the Dockerfile, when an instruction is to blame."""
        self.source: str | None = None
        """The whole Dockerfile text, for showing the lines around `span`."""

    def __str__(self) -> str:
        return self.message

    def at(self, span: SourceSpan, source: str | None = None) -> Self:
        """Record the instruction to blame, unless one is recorded already."""
        if self.span is None:
            self.span = span
        if self.source is None:
            self.source = source
        return self


class InvalidInput(AsynckanikoError):
    """The request is wrong; the same request will fail again."""

    exit_code: ClassVar[int] = 2


class UsageError(InvalidInput):
    """A flag, environment variable or setting has a value that cannot be used."""


class InvalidReference(InvalidInput):
    """Text that is no image reference, digest or platform."""


class DockerfileError(InvalidInput):
    """The Dockerfile cannot be read as one, or asks for what does not exist in it."""


class ContextError(InvalidInput):
    """The build context is missing, unreadable or no context."""


class ManifestError(InvalidInput):
    """A batch manifest cannot be used; the message lists all that is wrong, with its lines."""


class StepFailed(AsynckanikoError):
    """An instruction was carried out and failed."""

    exit_code: ClassVar[int] = 3


class CommandFailed(StepFailed):
    """RUN ended with a status other than 0. `exit_status` is 128 + signal for a killed command."""

    def __init__(
        self,
        message: str,
        *,
        exit_status: int,
        output: tuple[str, ...] = (),
        span: SourceSpan | None = None,
    ) -> None:
        super().__init__(message, span=span)
        self.exit_status = exit_status
        self.output = output
        """The last lines the command printed."""


class CopyFailed(StepFailed):
    """COPY, ADD or WORKDIR could not write what it was asked to."""


class RegistryError(AsynckanikoError):
    """The registry refused the request or broke the protocol."""

    exit_code: ClassVar[int] = 4


class RegistryRejected(RegistryError):
    """A response outside the set of statuses the operation allows."""

    def __init__(
        self,
        method: str,
        url: str,
        status: int,
        codes: tuple[str, ...] = (),
        *,
        detail: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        said = detail or ", ".join(codes) or "no error body"
        super().__init__(f"{method} {url}: HTTP {status} ({said})")
        self.method = method
        self.url = url
        self.status = status
        self.codes = codes
        self.detail = detail
        """What the registry said, made safe to print."""
        self.retry_after_seconds = retry_after_seconds
        """When the registry says to come back."""


class Unauthorized(RegistryRejected):
    """401 or 403 although credentials, where there are any, were sent."""


class NotFound(RegistryRejected):
    """The repository, tag, manifest or blob does not exist there."""


class BlobUnknown(RegistryRejected):
    """A manifest was refused because blobs it names are not in its repository."""


class NoMatchingPlatform(RegistryError):
    """The image exists, but not for the platform that was asked for."""


class RegistryUnavailable(RegistryError):
    """Unreachable, or still failing when the retry policy gave up."""


class IntegrityError(AsynckanikoError):
    """Bytes do not match the digest, size or format that names them."""

    exit_code: ClassVar[int] = 5


class ArchiveError(IntegrityError):
    """A tar archive or its compression is malformed, too large or hostile."""


class HostError(AsynckanikoError):
    """This machine, not the input, is in the way."""

    exit_code: ClassVar[int] = 6


class IsolationUnavailable(HostError):
    """No permitted way to run commands here; the message lists what was tried and what lifts it."""

    def __init__(
        self, message: str, *, refusal: str = "", pod: str = "", span: SourceSpan | None = None
    ) -> None:
        super().__init__(message, span=span)
        self.refusal = refusal
        """The name of the kernel's errno, if it was the kernel that refused."""
        self.pod = pod
        """The YAML of a Pod that lifts it; empty where a Pod's definition cannot."""


class UnsuitableStateDir(HostError):
    """The state directory is on a filesystem that cannot hold layers (an overlay, usually)."""


class OutOfSpace(HostError):
    """The disk or quota is full."""


def host_error(error: OSError, *, doing: str = "") -> HostError:
    """Say what an OSError means to whoever runs this machine; `doing` names the work, if known."""
    paths = " -> ".join(
        os.fsdecode(path) if isinstance(path, bytes) else str(path)
        for path in (error.filename, error.filename2)
        if path is not None
    )
    where = f"{paths}: " if paths else ""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return OutOfSpace(
            f"{where}{error.strerror}; free space on the volume of the state directory, "
            "or give it a larger one"
        )
    return HostError(f"{where}{error.strerror or error}{f' (in {doing})' if doing else ''}")


def to_wire(error: AsynckanikoError) -> dict[str, Any]:
    """Turn an error into JSON-able values that `from_wire` restores."""
    fields = {name: value for name, value in vars(error).items() if name not in {"span", "source"}}
    return {
        "type": type(error).__name__,
        "fields": fields,
        "span": asdict(error.span) if error.span else None,
    }


def from_wire(wire: Mapping[str, Any]) -> AsynckanikoError:
    """Restore an error from another process; an unknown class becomes the root class."""
    kind = _CLASSES.get(wire["type"], AsynckanikoError)
    error = kind.__new__(kind)
    Exception.__init__(error, wire["fields"]["message"])
    for name, value in wire["fields"].items():
        setattr(error, name, tuple(value) if isinstance(value, list) else value)
    error.span = SourceSpan(**wire["span"]) if wire["span"] else None
    error.source = None
    return error


def _tree(root: type[AsynckanikoError]) -> dict[str, type[AsynckanikoError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


_CLASSES = _tree(AsynckanikoError)
