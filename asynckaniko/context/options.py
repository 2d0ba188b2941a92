"""What reaching contexts elsewhere takes: credentials, endpoints, how git fetches.

Values only: the command line fills them from flags and environment, a service from its own
configuration.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import TypeAlias

from asynckaniko.records import dataclass

PULL_SCHEMES = ("https", "http", "ssh", "git")
AskGoogle: TypeAlias = Callable[[Path], Awaitable[tuple[str, float]]]
"""Gets an access token for the account of a credentials file, and the seconds that it lives.

Raises UsageError: there is none.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitOptions:
    """How repositories are fetched. The credentials go to the host of the build context only."""

    branch: str = ""
    """Branch or tag to check out where the URL names none."""
    single_branch: bool = False
    """With the whole history: of the branch that is checked out only."""
    depth: int = 1
    """Commits of history; 0 fetches all branches and tags whole."""
    recurse_submodules: bool = False
    skip_tls_verify: bool = False
    skip_large_files: bool = False
    """Leave the pointers of Git LFS as they are: its own GIT_LFS_SKIP_SMUDGE."""
    pull_scheme: str = "https"
    """What `git://` in `--context` stands for, one of PULL_SCHEMES: kaniko's GIT_PULL_METHOD."""
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    """Sent as the user name, with an empty password; goes before `username`."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What the git program finds around it: PATH, proxies, SSH_AUTH_SOCK, GIT_SSH_COMMAND."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStoreOptions:
    """How buckets are reached. What is empty is found by the cloud's own chain of credentials."""

    s3_endpoint: str = ""
    s3_force_path_style: bool = False
    """Only with an endpoint, as kaniko has it; Amazon's own is always addressed by host name."""
    s3_region: str = ""
    s3_credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    """`access_key_id`, `secret_access_key` and `session_token`."""
    gcs_endpoint: str = ""
    gcs_unsigned: bool = False
    """Send no credentials: the endpoint is an emulator."""
    gcs_credentials_file: Path | None = None
    azure_endpoint: str = ""
    """Instead of `https://ACCOUNT.blob.core...`."""
    azure_key: str = field(default="", repr=False)
    azure_identity: bool = False
    """Without a key, ask for a token: workload identity, service principal or managed identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextOptions:
    """All of the above, and what holds for every form."""

    sub_path: str = ""
    """Directory of the build context (not of named ones) to be used in its place."""
    git: GitOptions = field(default_factory=GitOptions)
    object_store: ObjectStoreOptions = field(default_factory=ObjectStoreOptions)
    stdin: int = 0
    """The descriptor that `tar://stdin` reads."""
