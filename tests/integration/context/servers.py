"""Servers on loopback that contexts come from: web servers with faults, git, object stores."""

import asyncio
import base64
import json
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_START_SECONDS = 30


@contextmanager
def serving(handler: Handler, *, ssl: object = None) -> Iterator[str]:
    """Serve all requests with `handler`, in a thread of its own; yields `127.0.0.1:port`."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    host: list[str] = []
    stop = asyncio.Event()

    async def serve() -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, auto_decompress=False, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl)  # type: ignore[arg-type]
        await site.start()
        host.append(f"127.0.0.1:{runner.addresses[0][1]}")
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert ready.wait(_START_SECONDS)
        yield host[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@dataclass
class WebFiles:
    """Serves bytes by path, and does to them what the first part of the path says.

    `/cut/N/x` breaks the connection after N bytes, once; `/cut-always/N/x` every time;
    `/chunks/x` names no length; `/busy/N/x` says 503 N times; `/hop/N/x` redirects N times;
    `/drip/x` sends a byte now and then.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    _count: dict[str, int] = field(default_factory=dict)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path, dict(request.headers)))
        words = request.path.lstrip("/").split("/")
        count = self._count[request.path] = self._count.get(request.path, 0) + 1
        match words:
            case ["cut", size, name]:
                limit = int(size) if count == 1 else None
                return await self._send(request, name, cut=limit)
            case ["cut-always", size, name]:
                return await self._send(request, name, cut=int(size))
            case ["chunks", name]:
                return await self._send(request, name, length=False)
            case ["cut-chunks", size, name]:
                return await self._send(request, name, length=False, cut=int(size))
            case ["busy", times, name]:
                if count <= int(times):
                    return web.Response(status=503, headers={"Retry-After": "0"})
                return await self._send(request, name)
            case ["hop", times, name]:
                left = int(times) - 1
                target = f"/hop/{left}/{name}" if left else f"/{name}"
                return web.Response(status=302, headers={"Location": target})
            case ["away", name]:
                return web.Response(status=302, headers={"Location": f"http://{name}/"})
            case ["drip", name]:
                return await self._send(request, name, drip=True)
            case [name]:
                return await self._send(request, name)
        return web.Response(status=404)

    async def _send(
        self,
        request: web.Request,
        name: str,
        *,
        cut: int | None = None,
        length: bool = True,
        drip: bool = False,
    ) -> web.StreamResponse:
        content = self.files.get(name)
        if content is None:
            return web.Response(status=404)
        headers = {"ETag": f'"{len(content)}"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
        asked = request.headers.get("Range", "")
        status, start = 200, 0
        if asked and self.ranges:
            status, start = 206, int(asked.removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        response = web.StreamResponse(status=status, headers=headers)
        rest = content[start:]
        if length:
            response.content_length = len(rest)
        else:
            response.enable_chunked_encoding()
        await response.prepare(request)
        async for piece in _pieces(rest if cut is None else rest[:cut], drip=drip):
            await response.write(piece)
        if cut is not None:
            assert request.transport is not None
            request.transport.abort()
        return response


async def _pieces(content: bytes, *, drip: bool) -> AsyncIterator[bytes]:
    size = 1 if drip else 64 * 1024
    for start in range(0, len(content), size):
        yield content[start : start + size]
        if drip:
            await asyncio.sleep(0.2)


@dataclass
class SmartGit:
    """git over http, through `git http-backend`; with `password`, only for `user:password`."""

    root: Path
    password: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Path, and the Authorization header."""
    large_files: dict[str, bytes] = field(default_factory=dict)
    """Contents of Git LFS by their SHA-256."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        self.requests.append((request.path_qs, given))
        if self.password and given != f"Basic {base64.b64encode(self.password.encode()).decode()}":
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="git"'})
        body = await request.read()
        if "/info/lfs/" in request.path:
            return self._answer_lfs(request, body)
        process = await asyncio.create_subprocess_exec(
            "git",
            "http-backend",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                "PATH": os.environ["PATH"],
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_PROJECT_ROOT": str(self.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": request.path,
                "QUERY_STRING": request.query_string,
                "REQUEST_METHOD": request.method,
                "CONTENT_TYPE": request.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            },
        )
        output, _ = await process.communicate(body)
        head, _, rest = output.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if ": " in line)
        status = int(headers.pop("Status", "200 OK").split()[0])
        return web.Response(status=status, body=rest, headers=headers)

    def _answer_lfs(self, request: web.Request, body: bytes) -> web.Response:
        """Speak the batch API of Git LFS and its basic transfer, for downloads."""
        if not request.path.endswith("/objects/batch"):
            content = self.large_files.get(request.path.rpartition("/")[2])
            return web.Response(status=404) if content is None else web.Response(body=content)
        place = f"http://{request.host}{request.path.removesuffix('batch')}"
        objects = []
        for wanted in json.loads(body)["objects"]:
            known = wanted["oid"] in self.large_files
            found = {"actions": {"download": {"href": place + wanted["oid"]}}}
            missing = {"error": {"code": 404, "message": "no such object"}}
            objects.append({**wanted, **(found if known else missing)})
        return web.json_response(
            {"transfer": "basic", "objects": objects},
            content_type="application/vnd.git-lfs+json",
        )
