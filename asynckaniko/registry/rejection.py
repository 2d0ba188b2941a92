"""Turn a refusing response into the error that says who refused what, and why."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from yarl import URL

from asynckaniko.errors import BlobUnknown, NotFound, RegistryRejected, Unauthorized
from asynckaniko.records import dataclass

_LONGEST_DETAIL = 800
_BLOB_UNKNOWN = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"})
_MARKUP = re.compile(r"<[^>]{0,200}>")


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What the registry said, made safe to print."""

    codes: tuple[str, ...] = ()
    detail: str = ""

    @classmethod
    def read(cls, content: bytes, *, secrets: Iterable[str] = ()) -> "ErrorBody":
        """Read the spec's error JSON, or a text; never fails. `secrets` are blacked out."""
        try:
            document = orjson.loads(content)
        except orjson.JSONDecodeError:
            text = content[:4096].decode("utf-8", "replace")
            return cls(detail=_printable(_MARKUP.sub(" ", text), secrets))
        errors = document.get("errors") if isinstance(document, dict) else None
        entries = [e for e in errors if isinstance(e, dict)] if isinstance(errors, list) else []
        if not entries:
            return cls(detail=_printable(_simple(document), secrets))
        codes = tuple(_printable(str(e.get("code", "")), secrets)[:80] for e in entries[:8])
        texts = (f"{e.get('code', '')}: {e.get('message', '')}{_hint(e)}" for e in entries[:8])
        return cls(codes, _printable("; ".join(texts), secrets))

    def with_hint(self, hint: str) -> "ErrorBody":
        said = self.detail or ", ".join(self.codes) or "no error body"
        return ErrorBody(self.codes, f"{said}; {hint}")


def rejection(
    method: str,
    url: URL,
    status: int,
    body: ErrorBody,
    *,
    retry_after_seconds: float | None = None,
) -> RegistryRejected:
    """Choose the class by status and codes."""
    kind: type[RegistryRejected] = RegistryRejected
    if status in (401, 403):
        kind = Unauthorized
    elif method == "PUT" and _BLOB_UNKNOWN.intersection(body.codes):
        kind = BlobUnknown
    elif status == 404:
        kind = NotFound
    return kind(
        method,
        printable(url),
        status,
        body.codes,
        detail=body.detail,
        retry_after_seconds=retry_after_seconds,
    )


def printable(url: URL) -> str:
    """Write a URL without userinfo, query and fragment: any of them may be a secret."""
    return str(url.with_user(None).with_query(None).with_fragment(None))


def _simple(document: Any) -> str:
    """Find the text in the error shapes of token servers and proxies."""
    if not isinstance(document, Mapping):
        return ""
    names = ("error_description", "error", "message", "details", "detail", "errors")
    return "; ".join(str(document[name]) for name in names if isinstance(document.get(name), str))


def _hint(entry: Mapping[str, Any]) -> str:
    detail = entry.get("detail")
    if not detail or detail == "null":
        return ""
    text = detail if isinstance(detail, str) else orjson.dumps(detail).decode()
    return f" ({text})"


def _printable(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, "***")
    # No escape sequences into terminals, no line ends into logs.
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _LONGEST_DETAIL else text[:_LONGEST_DETAIL] + "..."
