"""Platform: os/architecture[/variant] (image-spec image-index.md, containerd's platforms)."""

import platform as host_platform
from typing import Any, Self

from asynckaniko.errors import InvalidReference
from asynckaniko.records import dataclass

_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "i386": "386",
    "i686": "386",
    "aarch64": "arm64",
    "armhf": "arm",
    "armel": "arm",
    "armv7l": "arm",
    "armv6l": "arm",
}
_VARIANTS = {"armhf": "v7", "armv7l": "v7", "armel": "v6", "armv6l": "v6"}


@dataclass(frozen=True, slots=True)
class Platform:
    """What a binary runs on. Normalised: amd64, not x86_64; arm64 without its only variant v8."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `os/arch[/variant]`; Raises InvalidReference for anything else."""
        parts = text.strip().lower().split("/")
        if not 2 <= len(parts) <= 3 or not all(part.isascii() and part for part in parts):
            raise InvalidReference(f"not a platform (os/architecture[/variant]): {text!r}")
        return cls.of(*parts)

    @classmethod
    def of(cls, os: str, architecture: str, variant: str = "", os_version: str = "") -> Self:
        arch = _ARCHITECTURES.get(architecture, architecture)
        variant = variant or _VARIANTS.get(architecture, "")
        if variant.isdigit():
            variant = f"v{variant}"
        if arch == "arm" and not variant:
            variant = "v7"
        if (arch, variant) in {("arm64", "v8"), ("amd64", "v1")}:
            variant = ""
        return cls({"macos": "darwin"}.get(os, os), arch, variant, os_version)

    @classmethod
    def host(cls) -> Self:
        return cls.of("linux", host_platform.machine())

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        return cls.of(
            str(document.get("os", "")),
            str(document.get("architecture", "")),
            str(document.get("variant", "")),
            str(document.get("os.version", "")),
        )

    def to_json(self) -> dict[str, Any]:
        document = {"architecture": self.architecture, "os": self.os}
        if self.os_version:
            document["os.version"] = self.os_version
        if self.variant:
            document["variant"] = self.variant
        return document

    @property
    def is_unknown(self) -> bool:
        """Tell whether it is none: BuildKit's attestations are listed as unknown/unknown."""
        return self.os in {"", "unknown"}

    def accepts(self) -> "tuple[Platform, ...]":
        """List what also runs on this platform, best first (arm/v7 runs arm/v6 and arm/v5)."""
        if self.architecture == "arm" and self.variant[1:].isdigit():
            versions = range(int(self.variant[1:]), 4, -1)
            return tuple(Platform(self.os, "arm", f"v{version}") for version in versions)
        if self.architecture == "amd64" and self.variant[1:].isdigit():
            newest_first = range(int(self.variant[1:]), 1, -1)
            levels = tuple(Platform(self.os, "amd64", f"v{level}") for level in newest_first)
            return (*levels, Platform(self.os, "amd64"))
        if self.variant:
            return (self, Platform(self.os, self.architecture))
        return (self,)

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))
