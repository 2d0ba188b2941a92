"""Calls to a cluster's API server: tried again, waited for, and told of in one kind of error.

Only this module and those above it need lightkube (the extra `kubernetes`).
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

import httpx2
from anyio import sleep
from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.resources.core_v1 import PodLog
from lightkube.types import CascadeType

from asynckaniko.errors import HostError, UsageError
from asynckaniko.records import dataclass

_LOG = logging.getLogger(__name__)
FAILURES = (httpx2.HTTPError, KeyError)
"""What a call raises where a server refuses or is not there; see http_error."""
CONFLICT, GONE, NOT_FOUND = 409, 410, 404
_WATCH_SECONDS = 240
_QUIET_SECONDS = 120
"""After which a log without news is asked for anew: the connection may be dead."""
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to go on with an API server that does not answer, or wants to be left alone."""

    attempts: int = 10
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 30.0

    def wait_seconds(self, attempt: int) -> float:
        """Return how long to wait after an attempt, from 1."""
        wait = self.first_wait_seconds * 2.0 ** (attempt - 1)
        return min(wait, self.longest_wait_seconds)


class Api:
    """The objects of one namespace."""

    def __init__(
        self, client: AsyncClient, namespace: str, *, patience: Patience | None = None
    ) -> None:
        # lightkube's signatures tell kinds of objects apart that are one thing here.
        self._client: Any = client
        self.namespace = namespace
        self.patience = patience or Patience()

    async def create(self, item: Any) -> bool:
        """Create something; False if one of its name exists. Raises HostError."""
        try:
            await self.retry(lambda: self._client.create(item, namespace=self.namespace))
        except HostError as error:
            if status_code(error.__cause__) == CONFLICT:
                return False
            raise
        return True

    async def get(self, kind: Any, name: str) -> Any:
        """Return an object, None if there is none. Raises HostError."""
        try:
            return await self.retry(lambda: self._client.get(kind, name, namespace=self.namespace))
        except HostError as error:
            if status_code(error.__cause__) == NOT_FOUND:
                return None
            raise

    async def delete(self, kind: Any, name: str, *, cascade: CascadeType) -> None:
        """Delete an object and, as `cascade` says, what it owns. Raises HostError."""
        try:
            await self.retry(
                lambda: self._client.delete(kind, name, namespace=self.namespace, cascade=cascade)
            )
        except HostError as error:
            if status_code(error.__cause__) != NOT_FOUND:
                raise

    async def list(self, kind: Any, labels: Mapping[str, str]) -> tuple[list[Any], str]:
        """Return the objects with these labels, and the version they are of. Raises HostError."""

        async def read() -> tuple[list[Any], str]:
            listed = self._client.list(kind, namespace=self.namespace, labels=dict(labels))
            items = [item async for item in listed]
            return items, listed.resourceVersion or ""

        return await self.retry(read)

    async def follow(
        self, kind: Any, labels: Mapping[str, str]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Give the objects with these labels by name, now and after each change, for ever.

        It is one map, which is kept up to date.

        Raises:
            HostError: the API server refuses, or is away for too long.
        """
        known: dict[str, Any] = {}
        failures = 0
        while True:
            items, version = await self.list(kind, labels)
            known.clear()
            known.update((item.metadata.name, item) for item in items)
            yield known
            watch = self._client.watch(
                kind,
                namespace=self.namespace,
                labels=dict(labels),
                resource_version=version or None,
                server_timeout=_WATCH_SECONDS,
            )
            try:
                async with aclosing(watch):
                    async for event, item in watch:
                        failures = 0
                        _apply(known, event, item)
                        yield known
            except FAILURES as failure:
                error = http_error(failure)
                # Gone: the version is too old to watch from.
                if status_code(error) != GONE:
                    failures += 1
                    await self.pause(error, failures)

    async def log(
        self, pod: str, *, container: str, since: str = "", tail_lines: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Give the pieces of a Pod's log, each line with its time, until the container ends.

        `since` is a time in RFC 3339 with whole seconds. Given `tail_lines`, so many of the last
        ones of what there is now, without times.

        Raises:
            httpx2.HTTPError, KeyError: the server refuses, or the connection is lost.
        """
        # Not AsyncClient.log: it knows no sinceTime, cannot read the answer when a stream is
        # refused, and leaves connections open that are not read to their end.
        calls = self._client._client
        following = tail_lines is None
        request = calls.prepare_request(
            "get",
            PodLog,
            name=pod,
            namespace=self.namespace,
            params={
                "container": container,
                "follow": following,
                "timestamps": following,
                "sinceTime": since or None,
                "tailLines": tail_lines,
            },
        )
        request.timeout = httpx2.Timeout(30, read=_QUIET_SECONDS)
        response = await calls.send(calls.build_adapter_request(request), stream=True)
        try:
            if response.is_error:
                await response.aread()
                calls.raise_for_status(response)
            async for piece in response.aiter_bytes():
                yield piece
        finally:
            await response.aclose()

    async def retry(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """Call until it works or cannot work. Raises HostError, caused by the API's error."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await call()
            except FAILURES as failure:
                error = http_error(failure)
                code = status_code(error)
                lasting = code is not None and code < 500 and code != 429
                if lasting:
                    raise HostError(f"Kubernetes API: {_said(error)}") from error
                await self.pause(error, attempt)

    async def pause(self, error: Exception, attempt: int) -> None:
        """Wait after a failed attempt; raise HostError, caused by `error`, if it was the last."""
        if attempt >= self.patience.attempts:
            raise HostError(f"Kubernetes API: {_said(error)}") from error
        _LOG.info("kubernetes API: %s; attempt %d", _said(error), attempt)
        wait = self.patience.wait_seconds(attempt)
        await sleep(max(wait, min(_retry_after(error), 300.0)))


def connect() -> AsyncClient:
    """Open the cluster that KUBECONFIG, ~/.kube/config or the Pod's own account names.

    Raises:
        UsageError: there is none.
    """
    try:
        # Watches are quiet for minutes.
        return AsyncClient(timeout=httpx2.Timeout(30, read=_WATCH_SECONDS + 30))
    except ConfigError as error:
        raise UsageError(f"no Kubernetes cluster is configured: {error}") from error


def _apply(known: dict[str, Any], event: str, item: Any) -> None:
    if event == "DELETED":
        known.pop(item.metadata.name, None)
    else:
        known[item.metadata.name] = item


def http_error(error: Exception) -> httpx2.HTTPError:
    """Find the HTTP error; lightkube trips over answers of proxies, which have no Content-Type."""
    if isinstance(error, httpx2.HTTPError):
        return error
    if isinstance(error.__context__, httpx2.HTTPError):
        return error.__context__
    raise error


def status_code(error: BaseException | None) -> int | None:
    """Return the HTTP status that an error is about, None if the server did not answer."""
    if isinstance(error, ApiError):
        code = error.status.code
        return code if isinstance(code, int) else error.response.status_code
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def _retry_after(error: Exception) -> float:
    response = getattr(error, "response", None)
    text = response.headers.get("retry-after", "") if response is not None else ""
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _said(error: Exception) -> str:
    code = status_code(error)
    # httpx adds a second line that sends the reader to an explanation of the number.
    text = str(error).partition("\n")[0] or type(error).__name__
    return f"HTTP {code}: {text}" if code else text
