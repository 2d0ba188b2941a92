"""Read an archive from S3, Google Cloud Storage or Azure Blob Storage, through obstore.

One code path for the three: the object is asked for once, and its parts are fetched several at a
time and given in order. All parts are of one version of the object (If-Match).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from urllib.parse import urlsplit

import orjson
from anyio import CapacityLimiter, Event, create_task_group, to_thread

from asynckaniko.concurrency import single_error
from asynckaniko.context.https import WebOptions
from asynckaniko.context.location import StoredObject
from asynckaniko.context.options import AskGoogle, ObjectStoreOptions
from asynckaniko.errors import ContextError, IntegrityError, UsageError

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSCredential, GCSStore, S3Store

    _Store: TypeAlias = S3Store | GCSStore | AzureStore

_PART_SIZE = 8 << 20
_PARTS_AT_ONCE = 4
"""Of which this many may be in memory."""
_CREDENTIALS_SIZE = 1 << 20
_GOOGLE_KINDS = ("service_account", "authorized_user")
"""Of credentials files that obstore signs in with."""
_FEDERATED = "external_account"
"""The kind whose tokens we get ourselves."""
_INSTALL = (
    "pip install 'asynckaniko[objectstore]' (or use the image that has it); without it, a"
    " presigned https:// URL works as a context too"
)


@asynccontextmanager
async def open_object(
    stored: StoredObject,
    *,
    options: ObjectStoreOptions,
    web: WebOptions,
    disk: CapacityLimiter,
    google_token: AskGoogle,
) -> AsyncIterator[AsyncIterator[bytes]]:
    """Find an object, for the length of the block; yields the reader of its content.

    Raises:
        UsageError: obstore is not installed, or the configuration cannot be used.
        ContextError: no such object, no access, or not reachable.
    """
    name = f"{stored.store}://{stored.bucket}/{stored.key}"
    try:
        import obstore
        from obstore import exceptions
    except ImportError as error:
        raise UsageError(f"build context {name}: object stores need obstore: {_INSTALL}") from error
    parts = _Parts(name, stored.key, web)
    tokens = None
    file = options.gcs_credentials_file
    if stored.store == "gs" and file is not None and not options.gcs_unsigned:
        kind = await to_thread.run_sync(_google_kind, file, limiter=disk)
        if kind == _FEDERATED:
            tokens = await _GoogleTokens.open(file, google_token)
    try:
        # In a thread: it reads the files of certificates and credentials.
        parts.store = await to_thread.run_sync(
            _open_store, stored, options, web, tokens, limiter=disk
        )
        found = await obstore.head_async(parts.store, stored.key)
    except FileNotFoundError as error:
        hint = _no_credentials(stored, options)
        raise ContextError(f"build context {name}: there is no such object{hint}") from error
    except (exceptions.BaseError, ValueError, OSError) as error:
        refused = isinstance(
            error, exceptions.UnauthenticatedError | exceptions.PermissionDeniedError
        ) or "PublicAccessNotPermitted" in str(error)
        hint = _no_credentials(stored, options) if refused else ""
        raise _explain(name, error, hint=hint) from error
    parts.size, parts.etag = found["size"], found["e_tag"]
    if parts.size > web.limit:
        raise ContextError(f"build context {name}: larger than {web.limit} bytes")
    with single_error():
        async with create_task_group() as tasks:
            tasks.start_soon(parts.fetch)
            yield parts.read()
            tasks.cancel_scope.cancel()


class _Parts:
    """The parts of one object: fetched by a few tasks, read in order by one."""

    store: "_Store"

    def __init__(self, name: str, key: str, web: WebOptions) -> None:
        self._name = name
        self._key = key
        self._web = web
        self._pieces: dict[int, bytes] = {}
        self._next = 0
        self._given = 0
        self._changed = Event()
        self.size = 0
        self.etag: str | None = None

    async def read(self) -> AsyncIterator[bytes]:
        """Yield the content in order."""
        while self._given < self.size:
            while self._given not in self._pieces:
                changed = self._changed
                await changed.wait()
            piece = self._pieces.pop(self._given)
            self._given += len(piece)
            self._signal()
            yield piece

    async def fetch(self) -> None:
        """Fetch all parts, no further ahead of the reader than memory allows.

        Raises:
            ContextError, IntegrityError: the object changed, or is not to be had any more.
        """
        async with create_task_group() as tasks:
            for _ in range(_PARTS_AT_ONCE):
                tasks.start_soon(self._fetch_some)

    async def _fetch_some(self) -> None:
        while self._next < self.size:
            start = self._next
            self._next += _PART_SIZE
            while start >= self._given + _PARTS_AT_ONCE * _PART_SIZE:
                await self._changed.wait()
            self._pieces[start] = await self._fetch_part(start)
            self._signal()

    async def _fetch_part(self, start: int) -> bytes:
        import obstore
        from obstore import exceptions

        end = min(start + _PART_SIZE, self.size)
        options: dict[str, Any] = {"range": (start, end)}
        if self.etag:
            options["if_match"] = self.etag
        try:
            found = await obstore.get_async(self.store, self._key, options=options)  # type: ignore[arg-type]
            data = bytes(await found.bytes_async())
        except exceptions.PreconditionError as error:
            raise IntegrityError(
                f"build context {self._name}: it was replaced while it was read"
            ) from error
        except (exceptions.BaseError, ValueError, OSError) as error:
            raise _explain(self._name, error) from error
        if len(data) != end - start:
            raise IntegrityError(
                f"build context {self._name}: {len(data)} of {end - start} bytes arrived"
                f" from byte {start} on"
            )
        return data

    def _signal(self) -> None:
        self._changed.set()
        self._changed = Event()


class _GoogleTokens:
    """Tokens of an account that obstore cannot sign in as; it asks when the last one ends."""

    def __init__(self, file: Path, ask: AskGoogle, first: "GCSCredential") -> None:
        self._file = file
        self._ask = ask
        self._first: GCSCredential | None = first

    @classmethod
    async def open(cls, file: Path, ask: AskGoogle) -> Self:
        """Get the first token here, where its error is still ours. Raises what `ask` does."""
        return cls(file, ask, await _lease(file, ask))

    async def __call__(self) -> "GCSCredential":
        first, self._first = self._first, None
        return first or await _lease(self._file, self._ask)


async def _lease(file: Path, ask: AskGoogle) -> "GCSCredential":
    token, seconds = await ask(file)
    return {"token": token, "expires_at": datetime.now(UTC) + timedelta(seconds=seconds)}


def _open_store(
    stored: StoredObject,
    options: ObjectStoreOptions,
    web: WebOptions,
    tokens: _GoogleTokens | None,
) -> "_Store":
    common = _common(options, web)
    match stored.store:
        case "s3":
            return _s3(stored, options, common)
        case "gs":
            return _gcs(stored, options, common, tokens)
        case _:
            return _azure(stored, options, common)


def _common(options: ObjectStoreOptions, web: WebOptions) -> dict[str, Any]:
    retry = web.retry
    endpoints = (options.s3_endpoint, options.gcs_endpoint, options.azure_endpoint)
    client: dict[str, Any] = {
        "connect_timeout": timedelta(seconds=retry.connect_seconds),
        "read_timeout": timedelta(seconds=retry.stall_seconds),
        "timeout": timedelta(seconds=retry.total_seconds),
        "allow_http": any(endpoint.startswith("http://") for endpoint in endpoints),
    }
    if web.ca_files:
        client["root_certificate"] = b"\n".join(path.read_bytes() for path in web.ca_files)
    return {
        "client_options": client,
        "retry_config": {
            "max_retries": retry.attempts - 1,
            "retry_timeout": timedelta(seconds=retry.total_seconds),
            "backoff": {
                "init_backoff": timedelta(seconds=retry.first_wait_seconds),
                "max_backoff": timedelta(seconds=retry.longest_wait_seconds),
                "base": 2,
            },
        },
    }


def _s3(stored: StoredObject, options: ObjectStoreOptions, common: dict[str, Any]) -> "_Store":
    from obstore.store import S3Store

    config: dict[str, Any] = {**options.s3_credentials}
    if options.s3_region:
        config["region"] = options.s3_region
    endpoint = options.s3_endpoint.rstrip("/")
    config["virtual_hosted_style_request"] = True
    if endpoint and (options.s3_force_path_style or _is_address(endpoint)):
        config["virtual_hosted_style_request"] = False
        config["endpoint"] = endpoint
    elif endpoint:
        # With virtual hosts, obstore wants the bucket in the endpoint.
        scheme, _, host = endpoint.partition("://")
        config["endpoint"] = f"{scheme}://{stored.bucket}.{host}"
    elif "." in stored.bucket:
        # No certificate covers a host name with these dots.
        config["virtual_hosted_style_request"] = False
    return S3Store(stored.bucket, config=config, **common)  # type: ignore[arg-type]


def _is_address(endpoint: str) -> bool:
    """Tell whether no host name can be put before that of the endpoint."""
    host = urlsplit(endpoint).hostname or ""
    return host == "localhost" or host.replace(".", "").isdigit() or ":" in host


def _gcs(
    stored: StoredObject,
    options: ObjectStoreOptions,
    common: dict[str, Any],
    tokens: _GoogleTokens | None,
) -> "_Store":
    from obstore.store import GCSStore

    config: dict[str, Any] = {}
    if options.gcs_endpoint:
        config["base_url"] = options.gcs_endpoint.rstrip("/")
    if options.gcs_unsigned:
        config["skip_signature"] = True
    elif tokens is not None:
        common["credential_provider"] = tokens
    elif options.gcs_credentials_file is not None:
        config["application_credentials"] = str(options.gcs_credentials_file)
    return GCSStore(stored.bucket, config=config, **common)  # type: ignore[arg-type]


def _google_kind(path: Path) -> str:
    """Return the type of a credentials file. Raises UsageError: nobody can sign in with it."""
    try:
        with path.open("rb") as file:
            found = orjson.loads(file.read(_CREDENTIALS_SIZE))
        kind = found.get("type") if isinstance(found, dict) else None
    except (OSError, ValueError) as error:
        # Not the text of the error: the line that it quotes may be a key.
        why = error.strerror if isinstance(error, OSError) else "not JSON"
        raise UsageError(f"GOOGLE_APPLICATION_CREDENTIALS={path}: {why}") from error
    if kind not in (*_GOOGLE_KINDS, _FEDERATED):
        raise UsageError(
            f"GOOGLE_APPLICATION_CREDENTIALS={path}: it is of the type {kind!r}; build contexts can"
            f" use {', '.join(_GOOGLE_KINDS)} and {_FEDERATED}, or the metadata server where the"
            " variable is not set; a signed https:// URL needs none of them"
        )
    return str(kind)


def _azure(stored: StoredObject, options: ObjectStoreOptions, common: dict[str, Any]) -> "_Store":
    from obstore.store import AzureStore

    config: dict[str, Any] = {
        "account_name": stored.account,
        "endpoint": options.azure_endpoint or f"https://{stored.host}",
    }
    if options.azure_key:
        config["account_key"] = options.azure_key
    elif not options.azure_identity:
        config["skip_signature"] = True
    return AzureStore(stored.bucket, config=config, **common)  # type: ignore[arg-type]


def _no_credentials(stored: StoredObject, options: ObjectStoreOptions) -> str:
    """Say that nobody signed in: Azure then hides what there is."""
    if stored.store != "azure" or options.azure_key or options.azure_identity:
        return ""
    return (
        "; nobody signed in: set AZURE_STORAGE_ACCESS_KEY, or AZURE_CLIENT_ID and"
        " AZURE_TENANT_ID with AZURE_CLIENT_SECRET or AZURE_FEDERATED_TOKEN_FILE"
    )


def _explain(name: str, error: Exception, *, hint: str = "") -> ContextError:
    """Say what the library says in one line, without its debugging values."""
    text = " ".join(str(error).partition("\n\nDebug source:")[0].split()).rstrip(":")
    return ContextError(f"build context {name}: {text or type(error).__name__}{hint}")
