"""Fetch one commit of a git repository, with as little of its history as will do."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from asynckaniko.context.git_lfs import fetch_large_files
from asynckaniko.context.git_program import GitFailed, GitProgram
from asynckaniko.context.git_url import Checkout, GitRepository, check_reference
from asynckaniko.context.options import GitOptions
from asynckaniko.errors import ContextError, IntegrityError
from asynckaniko.events import EventSink
from asynckaniko.settings import Retry

_MISSING = re.compile(
    r"repository .*not found|couldn't find remote ref|not our ref|returned error: 404"
    r"|unadvertised object|does not appear to be a git repository|access denied or repository not",
    re.IGNORECASE,
)


class GitFetcher:
    """Fetches one repository into a new directory."""

    def __init__(
        self,
        repository: GitRepository,
        directory: Path,
        *,
        options: GitOptions,
        ca_files: Sequence[Path],
        retry: Retry,
        disk: CapacityLimiter,
        emit: EventSink,
    ) -> None:
        self._repository = repository
        self._directory = directory
        self._options = options
        self._disk = disk
        self._git = GitProgram(
            repository, directory, options=options, ca_files=ca_files, retry=retry, emit=emit
        )

    async def fetch(self, *, keep_git_dir: bool, checksum: str = "") -> Checkout:
        """Fetch and check out; files are 0644 or 0755.

        Raises:
            ContextError: no git program, no such repository, ref or commit, or no access; or files
                are in Git LFS and not to be had.
            IntegrityError: the commit is not `checksum` (at least its first 7 digits).
        """
        repository = self._repository
        await self._git.prepare(self._disk)
        await self._git.run("init", "--quiet", "--template=", "--", ".")
        await self._git.run("remote", "add", "--", "origin", repository.url)
        reference, branch = await self._fetch_reference()
        commit = await self._commit(reference)
        if checksum and not commit.startswith(checksum):
            tag = await self._git.run("rev-parse", "--verify", "--quiet", reference)
            if not tag.startswith(checksum):
                raise IntegrityError(
                    f"git repository {repository.shown}: {repository.reference or 'HEAD'} is"
                    f" commit {commit}, expected {checksum}"
                )
        if branch:
            await self._git.run("checkout", "--quiet", "-B", branch, commit)
        else:
            await self._git.run("checkout", "--quiet", "--detach", commit)
        if not self._options.skip_large_files:
            await fetch_large_files(self._git, repository, commit)
        wanted = repository.submodules
        if self._options.recurse_submodules if wanted is None else wanted:
            await self._fetch_submodules()
        seconds = await self._git.run("log", "-1", "--no-show-signature", "--format=%ct", commit)
        if not keep_git_dir:
            await to_thread.run_sync(self._remove_git_dir, limiter=self._disk)
        return Checkout(self._directory, commit, int(seconds))

    async def _fetch_reference(self) -> tuple[str, str]:
        """Fetch what is asked for; return a name for it here, and the branch to be on, if any."""
        repository, options = self._repository, self._options
        name = repository.reference or options.branch
        check_reference(name, where=repository.shown)
        if commit := repository.wants_commit:
            return await self._fetch_commit(commit), ""
        remote = await self._find(name)
        if not remote:
            # Perhaps the beginning of a commit.
            await self._fetch_all()
            return name, ""
        branch = remote.removeprefix("refs/heads/") if remote.startswith("refs/heads/") else ""
        local = f"refs/remotes/origin/{branch}" if branch else "refs/asynckaniko/fetched"
        if remote.startswith("refs/tags/"):
            local = remote
        if options.depth and not repository.commit:
            await self._fetch(f"+{remote}:{local}", depth=options.depth)
        elif options.single_branch:
            await self._fetch(f"+{remote}:{local}")
        else:
            await self._fetch_all(f"+{remote}:{local}")
        return (repository.commit, "") if repository.commit else (local, branch)

    async def _fetch_commit(self, commit: str) -> str:
        depth = self._options.depth
        if depth:
            try:
                await self._fetch(commit, depth=depth)
                return commit
            except GitFailed:
                # A server that only gives what it advertises: find it in the history instead.
                await self._fetch_all()
                return commit
        await self._fetch_all()
        if not await self._has(commit):
            await self._fetch(commit)
        return commit

    async def _fetch_all(self, *more: str) -> None:
        await self._fetch("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*", *more)

    async def _fetch(self, *refspecs: str, depth: int = 0) -> None:
        depths = [f"--depth={depth}"] if depth else []
        words = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", *depths]
        await self._git.repeat(*words, "--end-of-options", "origin", *refspecs)

    async def _find(self, name: str) -> str:
        """Ask for the full name of a ref: branches go before tags. Empty if there is none."""
        if not name:
            listed = await self._git.repeat(
                "ls-remote", "--symref", "--end-of-options", "origin", "HEAD"
            )
            symbolic = re.match(r"ref: (refs/heads/\S+)\tHEAD$", listed, re.MULTILINE)
            if symbolic:
                check_reference(symbolic[1], where=self._repository.shown)
                return symbolic[1]
            if not listed:
                raise ContextError(f"git repository {self._repository.shown}: it is empty")
            return "HEAD"
        candidates = [name] if name.startswith("refs/") else []
        candidates += [f"refs/heads/{name}", f"refs/tags/{name}", f"refs/{name}"]
        listed = await self._git.repeat("ls-remote", "--end-of-options", "origin", *candidates)
        there = {line.partition("\t")[2] for line in listed.splitlines()}
        return next((candidate for candidate in candidates if candidate in there), "")

    async def _commit(self, reference: str) -> str:
        try:
            return await self._git.run(
                "rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}"
            )
        except GitFailed as error:
            raise ContextError(
                f"git repository {self._repository.shown}: there is no branch, tag or commit"
                f" {reference}"
            ) from error

    async def _has(self, commit: str) -> bool:
        try:
            await self._git.run("cat-file", "-e", f"{commit}^{{commit}}")
        except GitFailed:
            return False
        return True

    async def _fetch_submodules(self) -> None:
        words = ["submodule", "--quiet", "update", "--init", "--recursive"]
        if self._options.depth:
            try:
                await self._git.repeat(*words, f"--depth={self._options.depth}")
                return
            except GitFailed as error:
                if not _MISSING.search(error.said):
                    raise
        await self._git.repeat(*words)

    def _remove_git_dir(self) -> None:
        # A submodule's is a file, and its repository was in the one that goes.
        for root, directories, files in os.walk(self._directory):
            for name in [name for name in (*directories, *files) if name == ".git"]:
                path = Path(root, name)
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                    directories.remove(name)
                else:
                    path.unlink()
