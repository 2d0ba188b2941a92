"""Stand-ins for two object stores: the requests that reading one object makes, and no more."""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from urllib.parse import unquote

from aiohttp import web


@dataclass
class ObjectStore:
    """Serves objects by path, whole and in parts, as the XML and blob interfaces do."""

    objects: dict[str, bytes] = field(default_factory=dict)
    etag: str = '"one"'
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path, headers."""
    change_after: int = 0
    """How many requests until the object is replaced; 0 never."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path, dict(request.headers)))
        if self.change_after and len(self.requests) > self.change_after:
            self.etag = '"two"'
        refusal = self.refusal(request)
        if refusal is not None:
            return refusal
        content = self.objects.get(unquote(request.path).lstrip("/"))
        if content is None:
            return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
        if request.headers.get("If-Match", self.etag) != self.etag:
            return web.Response(status=412)
        headers = {
            "ETag": self.etag,
            "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT",
            "x-ms-blob-type": "BlockBlob",
            "x-goog-generation": "1",
        }
        asked = request.headers.get("Range") or request.headers.get("x-ms-range") or ""
        if request.method == "HEAD" or not asked:
            return web.Response(body=content, headers=headers)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        part = content[int(first) : int(last) + 1]
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return web.Response(status=206, body=part, headers=headers)

    def refusal(self, request: web.Request) -> web.Response | None:
        return None


@dataclass
class AzureStore(ObjectStore):
    """Lets those in who sign as Azure's documentation says (SharedKey)."""

    account: str = "account"
    key: str = base64.b64encode(b"canary-key").decode()

    def refusal(self, request: web.Request) -> web.Response | None:
        given = request.headers.get("Authorization", "")
        if given == f"SharedKey {self.account}:{self._signature(request)}":
            return None
        return web.Response(status=403, text="<Error><Code>AuthenticationFailed</Code></Error>")

    def _signature(self, request: web.Request) -> str:
        headers = {name.lower(): value for name, value in request.headers.items()}
        names = (
            *("content-encoding", "content-language", "content-length", "content-md5"),
            *("content-type", "date", "if-modified-since", "if-match", "if-none-match"),
            *("if-unmodified-since", "range"),
        )
        standard = [headers.get(name, "") for name in names]
        if standard[2] == "0":
            standard[2] = ""
        extra = [f"{n}:{headers[n]}" for n in sorted(headers) if n.startswith("x-ms-")]
        query = [f"{key.lower()}:{value}" for key, value in sorted(request.query.items())]
        resource = "\n".join([f"/{self.account}{request.raw_path.partition('?')[0]}", *query])
        text = "\n".join([request.method, *standard, *extra, resource])
        digest = hmac.new(base64.b64decode(self.key), text.encode(), hashlib.sha256).digest()
        return base64.b64encode(digest).decode()
