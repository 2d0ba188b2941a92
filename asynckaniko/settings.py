"""Process-wide options. Immutable; built by the CLI or the embedding service, never from here."""

import os
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from asynckaniko.records import dataclass

_CORES = os.cpu_count() or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may happen at once, over all builds of one Builder, and how large input may be."""

    builds: int = 4
    stages: int = 16
    downloads: int = 8
    uploads: int = 8
    processes: int = _CORES + 1
    """Helper processes that unpack, copy or pack at one time (not RUN commands)."""
    arriving_layers: int = _CORES + 2
    """Base layers that are unpacked while they are downloaded, each by a helper process."""
    disk_threads: int = 4
    output_line_size: int = 64 * 1024
    """A longer line of a command's output is split."""
    output_size: int = 64 << 20
    """Bytes of one command's output that become events: a reader may be slow, or keep them all."""
    dockerfile_size: int = 16 << 20
    manifest_size: int = 4 << 20
    config_size: int = 8 << 20
    layers: int = 512
    layer_size: int = 1 << 40
    """Bytes of one uncompressed layer."""
    layer_entries: int = 20_000_000
    context_size: int = 1 << 38
    """Bytes of an unpacked build context."""
    context_entries: int = 10_000_000
    context_seconds: float = 3600.0
    """Until a context that is fetched is here."""
    archive_ratio: int = 200
    """How many times its size a context's archive may unfold to, once that is over 1 GiB."""
    download_size: int = 64 << 30
    """Bytes of one file that is downloaded: an archive, or a source of ADD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How long to go on with a request that fails in a way that may pass."""

    attempts: int = 8
    total_seconds: float = 300.0
    first_wait_seconds: float = 0.2
    longest_wait_seconds: float = 30.0
    connect_seconds: float = 10.0
    response_seconds: float = 60.0
    """Until the first byte of the answer."""
    stall_seconds: float = 30.0
    """A body that brings less than `stall_size` bytes in this time is given up and resumed."""
    stall_size: int = 32 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryOptions:
    """Which hosts to talk to, and how. Hosts are `host[:port]` as written in references."""

    insecure_push: bool = False
    """Plain http for pushes to every registry."""
    insecure_pull: bool = False
    insecure_registries: frozenset[str] = frozenset()
    """Plain http, pull and push."""
    skip_tls_verify_push: bool = False
    skip_tls_verify_pull: bool = False
    skip_tls_verify_registries: frozenset[str] = frozenset()
    certificates: Mapping[str, Path] = field(default_factory=dict)
    """Host to a PEM file of CA certificates that are trusted for it, beside the system's."""
    client_certificates: Mapping[str, tuple[Path, Path]] = field(default_factory=dict)
    """Host to (certificate, key) for mutual TLS."""
    ca_files: tuple[Path, ...] = ()
    """PEM files trusted for every host, beside the system's."""
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Registry to its mirrors, `[http[s]://]host[:port][/prefix]`, tried in order before it."""
    fall_back_to_origin: bool = True
    """Ask the registry itself when every mirror failed."""
    user_agent: str = "asynckaniko"
    chunk_size: int = 0
    """Bytes of one PATCH; 0 sends a blob as one streamed request."""
    early_size: int = 64 << 20
    """Bytes of a compressed layer from which its upload begins while the rest is being packed.

    Lower, and more is sent in vain of what the registry turns out to have. 0: never.
    """
    ignore_immutable_tags: bool = False
    """Take a refusal to overwrite an immutable tag for success."""
    https_proxy: str = field(default="", repr=False)
    """`[http://][user:password@]host[:port]` through which https registries are reached."""
    http_proxy: str = field(default="", repr=False)
    no_proxy: str = ""
    """Hosts that are reached directly, as in the variable NO_PROXY."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialOptions:
    """Where sign-ins come from beside auth files."""

    auth_text: str = field(default="", repr=False)
    """The content of an auth file that is asked before the files (DOCKER_AUTH_CONFIG)."""
    helpers: tuple[str, ...] = ("env", "google", "ecr", "acr", "gitlab")
    """Asked in this order after the files."""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What the helpers env, gitlab and acr read: KANIKO_*, CI_REGISTRY*, AZURE_*."""


ISOLATION_MODES = ("auto", "userns", "single-id", "namespaces", "in-place", "chroot", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationOptions:
    """How commands are kept from this machine and from each other."""

    mode: str = "auto"
    """One of ISOLATION_MODES; auto finds out what works, none runs no commands."""
    may_be_plain: bool = False
    """Let auto take in-place or chroot where no namespace can be had: commands are hardly kept
    from this process then. Not for services that build what others wrote.
    """
    shared_pids: bool = False
    """Leave commands among this process's own, so that they find themselves in a masked /proc."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where to work, how hard, and with whom to talk."""

    state_dir: Path = Path("/var/lib/asynckaniko")
    state_size: int | None = None
    """Bytes of layers that the state directory may hold after a build; None: no limit."""
    mount_size: int | None = None
    """Bytes that the caches of RUN mounts may hold after a build; None: no limit."""
    cache_mount_dir: Path | None = None
    """Where the caches of RUN mounts are kept instead of in the state directory."""
    isolation: IsolationOptions = field(default_factory=IsolationOptions)
    limits: Limits = field(default_factory=Limits)
    retry: Retry = field(default_factory=Retry)
    registry: RegistryOptions = field(default_factory=RegistryOptions)
    auth_files: tuple[Path, ...] = ()
    """docker `config.json` style files, first match wins."""
    credentials: CredentialOptions = field(default_factory=CredentialOptions)
