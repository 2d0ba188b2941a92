"""Names of git repositories, as docker, BuildKit and kaniko spell them.

Everything here ends up near a command line or in a request that git makes, so each part must look
like what it is: a host, a path, a ref.
"""

import re
from dataclasses import field, replace
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from asynckaniko.errors import ContextError
from asynckaniko.records import dataclass

_GIT = re.compile(r"git://|ssh://|git@[^/:]+:|https?://[^?#]+\.git/?(?:[?#].*)?$", re.DOTALL)
_SCP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9][A-Za-z0-9.-]*:([^?#]+)")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*)|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")
_NO_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)|^[-/.]|[/.]$|^@$")
"""git-check-ref-format(1), and no option."""
_QUERY_KEYS = frozenset(
    ("ref", "branch", "tag", "commit", "checksum", "subdir", "keep-git-dir", "submodules")
)


@dataclass(frozen=True, slots=True)
class Checkout:
    """A repository's files in `directory`, at `commit`, which was made at `time` (POSIX)."""

    directory: Path
    commit: str
    time: int


@dataclass(frozen=True, slots=True)
class GitRepository:
    """A repository, and what of it is meant."""

    url: str
    """For git's command line: without a password."""
    shown: str
    reference: str = ""
    """Branch, tag, full ref name or commit; empty is the remote's HEAD."""
    commit: str = ""
    """What has to be checked out, of the history of `reference`; may be the beginning of it."""
    subdirectory: str = ""
    keep_git_dir: bool | None = None
    submodules: bool | None = None
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def origin(self) -> str:
        """The part that credentials belong to: scheme, host and port; empty for ssh."""
        scheme, separator, rest = self.url.partition("://")
        if scheme not in {"https", "http"} or not separator:
            return ""
        return f"{scheme}://{rest.partition('/')[0].lower()}"

    @property
    def host(self) -> str:
        """The host and port of an http URL; empty for other protocols."""
        return self.origin.partition("://")[2]

    @property
    def wants_commit(self) -> str:
        """The full commit that is asked for; empty where a name has to be looked up."""
        for text in (self.commit, self.reference):
            if _COMMIT.fullmatch(text):
                return text
        return ""


def is_git_url(source: str) -> bool:
    """Tell whether this names a git repository rather than a file to download."""
    return bool(_GIT.match(source))


def parse_git_url(source: str, *, pull_scheme: str = "git") -> GitRepository:
    """Read `URL[?key=value...][#ref[:subdirectory]][#commit]`.

    `git://` becomes `pull_scheme`. Raises ContextError: a part is not what it should be.
    """
    base, _, fragment = source.partition("#")
    base, _, query = base.partition("?")
    repository = _remote(base, pull_scheme)
    named, _, commit = fragment.partition("#")
    reference, _, subdirectory = named.partition(":")
    repository = replace(
        repository, reference=unquote(reference), commit=commit, subdirectory=unquote(subdirectory)
    )
    if query:
        repository = _with_query(repository, query)
    _check(repository)
    return repository


def _remote(base: str, pull_scheme: str) -> GitRepository:
    if "://" not in base:
        scp = _SCP.fullmatch(base)
        if scp is None or scp[1].startswith("-") or _UNPRINTABLE.search(base):
            raise ContextError(f"git repository {base!r}: expected USER@HOST:PATH")
        return GitRepository(base, base)
    scheme, _, rest = base.partition("://")
    authority, _, path = rest.partition("/")
    credentials, _, host = authority.rpartition("@")
    shown = f"{scheme}://{host}/{path}"
    if not _HOST.fullmatch(host):
        raise ContextError(f"git repository {shown!r}: {host!r} is no host")
    if not path or _UNPRINTABLE.search(path):
        raise ContextError(f"git repository {shown!r}: the path is missing or malformed")
    scheme = pull_scheme if scheme == "git" else scheme
    username, _, password = credentials.partition(":")
    if scheme == "ssh":
        if username and not _USER.fullmatch(username):
            raise ContextError(f"git repository {shown!r}: malformed user name")
        user = f"{username}@" if username else ""
        return GitRepository(f"ssh://{user}{host}/{path}", shown)
    return GitRepository(
        f"{scheme}://{host}/{path}",
        shown,
        username=unquote(username),
        password=unquote(password),
    )


def _with_query(repository: GitRepository, query: str) -> GitRepository:
    found: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in _QUERY_KEYS:
            keys = ", ".join(sorted(_QUERY_KEYS))
            raise ContextError(f"git repository {repository.shown}: unknown {key!r}; known: {keys}")
        if key in found:
            raise ContextError(f"git repository {repository.shown}: {key} is given twice")
        found[key] = value
    names = [found[key] for key in ("ref", "branch", "tag") if found.get(key)]
    if repository.reference:
        names.append(repository.reference)
    if len(set(names)) > 1:
        raise ContextError(f"git repository {repository.shown}: more than one ref is named")
    commits = {found[key] for key in ("commit", "checksum") if found.get(key)}
    commits |= {repository.commit} - {""}
    if len(commits) > 1:
        raise ContextError(f"git repository {repository.shown}: more than one commit is named")
    prefix = "refs/heads/" if found.get("branch") else "refs/tags/" if found.get("tag") else ""
    reference = names[0] if names else ""
    if prefix and not reference.startswith("refs/"):
        reference = prefix + reference
    return replace(
        repository,
        reference=reference,
        commit=commits.pop() if commits else "",
        subdirectory=found.get("subdir") or repository.subdirectory,
        keep_git_dir=_switch(repository, found, "keep-git-dir"),
        submodules=_switch(repository, found, "submodules"),
    )


def _switch(repository: GitRepository, found: dict[str, str], key: str) -> bool | None:
    if key not in found:
        return None
    # `?keep-git-dir` alone means yes.
    if found[key] in {"", "1", "true"}:
        return True
    if found[key] in {"0", "false"}:
        return False
    raise ContextError(f"git repository {repository.shown}: {key} must be true or false")


def _check(repository: GitRepository) -> None:
    check_reference(repository.reference, where=repository.shown)
    if repository.commit and not re.fullmatch(r"[0-9a-f]{7,64}", repository.commit):
        raise ContextError(
            f"git repository {repository.shown}: {repository.commit!r} is no commit;"
            " it must be 7 to 64 hex digits"
        )
    if "\0" in repository.subdirectory:
        raise ContextError(f"git repository {repository.shown}: malformed subdirectory")


def check_reference(name: str, *, where: str) -> None:
    """Raise ContextError unless `name` is empty or what git allows as the name of a ref."""
    if name and _NO_REF.search(name):
        raise ContextError(f"git repository {where}: {name!r} is no name of a branch, tag or ref")
