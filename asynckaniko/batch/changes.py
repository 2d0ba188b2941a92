"""`--changed-since REF`: the images whose input git says has changed, and what depends on them."""

import os
from collections.abc import Iterator
from pathlib import Path

from anyio import run_process

from asynckaniko.batch.graph import dockerfile_path
from asynckaniko.batch.plan import TARGET, Batch, PlannedImage
from asynckaniko.batch.selection import keep
from asynckaniko.context.source import open_context
from asynckaniko.dockerfile.patterns import PatternMatcher
from asynckaniko.errors import ContextError, UsageError


async def changed_since(batch: Batch, reference: str, *, manifest: Path) -> Batch:
    """Keep the images that changed since `reference`, those built on them, and what they need.

    Counted are files of local contexts that are not ignored, Dockerfiles, and the manifest itself,
    whose change concerns all; its path has no links. Work that is not committed counts too.

    Raises:
        UsageError: no git repository, or no such commit in it.
    """
    changed = await _changed_files(batch.directory, reference)
    if manifest in changed:
        return batch
    names = {i.name for i in batch.images if _is_changed(batch, i, changed)}
    while True:
        more = {i.name for i in batch.images if i.name not in names and names & set(i.needs)}
        if not more:
            return keep(batch, sorted(names))
        names |= more


async def _changed_files(directory: Path, reference: str) -> set[Path]:
    flag = f"--changed-since {reference}"
    if reference.startswith("-"):
        raise UsageError(f"{flag}: it must be a commit, branch or tag")
    root = Path((await _git(directory, "rev-parse", "--show-toplevel")).rstrip("\n"))
    try:
        commit = await _git(directory, "rev-parse", "--verify", f"{reference}^{{commit}}")
    except UsageError as error:
        raise UsageError(
            f"{flag}: there is no such commit in {root}: name a commit, branch or tag that"
            f" `git log` shows there, or fetch it first, as shallow clones have few ({error})"
        ) from error
    tracked = await _git(root, "diff", "--name-only", "--no-renames", "-z", commit.strip(), "--")
    untracked = await _git(root, "ls-files", "--others", "--exclude-standard", "-z")
    return {root / name for name in (tracked + untracked).split("\0") if name}


async def _git(directory: Path, *arguments: str) -> str:
    try:
        done = await run_process(["git", "-C", os.fspath(directory), *arguments], check=False)
    except OSError as error:
        raise UsageError(f"--changed-since needs git: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["failed"]
        raise UsageError(f"git {arguments[0]}: {said[-1]}")
    return done.stdout.decode(errors="surrogateescape")


def _is_changed(batch: Batch, image: PlannedImage, changed: set[Path]) -> bool:
    contexts = [value for value in image.contexts.values() if not value.startswith(TARGET)]
    for source in (image.context, *contexts):
        directory = batch.local_path(source)
        if directory is None:
            continue
        dockerfile = None
        if source == image.context:
            dockerfile = Path(dockerfile_path(batch.directory, directory, image.dockerfile))
            if dockerfile.resolve() in changed:
                return True
        if any(_counted(directory.resolve(), dockerfile, changed)):
            return True
    return False


def _counted(root: Path, dockerfile: Path | None, changed: set[Path]) -> Iterator[bool]:
    inside = [path for path in changed if path.is_relative_to(root)]
    if not inside:
        return
    try:
        ignored = PatternMatcher(list(open_context(str(root), dockerfile=dockerfile).ignore))
    except ContextError:
        # The context is gone, which is a change; the build will say what is wrong.
        yield True
        return
    for path in inside:
        yield not ignored.excludes(path.relative_to(root).as_posix())
