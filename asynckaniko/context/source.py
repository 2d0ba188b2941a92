"""Open what `--context` and `--dockerfile` name."""

from dataclasses import dataclass
from pathlib import Path

from asynckaniko.context.directory import LocalContext, open_directory, read_small_file
from asynckaniko.errors import ContextError

DEFAULT_DOCKERFILE = "Dockerfile"
_DIRECTORY_SCHEME = "dir://"


@dataclass(frozen=True, slots=True)
class DockerfileSource:
    """A Dockerfile as bytes. `name` is how it was asked for, for messages."""

    path: Path
    content: bytes
    name: str


def open_context(source: str, *, dockerfile: Path | None = None) -> LocalContext:
    """Open a build context: a directory, with or without `dir://`. Blocks: it reads files.

    Raises:
        ContextError: another scheme, or no directory that can be read.
    """
    return open_directory(_directory_path(source), dockerfile=dockerfile)


def read_dockerfile(name: str, *, context: str, limit: int) -> DockerfileSource:
    """Find and read the Dockerfile. Blocks: it reads files.

    A path is taken as given, from the working directory, and then from the context. The bare
    default is looked for in the context first: whoever builds another directory does not mean the
    Dockerfile that happens to be here. `dockerfile` stands in for `Dockerfile`. Links are followed.

    Raises:
        ContextError: there is none, or it is larger than `limit` bytes, or not readable.
    """
    inside = Path(_directory_path(context)) / name.lstrip("/")
    candidates = [Path(name), inside]
    if name == DEFAULT_DOCKERFILE:
        candidates.reverse()
    for path in [spelling for candidate in candidates for spelling in _spellings(candidate)]:
        content = read_small_file(path, limit=limit)
        if content is not None:
            return DockerfileSource(path.absolute(), content, name)
    tried = " and ".join(dict.fromkeys(str(path) for path in candidates))
    raise ContextError(f"there is no Dockerfile: tried {tried}; name it with --dockerfile")


def _spellings(path: Path) -> list[Path]:
    is_default = path.name == DEFAULT_DOCKERFILE
    return [path, path.with_name(DEFAULT_DOCKERFILE.lower())] if is_default else [path]


def _directory_path(source: str) -> str:
    if source.startswith(_DIRECTORY_SCHEME):
        return source.removeprefix(_DIRECTORY_SCHEME)
    scheme, separator, _ = source.partition("://")
    if separator and scheme.isalnum():
        raise ContextError(
            f"build context {scheme}://...: this kind of context is not supported;"
            " give a directory, with or without dir://"
        )
    if not source:
        raise ContextError("build context: the path is empty")
    return source
