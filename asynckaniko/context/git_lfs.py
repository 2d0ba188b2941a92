"""Replace the pointers of Git LFS in a checkout by the files that they stand for.

`.lfsconfig` is a file of the repository: it could name another server, which would be asked from
here, or let objects that are missing pass. What it can set is set by us, so it says nothing.
"""

from urllib.parse import urlsplit

from asynckaniko.context.git_program import GitFailed, GitProgram
from asynckaniko.context.git_url import GitRepository
from asynckaniko.errors import ContextError

_CONFIG = {
    # Without a filter in the configuration, `git lfs pull` downloads and writes nothing.
    "filter.lfs.clean": "git-lfs clean -- %f",
    "lfs.fetchinclude": "",
    "lfs.fetchexclude": "",
    "lfs.skipdownloaderrors": "false",
    "lfs.basictransfersonly": "true",
}
_MARK = "filter=lfs"


async def fetch_large_files(git: GitProgram, repository: GitRepository, commit: str) -> None:
    """Fetch the files of `commit` that the repository keeps in LFS, if it keeps any there.

    Raises ContextError: git-lfs is not installed, or does not get them all.
    """
    words = ["grep", "--quiet", "-I", "-e", _MARK, commit, "--", ":(glob)**/.gitattributes"]
    try:
        await git.run(*words)
    except GitFailed:
        return
    if not git.has_lfs:
        raise ContextError(
            f"git repository {repository.shown}: it keeps files in Git LFS, and there is no git-lfs"
            " program; install git-lfs, or set GIT_LFS_SKIP_SMUDGE=1 to have pointers instead"
        )
    config = {**_CONFIG, "lfs.url": _server(repository.url)}
    await git.repeat("lfs", "pull", "origin", config=config)


def _server(url: str) -> str:
    """Give the LFS server of a repository (docs/api/server-discovery.md of git-lfs)."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https", "git"}:
        # By ssh, the server is asked for the address.
        return url
    path = parts.path.rstrip("/").removesuffix(".git")
    if parts.scheme == "git":
        return f"https://{parts.hostname}{path}.git/info/lfs"
    return f"{parts.scheme}://{parts.netloc}{path}.git/info/lfs"
