"""Open what `--context` and `--dockerfile` name, where that is a directory of this machine."""

from pathlib import Path

from asynckaniko.context.directory import LocalContext, open_directory, read_small_file
from asynckaniko.context.location import Directory, parse_location
from asynckaniko.errors import ContextError
from asynckaniko.records import dataclass

DEFAULT_DOCKERFILE = "Dockerfile"


@dataclass(frozen=True, slots=True)
class DockerfileSource:
    """A Dockerfile as bytes. `name` is how it was asked for, for messages."""

    path: Path
    content: bytes
    name: str
    is_local: bool = True
    """`path` is one of this machine: an ignore file may be beside it."""


def open_context(source: str, *, dockerfile: Path | None = None) -> LocalContext:
    """Open a build context: a directory, with or without `dir://`. Blocks: it reads files.

    Raises:
        ContextError: another scheme, or no directory that can be read.
    """
    return open_directory(_directory_path(source), dockerfile=dockerfile)


def read_dockerfile(name: str, *, context: str | None, limit: int) -> DockerfileSource:
    """Find and read the Dockerfile. Blocks: it reads files.

    A path is taken as given, from the working directory, and then from the context, if that is
    given. The bare default is looked for in the context first: whoever builds another directory
    does not mean the Dockerfile that happens to be here. `dockerfile` stands in for `Dockerfile`.
    Links are followed.

    Raises:
        ContextError: no Dockerfile or no context, or it is larger than `limit` bytes or unreadable.
    """
    candidates = [Path(name)]
    if context is not None:
        candidates.append(Path(_directory_path(context)) / name.lstrip("/"))
    if name == DEFAULT_DOCKERFILE:
        candidates.reverse()
    for path in [Path(spelling) for candidate in candidates for spelling in spellings(candidate)]:
        content = read_small_file(path, limit=limit)
        if content is not None:
            return DockerfileSource(path.absolute(), content, name)
    if context is not None:
        # What is missing may be the whole context.
        open_directory(_directory_path(context))
    tried = " and ".join(dict.fromkeys(str(path) for path in candidates))
    raise ContextError(f"there is no Dockerfile: tried {tried}; name it with --dockerfile")


def spellings(name: str | Path) -> list[str]:
    """List the names a Dockerfile may have that is called `name`."""
    path = Path(name)
    is_default = path.name == DEFAULT_DOCKERFILE
    return [str(path), str(path.with_name(path.name.lower()))] if is_default else [str(path)]


def _directory_path(source: str) -> str:
    location = parse_location(source)
    if isinstance(location, Directory):
        return location.path
    scheme = source.partition("://")[0]
    raise ContextError(
        f"build context {scheme}://...: this kind of context is not supported here;"
        " give a directory, with or without dir://"
    )
