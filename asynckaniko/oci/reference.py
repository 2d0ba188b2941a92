"""References: `busybox` means docker.io/library/busybox:latest.

distribution-spec "Pulling manifests" gives the grammar of name and tag; the short forms and the
default registry are Docker's.
"""

import re
from dataclasses import dataclass, replace
from typing import Self

from asynckaniko.errors import InvalidReference
from asynckaniko.oci.digest import Digest

DOCKER_HUB = "docker.io"
_HUB_ALIASES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HOST = re.compile(
    r"(?:\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9](?:[a-zA-Z0-9_-]*[a-zA-Z0-9])?"
    r"(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9_-]*[a-zA-Z0-9])?)*)(?::[0-9]{1,5})?"
)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_LONGEST = 1024


@dataclass(frozen=True, slots=True, order=True)
class Repository:
    """Where images of one name live: registry host (`host[:port]`) and path."""

    registry: str
    name: str

    def __str__(self) -> str:
        return f"{self.registry}/{self.name}"


@dataclass(frozen=True, slots=True)
class Reference:
    """One image: a repository and a tag, a digest, or both (then the digest counts)."""

    repository: Repository
    tag: str = ""
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str, *, default_tag: str = "latest") -> Self:
        """Read a reference as Docker does.

        Raises:
            InvalidReference: with the part that is wrong.
        """
        if len(text) > _LONGEST:
            raise InvalidReference(f"image reference of {len(text)} characters: {text[:80]!r}...")
        rest, at, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if at else None
        head, colon, tag = rest.rpartition(":")
        if not colon or "/" in tag:
            head, tag = rest, ""
        elif not _TAG.fullmatch(tag):
            raise InvalidReference(f"invalid tag {tag!r} in image reference {text!r}")
        registry, name = _split(head)
        if not _HOST.fullmatch(registry):
            raise InvalidReference(f"invalid registry {registry!r} in image reference {text!r}")
        if not _NAME.fullmatch(name):
            hint = "; names are lower case" if name.lower() != name else ""
            raise InvalidReference(f"invalid repository {name!r} in image reference {text!r}{hint}")
        if not tag and digest is None:
            tag = default_tag
        return cls(Repository(registry, name), tag, digest)

    @property
    def target(self) -> str:
        """What stands in a manifest URL: the digest if there is one, else the tag."""
        return self.digest or self.tag

    def with_digest(self, digest: Digest) -> Self:
        return replace(self, digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}{tag}{digest}"


def _split(head: str) -> tuple[str, str]:
    first, slash, rest = head.partition("/")
    is_host = bool(slash) and (
        "." in first or ":" in first or first == "localhost" or first != first.lower()
    )
    registry, name = (first, rest) if is_host else (DOCKER_HUB, head)
    if registry in _HUB_ALIASES:
        registry = DOCKER_HUB
        if "/" not in name:
            name = f"library/{name}"
    return registry, name
