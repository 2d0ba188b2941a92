"""Servers that do what a real registry does only on its worst days.

FaultProxy stands before a real docker-registry and plays faults by rules; Script answers by itself;
TokenServer signs tokens that docker-registry checks.
"""

import asyncio
import base64
import re
import socket
import struct
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
import jwt
import orjson
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

_HEAD_LIMIT = 64 * 1024
_PIECE = 64 * 1024
_TLS_HANDSHAKE = b"\x16"
_REASONS = {200: "OK", 201: "Created", 202: "Accepted", 206: "Partial Content"}


@dataclass(frozen=True)
class Seen:
    """A request as it arrived. Header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    @property
    def size(self) -> int:
        return int(self.headers.get("content-length", "0"))

    @property
    def is_chunked(self) -> bool:
        return self.headers.get("transfer-encoding", "") == "chunked"

    @property
    def user(self) -> str | None:
        """User and password of Basic credentials."""
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        return base64.b64decode(value).decode() if scheme == "Basic" else None


@dataclass(frozen=True)
class Answer:
    """A complete response. A header that is None is left out, Content-Length too."""

    status: int = 200
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes = b""

    def encode(self, *, head: bool = False) -> bytes:
        given: dict[str, str | None] = {"Content-Length": str(len(self.body))}
        given |= self.headers
        lines = [f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Whatever')}"]
        lines += [f"{name}: {value}" for name, value in given.items() if value is not None]
        return "\r\n".join([*lines, "", ""]).encode() + (b"" if head else self.body)

    @property
    def is_framed(self) -> bool:
        return self.headers.get("Content-Length", "given") is not None


class Connection:
    """One client's connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> Seen | None:
        """Read the head of a request; None when the client is gone."""
        try:
            head = await self.reader.readexactly(1)
            if head == _TLS_HANDSHAKE:
                await self.send(Answer(400).encode())
                return None
            head += await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        method, target, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        return Seen(method, target, {name.lower(): value.strip() for name, _, value in pairs})

    async def body(self, size: int) -> AsyncIterator[bytes]:
        while size:
            piece = await self.reader.read(min(size, _PIECE))
            if not piece:
                raise ConnectionResetError
            size -= len(piece)
            yield piece

    async def frames(self, limit: int | None = None) -> AsyncIterator[bytes]:
        """Give a chunked body as it is, to its end or until it has brought `limit` bytes."""
        brought = 0
        while limit is None or brought < limit:
            try:
                head = await self.reader.readuntil(b"\r\n")
                size = int(head, 16)
                content = await self.reader.readexactly(size + 2)
            except asyncio.IncompleteReadError as error:
                raise ConnectionResetError from error
            yield head + content
            if not size:
                return
            brought += size

    async def send(self, content: bytes) -> None:
        if self.writer.is_closing():
            raise ConnectionResetError
        self.writer.write(content)
        await self.writer.drain()

    async def until_gone(self) -> None:
        """Wait until the client closes its side."""
        with suppress(ConnectionError):
            while await self.reader.read(_PIECE):
                pass

    def narrow(self) -> None:
        """Keep the kernel from taking much in advance, and all of it at once."""
        peer = self.writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _PIECE)

    def reset(self) -> None:
        """End the connection as a crashed host does."""
        with suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            peer = self.writer.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


Serve = Callable[[Connection], Awaitable[None]]


@asynccontextmanager
async def listen(serve: Serve, *, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Serve connections until the block ends; gives `host:port`."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            await serve(Connection(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(accept, host, 0, limit=_HEAD_LIMIT)
    try:
        yield f"{host}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


class Script:
    """Answers each request by the first rule whose pattern fits `METHOD target`."""

    def __init__(self) -> None:
        self.requests: list[Seen] = []
        self.bodies: list[bytes] = []
        self._rules: list[tuple[re.Pattern[str], Iterator[Answer | Serve]]] = []

    def on(self, pattern: str, *answers: Answer | Serve) -> "Script":
        """Give `answers` one after the other, the last one for ever."""

        def repeat() -> Iterator[Answer | Serve]:
            yield from answers
            while True:
                yield answers[-1]

        self._rules.append((re.compile(pattern), repeat()))
        return self

    def seen(self, pattern: str) -> list[Seen]:
        return [r for r in self.requests if re.search(pattern, f"{r.method} {r.target}")]

    @asynccontextmanager
    async def serve(self, *, host: str = "127.0.0.1") -> AsyncIterator[str]:
        async with listen(self._serve, host=host) as address:
            yield address

    async def _serve(self, connection: Connection) -> None:
        while request := await connection.request():
            self.requests.append(request)
            answer = self._answer(request)
            if not isinstance(answer, Answer):
                await answer(connection)
                return
            self.bodies.append(b"".join([p async for p in connection.body(request.size)]))
            await connection.send(answer.encode(head=request.method == "HEAD"))
            if not answer.is_framed:
                return

    def _answer(self, request: Seen) -> Answer | Serve:
        for pattern, answers in self._rules:
            if pattern.search(f"{request.method} {request.target}"):
                return next(answers)
        return Answer(
            404, body=b'{"errors": [{"code": "UNKNOWN", "message": "not in the script"}]}'
        )


# Faults. Positions count bytes of the body.


@dataclass(frozen=True)
class Refuse:
    """Answer without asking the registry. `early`: without reading the request's body either."""

    answer: Answer
    early: bool = False


@dataclass(frozen=True)
class CutRequest:
    """Let `at` bytes through to the registry, then reset both connections."""

    at: int


@dataclass(frozen=True)
class StallRequest:
    """Read `at` bytes and no more."""

    at: int


@dataclass(frozen=True)
class SlowRequest:
    """Take `size` bytes after the first `at` slowly: 64 KiB (or what is there) in `seconds`."""

    at: int
    size: int
    seconds: float


@dataclass(frozen=True)
class LoseAnswer:
    """Let the registry do it, then reset instead of answering."""


@dataclass(frozen=True)
class CutAnswer:
    """End the connection after `at` bytes of the answer: by a reset, or `cleanly`."""

    at: int
    cleanly: bool = False


@dataclass(frozen=True)
class StallAnswer:
    """Fall silent after `at` bytes of the answer; -1: say nothing at all."""

    at: int


@dataclass(frozen=True)
class ChangeAnswer:
    """Alter a good answer.

    Headers that are None are dropped. The body is cut to `keep` bytes or gets `extra` appended;
    `flip` is a byte to damage. Content-Length follows unless `headers` say otherwise.
    """

    headers: Mapping[str, str | None] = field(default_factory=dict)
    status: int = 0
    keep: int | None = None
    extra: int = 0
    flip: int | None = None


@dataclass(frozen=True)
class ChangeRequest:
    """Alter what the registry gets to see of headers that are there; None drops them."""

    headers: Mapping[str, str | None] = field(default_factory=dict)
    target: str = ""


Fault = (
    Refuse
    | CutRequest
    | StallRequest
    | SlowRequest
    | LoseAnswer
    | CutAnswer
    | StallAnswer
    | ChangeAnswer
    | ChangeRequest
)


@dataclass(frozen=True)
class Rule:
    """Play `fault` for `times` requests that fit `pattern` (on `METHOD target`), after `skip`."""

    pattern: str
    fault: Fault
    times: int = 1
    skip: int = 0


class FaultProxy:
    """Stands before a registry and plays rules; the first that fits a request counts."""

    def __init__(self, upstream: str, *rules: Rule) -> None:
        self.requests: list[Seen] = []
        self.played: list[Rule] = []
        self._upstream = upstream
        self._rules = rules
        self._fitted = [0] * len(rules)

    def seen(self, pattern: str) -> list[Seen]:
        return [r for r in self.requests if re.search(pattern, f"{r.method} {r.target}")]

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        async with listen(self._serve) as address:
            yield address

    async def _serve(self, client: Connection) -> None:
        while request := await client.request():
            self.requests.append(request)
            host, port = self._upstream.rsplit(":", 1)
            upstream = Connection(*await asyncio.open_connection(host, int(port)))
            try:
                if not await self._play(self._fault(request), request, client, upstream):
                    return
            finally:
                upstream.writer.close()

    def _fault(self, request: Seen) -> Fault | None:
        for number, rule in enumerate(self._rules):
            if re.search(rule.pattern, f"{request.method} {request.target}"):
                self._fitted[number] += 1
                if rule.skip < self._fitted[number] <= rule.skip + rule.times:
                    self.played.append(rule)
                    return rule.fault
        return None

    async def _play(
        self, fault: Fault | None, request: Seen, client: Connection, upstream: Connection
    ) -> bool:
        """Serve one request; tells whether the connection goes on."""
        if isinstance(fault, Refuse):
            if not fault.early:
                async for _ in _body(client, request):
                    pass
            await client.send(fault.answer.encode(head=request.method == "HEAD"))
            return not fault.early and fault.answer.is_framed
        limit = fault.at if isinstance(fault, CutRequest | StallRequest) else None
        await self._forward(request, fault, client, upstream, limit)
        if isinstance(fault, CutRequest):
            upstream.reset()
            client.reset()
            return False
        if isinstance(fault, StallRequest):
            await anyio.sleep_forever()
        answer = await _response(upstream, head=request.method == "HEAD")
        if isinstance(fault, LoseAnswer):
            client.reset()
            return False
        return await _return(fault, answer, client, head=request.method == "HEAD")

    async def _forward(
        self,
        request: Seen,
        fault: Fault | None,
        client: Connection,
        upstream: Connection,
        limit: int | None,
    ) -> None:
        target = request.target
        headers: dict[str, str | None] = {**request.headers, "connection": "close"}
        if isinstance(fault, ChangeRequest):
            target = fault.target or target
            headers |= {name: value for name, value in fault.headers.items() if name in headers}
        lines = [f"{request.method} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
        await upstream.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        slow = fault if isinstance(fault, SlowRequest) else SlowRequest(0, 0, 0)
        if slow.size:
            client.narrow()
        taken = 0
        async for piece in _body(client, request, limit):
            if slow.at <= taken < slow.at + slow.size:
                await anyio.sleep(slow.seconds)
            taken += len(piece)
            with suppress(ConnectionError):  # it may answer before it has read everything
                await upstream.send(piece)


def _body(client: Connection, request: Seen, limit: int | None = None) -> AsyncIterator[bytes]:
    if request.is_chunked:
        return client.frames(limit)
    return client.body(request.size if limit is None else min(limit, request.size))


async def _response(upstream: Connection, *, head: bool) -> Answer:
    text = (await upstream.reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip()
    first, *lines = text.split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers: dict[str, str | None] = {name: value.strip() for name, _, value in pairs}
    headers.pop("Connection", None)
    body = b"" if head else await upstream.reader.read()
    if headers.pop("Transfer-Encoding", None):
        headers["Content-Length"] = str(len(body := _unchunk(body)))
    return Answer(int(first.split(" ")[1]), headers, body)


def _unchunk(content: bytes) -> bytes:
    body = b""
    while content:
        length, _, content = content.partition(b"\r\n")
        body += content[: int(length, 16)]
        content = content[int(length, 16) + 2 :]
    return body


async def _return(fault: Fault | None, answer: Answer, client: Connection, *, head: bool) -> bool:
    content = answer.encode(head=head)
    start = content.index(b"\r\n\r\n") + 4
    match fault:
        case CutAnswer(at=at, cleanly=cleanly):
            await client.send(content[: start + at])
            if not cleanly:
                # What was sent must not be lost in the reset.
                await anyio.sleep(0.01)
                client.reset()
            return False
        case StallAnswer(at=at):
            await client.send(content[: start + at] if at >= 0 else b"")
            await client.until_gone()
            return False
        case ChangeAnswer():
            changed = _changed(fault, answer, head=head)
            await client.send(changed.encode(head=head))
            return changed.is_framed
        case _:
            await client.send(content)
            return True


def _changed(fault: ChangeAnswer, answer: Answer, *, head: bool) -> Answer:
    body = answer.body[: fault.keep] + b"x" * fault.extra
    if fault.flip is not None and fault.flip < len(body):
        damaged = bytearray(body)
        damaged[fault.flip] ^= 1
        body = bytes(damaged)
    headers: dict[str, str | None] = {**answer.headers}
    if not head:
        headers["Content-Length"] = str(len(body))
    return Answer(fault.status or answer.status, {**headers, **fault.headers}, body)


class TokenServer:
    """Gives tokens for docker-registry: pull to everyone, push to `user`:`password`.

    Also takes refresh tokens by POST. `life_seconds` is what it says of its tokens, not what is in
    them.
    """

    def __init__(self, directory: Path, *, user: str = "u", password: str = "p") -> None:
        self.user, self.password = user, password
        self.identity_token = ""
        self.life_seconds: int | None = 300
        self.requests: list[Seen] = []
        self.forms: list[dict[str, list[str]]] = []
        self.issued: list[str] = []
        self.address = ""
        self.refusals: list[Answer] = []
        """Given first, one for each request."""
        certificate = trustme.CA().issue_cert("token.test")
        self.bundle = directory / "tokens.pem"
        chain = b"".join(part.bytes() for part in certificate.cert_chain_pems)
        self.bundle.write_bytes(chain)
        self._key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
        der = x509.load_pem_x509_certificate(chain).public_bytes(serialization.Encoding.DER)
        self._chain = [base64.b64encode(der).decode()]

    @property
    def realm(self) -> str:
        return f"http://{self.address}/token"

    @property
    def registry_options(self) -> dict[str, str]:
        return {
            "realm": self.realm,
            "service": "registry.test",
            "issuer": "tests",
            "rootcertbundle": str(self.bundle),
        }

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["TokenServer"]:
        async with listen(self._serve) as self.address:
            yield self

    async def _serve(self, connection: Connection) -> None:
        while request := await connection.request():
            self.requests.append(request)
            body = b"".join([piece async for piece in connection.body(request.size)])
            form = parse_qs(body.decode())
            self.forms.append(form)
            answer = self.refusals.pop(0) if self.refusals else self._answer(request, form)
            await connection.send(answer.encode())

    def _answer(self, request: Seen, form: dict[str, list[str]]) -> Answer:
        is_known = request.user == f"{self.user}:{self.password}" or (
            bool(self.identity_token) and form.get("refresh_token") == [self.identity_token]
        )
        if not is_known and (request.user is not None or form):
            return Answer(401, body=b'{"details": "incorrect username or password"}')
        scopes = form.get("scope") or request.query.get("scope", [])
        token = self.sign(" ".join(scopes).split(), may_push=is_known)
        self.issued.append(token)
        document: dict[str, object] = {"access_token" if form else "token": token}
        if self.life_seconds is not None:
            document["expires_in"] = self.life_seconds
        return Answer(200, {"Content-Type": "application/json"}, orjson.dumps(document))

    def sign(self, scopes: list[str], *, may_push: bool, life_seconds: int = 300) -> str:
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            granted = [a for a in actions.split(",") if may_push or a == "pull"]
            access.append({"type": kind, "name": name, "actions": granted})
        now = int(time.time())
        claims = {
            "iss": "tests",
            "sub": self.user if may_push else "",
            "aud": "registry.test",
            "exp": now + life_seconds,
            "nbf": now - 30,
            "iat": now,
            "jti": str(uuid.uuid4()),
            "access": access,
        }
        # trustme's keys are of the curve P-256.
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"x5c": self._chain})  # type: ignore[arg-type]


class TunnelProxy:
    """An HTTP proxy: CONNECT and absolute requests. Every name leads to `upstream`."""

    def __init__(self, upstream: str, *, credentials: str = "", refusal: int = 0) -> None:
        self.requests: list[Seen] = []
        self._upstream = upstream
        self._credentials = credentials
        self._refusal = refusal

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        async with listen(self._serve) as address:
            yield address

    async def _serve(self, client: Connection) -> None:
        while request := await client.request():
            self.requests.append(request)
            given = request.headers.get("proxy-authorization", "").removeprefix("Basic ")
            if self._refusal or base64.b64decode(given).decode() != self._credentials:
                await client.send(Answer(self._refusal or 407).encode())
                return
            host, port = self._upstream.rsplit(":", 1)
            upstream = Connection(*await asyncio.open_connection(host, int(port)))
            try:
                if request.method == "CONNECT":
                    await client.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    await _join(client, upstream)
                    return
                await self._relay(request, client, upstream)
            finally:
                upstream.writer.close()

    async def _relay(self, request: Seen, client: Connection, upstream: Connection) -> None:
        headers = {k: v for k, v in request.headers.items() if not k.startswith("proxy-")}
        url = urlsplit(request.target)
        target = f"{url.path}?{url.query}" if url.query else url.path
        lines = [f"{request.method} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in (headers | {"connection": "close"}).items()]
        await upstream.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        async for piece in client.body(request.size):
            await upstream.send(piece)
        answer = await _response(upstream, head=request.method == "HEAD")
        await client.send(answer.encode(head=request.method == "HEAD"))


async def _join(one: Connection, other: Connection) -> None:
    async def pipe(source: Connection, sink: Connection) -> None:
        with suppress(ConnectionError):
            while piece := await source.reader.read(_PIECE):
                await sink.send(piece)
        sink.writer.close()

    async with anyio.create_task_group() as pipes:
        pipes.start_soon(pipe, one, other)
        pipes.start_soon(pipe, other, one)
