"""What the process finds around it: environment variables, its user, its terminal.

Read once, at the start; everything below takes values.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Self

from asynckaniko.cli.flag_values import parse_bool
from asynckaniko.errors import UsageError
from asynckaniko.records import dataclass

KANIKO_DIR = Path("/kaniko")
"""Where pipelines written for kaniko mount credentials and certificates."""

_SYSTEM_STATE_DIR = Path("/var/lib/asynckaniko")
_SYSTEM_CERTIFICATES = Path("/etc/ssl/certs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """A snapshot of the process's surroundings. The defaults are those of a bare batch job."""

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_root: bool = False
    is_terminal: bool = False
    """Standard error, where progress goes, is a terminal."""
    system_state_dir: Path = _SYSTEM_STATE_DIR
    kaniko_dir: Path = KANIKO_DIR

    @classmethod
    def of_this_process(cls) -> Self:
        return cls(
            environment=dict(os.environ),
            is_root=os.geteuid() == 0,
            is_terminal=sys.stderr is not None and sys.stderr.isatty(),
        )

    def get(self, name: str) -> str:
        """Return a variable's value; unset and empty are the same."""
        return self.environment.get(name, "")

    def boolean(self, name: str) -> bool | None:
        """Return a variable's value as a switch, None if it is not set.

        Raises:
            UsageError: not one of Go's boolean words.
        """
        text = self.get(name)
        if not text:
            return None
        value = parse_bool(text)
        if value is None:
            raise UsageError(f'invalid value "{text}" of {name}: it must be true or false')
        return value

    @property
    def home(self) -> Path | None:
        return Path(self.get("HOME")) if self.get("HOME") else None

    @property
    def is_dumb(self) -> bool:
        return self.get("TERM") == "dumb"

    def color(self) -> bool:
        """Tell whether text for standard error may carry colours (no-color.org, FORCE_COLOR)."""
        if self.get("NO_COLOR"):
            return False
        if self.get("FORCE_COLOR") not in {"", "0"} or self.get("CLICOLOR_FORCE") not in {"", "0"}:
            return True
        return self.is_terminal and not self.is_dumb

    def state_dir(self) -> Path:
        """Choose where state is kept when nothing was said."""
        if self.is_root and _can_be_made(self.system_state_dir):
            return self.system_state_dir
        # A Pod of any user has a volume there.
        if self.system_state_dir.is_dir() and os.access(self.system_state_dir, os.W_OK):
            return self.system_state_dir
        base = self.get("XDG_STATE_HOME")
        if base and Path(base).is_absolute():
            return Path(base) / "asynckaniko"
        if self.home is None:
            raise UsageError(
                "no place for state: HOME and XDG_STATE_HOME are not set; give --state-dir"
            )
        return self.home / ".local/state/asynckaniko"

    def auth_files(self) -> tuple[Path, ...]:
        """List the credential files that exist, in the order they are asked."""
        return tuple(dict.fromkeys(path for path in self._auth_candidates() if path.is_file()))

    def login_file(self) -> Path:
        """Choose the file that credentials are added to."""
        return next(self._auth_candidates())

    def _auth_candidates(self) -> Iterator[Path]:
        docker_config = self.get("DOCKER_CONFIG")
        if docker_config:
            path = Path(docker_config)
            # A directory, by Docker's rule; pipelines that mount one file set the file's path.
            yield path if path.is_file() else path / "config.json"
        elif self.home:
            yield self.home / ".docker/config.json"
        yield self.kaniko_dir / ".docker/config.json"
        if self.get("REGISTRY_AUTH_FILE"):
            yield Path(self.get("REGISTRY_AUTH_FILE"))
        if self.get("XDG_RUNTIME_DIR"):
            yield Path(self.get("XDG_RUNTIME_DIR")) / "containers/auth.json"

    def ca_files(self) -> tuple[Path, ...]:
        """List certificate files that OpenSSL would not find by itself.

        Of a directory OpenSSL reads only files that are named by their hash; Go, and so kaniko,
        reads them all, and pipelines mount their own there.
        """
        found = []
        if self.get("SSL_CERT_FILE"):
            found.append(Path(self.get("SSL_CERT_FILE")))
        named = self.get("SSL_CERT_DIR").split(":")
        for directory in dict.fromkeys((*named, str(self.kaniko_dir / "ssl/certs"))):
            path = Path(directory)
            if directory and path != _SYSTEM_CERTIFICATES and path.is_dir():
                found += sorted(file for file in path.iterdir() if file.is_file())
        return tuple(dict.fromkeys(file.resolve() for file in found if file.is_file()))


def _can_be_made(path: Path) -> bool:
    """Tell whether `path` is a writable directory or could be created as one."""
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    # Root may write anywhere but on a read-only filesystem, which access(2) knows.
    return existing.is_dir() and os.access(existing, os.W_OK)
