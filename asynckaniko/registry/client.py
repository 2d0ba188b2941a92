"""RegistryClient: pull and push, one object with one lifetime."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from anyio import create_task_group

from asynckaniko.concurrency import SingleFlight, single_error
from asynckaniko.events import EventSink, ignore
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.manifest import Index, Manifest
from asynckaniko.oci.platform import Platform
from asynckaniko.oci.reference import Reference, Repository
from asynckaniko.registry.auth import Authenticator
from asynckaniko.registry.credential_helpers import credential_sources
from asynckaniko.registry.credentials import Credentials, CredentialSource
from asynckaniko.registry.early_upload import EarlyUpload
from asynckaniko.registry.endpoints import Endpoints
from asynckaniko.registry.google_account import GoogleAccount
from asynckaniko.registry.proxies import Proxies
from asynckaniko.registry.pull import Puller, ResolvedImage
from asynckaniko.registry.push import Blob, Pusher
from asynckaniko.registry.retry import Clock
from asynckaniko.registry.transport import Transport
from asynckaniko.registry.wire import Wire
from asynckaniko.settings import CredentialOptions, Limits, RegistryOptions, Retry, Settings

__all__ = ["Blob", "RegistryClient", "ResolvedImage"]


class RegistryClient:
    """Talks to every registry of a process: connections, tokens and limits are shared.

    An async context manager. Errors are RegistryError and IntegrityError; UsageError where a
    certificate, auth file or mirror in the options cannot be used.
    """

    def __init__(
        self,
        options: RegistryOptions,
        *,
        retry: Retry,
        limits: Limits,
        auth_files: Sequence[Path] = (),
        credentials: CredentialOptions | None = None,
        sources: Sequence[CredentialSource] = (),
        clock: Clock | None = None,
    ) -> None:
        """Ask `sources` before anything that the settings name.

        `clock` is for tests that must not wait.
        """
        self._options = options
        self._retry = retry
        self._limits = limits
        self._auth_files = tuple(auth_files)
        self._credentials = credentials or CredentialOptions()
        self._sources = tuple(sources)
        self._clock = clock or Clock()
        self._stack = AsyncExitStack()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Make the client that these settings describe."""
        return cls(
            settings.registry,
            retry=settings.retry,
            limits=settings.limits,
            auth_files=settings.auth_files,
            credentials=settings.credentials,
        )

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            endpoints = Endpoints(self._options)
            wire = await stack.enter_async_context(
                Wire(
                    endpoints.tls,
                    user_agent=self._options.user_agent,
                    proxy=Proxies.of(self._options).choose,
                )
            )
            stack.enter_context(single_error())
            tasks = await stack.enter_async_context(create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            configured = credential_sources(
                self._credentials, self._auth_files, wire=wire, clock=self._clock
            )
            self._wire = wire
            credentials = Credentials((*self._sources, *configured))
            auth = Authenticator(credentials, wire, tasks=tasks, clock=self._clock)
            transport = Transport(wire, auth, retry=self._retry, clock=self._clock)
            self._puller = Puller(transport, endpoints, limits=self._limits, clock=self._clock)
            self._pusher = Pusher(transport, endpoints, limits=self._limits, options=self._options)
            self._resolving: SingleFlight[tuple[Reference, Platform], ResolvedImage] = SingleFlight(
                tasks
            )
            self._pushing: SingleFlight[tuple[Repository, Digest], str] = SingleFlight(tasks)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, trace)

    async def google_token(self, file: Path) -> tuple[str, float]:
        """Get an access token for the account of a credentials file, and the seconds it lives.

        For whom else the account lets in. Raises UsageError: there is none, and why.
        """
        return await GoogleAccount(self._wire, file).access_token()

    async def resolve(
        self, reference: Reference, platform: Platform, *, emit: EventSink = ignore
    ) -> ResolvedImage:
        """Fetch manifest and config of an image; those who ask for the same at once share it.

        Raises:
            NotFound, Unauthorized, NoMatchingPlatform, RegistryUnavailable: as they say.
            IntegrityError: what came is not what was named, malformed or over the limits.
        """
        return await self._resolving.do(
            (reference, platform), lambda: self._puller.resolve(reference, platform, emit=emit)
        )

    async def manifest(
        self, reference: Reference, platform: Platform, *, emit: EventSink = ignore
    ) -> Manifest:
        """Fetch an image's manifest only: one request, where no index is in between.

        Raises what `resolve` does.
        """
        return await self._puller.manifest(reference, platform, emit=emit)

    async def document(
        self,
        reference: Reference,
        *,
        expected: Descriptor | None = None,
        emit: EventSink = ignore,
    ) -> Manifest | Index:
        """Fetch the manifest or index that the reference names, without a choice of platform.

        `expected` is its entry in an index, whose size is checked. Raises what `resolve` does.
        """
        return await self._puller.document(reference, expected, emit=emit)

    def read_blob(
        self,
        repository: Repository,
        descriptor: Descriptor,
        *,
        start: int = 0,
        verify: bool = True,
        use_mirrors: bool = True,
        emit: EventSink = ignore,
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Give the blob's bytes from `start` on as they come, resuming after cuts.

        The stream raises IntegrityError as soon as the size is wrong and, if it is to `verify` and
        starts at 0, at its end when the digest is. Without `verify` the reader does that; then,
        and whenever a verified stream was wrong, another try should not `use_mirrors`.
        """
        return self._puller.read_blob(
            repository,
            descriptor,
            start=start,
            verify=verify,
            use_mirrors=use_mirrors,
            emit=emit,
        )

    async def save_blob(
        self,
        repository: Repository,
        descriptor: Descriptor,
        write: Callable[[Sequence[bytes]], object],
        *,
        emit: EventSink = ignore,
    ) -> None:
        """Give all of the blob to `write`, in order and in a thread, and verify size and digest.

        `write` gets several pieces at a time. What it was given may be wrong until this returns.

        Raises what the stream of `read_blob` does, and what `write` does.
        """
        await self._puller.save_blob(repository, descriptor, write, emit=emit)

    async def push_blob(
        self,
        repository: Repository,
        blob: Blob,
        *,
        mount_from: Sequence[Repository] = (),
        early: EarlyUpload | None = None,
        emit: EventSink = ignore,
    ) -> str:
        """Bring a blob into the repository unless it is there; returns a BlobRoute.

        It is mounted from one of `mount_from` where the registry does that, or made of what `early`
        has sent. Those who push the same blob to the same place at once share one upload.
        """
        is_mine = False

        async def push() -> str:
            nonlocal is_mine
            is_mine = True
            return await self._pusher.push_blob(
                repository, blob, mount_from=mount_from, early=early, emit=emit
            )

        key = (repository, blob.descriptor.digest)
        try:
            return await self._pushing.do(key, push)
        except Exception:
            if is_mine:
                raise
        # Another caller's blob failed, perhaps because its source did; ours may be whole.
        return await self._pushing.do(key, push)

    def upload_early(self, repository: Repository, *, emit: EventSink = ignore) -> EarlyUpload:
        """Prepare to send a blob that is still being made, for a later `push_blob` there."""
        return self._pusher.upload_early(repository, emit=emit)

    async def push_manifest(
        self,
        reference: Reference,
        content: bytes,
        media_type: str,
        *,
        emit: EventSink = ignore,
    ) -> None:
        """Store a manifest or index under the reference's tag (or digest, without a tag).

        Raises:
            BlobUnknown: the registry does not have, or not see yet, what the manifest names.
        """
        await self._pusher.push_manifest(reference, content, media_type, emit=emit)

    async def has_manifest(
        self, repository: Repository, digest: Digest, *, emit: EventSink = ignore
    ) -> bool:
        """Ask the registry itself, not its mirrors. Raises RegistryError."""
        return await self._pusher.has_manifest(repository, digest, emit=emit)

    async def check_push(self, repository: Repository, *, emit: EventSink = ignore) -> None:
        """Find out whether a push would be allowed, by beginning one.

        Raises:
            Unauthorized, NotFound, RegistryUnavailable: no.
        """
        await self._pusher.check_push(repository, emit=emit)
