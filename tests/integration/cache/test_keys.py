"""Two builds that could make different layers never have one key.

Small random contexts and Dockerfiles go through the planner and the KeyMaker, with a real process
that reads the context; nothing is built. Beside each key stands what the step means, written down
by a model of its own. One key for two meanings would be a wrong layer in somebody's image.
"""

import posixpath
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from anyio import CapacityLimiter
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asynckaniko import BuildRequest, Settings
from asynckaniko.build.context import BuildRun, Timestamps
from asynckaniko.build.contexts import BuildContexts
from asynckaniko.build.keys import KeyMaker
from asynckaniko.build.plan import Planner
from asynckaniko.build.scope import GlobalScope
from asynckaniko.dockerfile.parser import parse
from asynckaniko.events import ignore
from asynckaniko.isolation.fork_server import ForkServer
from asynckaniko.oci.platform import Platform
from asynckaniko.registry.client import RegistryClient
from asynckaniko.store.state import StateDirectory

EXAMPLES = 150
NAMES = ["a", "b", "ab", "d/a", "d/b", "d/ab", "d/e/a"]
SOURCES = ["a", "b", "ab", "d", "d/a", "d/e", ".", "*", "d/*"]
TEXTS = ["", "a", "b", "ab", "a b", "a\nb"]


@dataclass(frozen=True)
class Line:
    """One instruction: its text, and for COPY its sources and destination."""

    kind: str
    text: str
    sources: tuple[str, ...] = ()
    destination: str = ""


def run(command: str) -> Line:
    return Line("RUN", f"RUN echo {command}")


def copy(sources: list[str], destination: str) -> Line:
    text = f"COPY {' '.join(sources)} {destination}"
    return Line("COPY", text, tuple(sources), destination)


def heredoc(body: str, destination: str) -> Line:
    return Line("HEREDOC", f"COPY <<'x' {destination}\n{body}\nx", (body,), destination)


def state(kind: str, text: str) -> Line:
    return Line(kind, f"{kind} {text}")


WORDS = st.sampled_from(["a", "b", "ab", "a b", "a-b"])
PLACES = st.sampled_from(["/x/", "/y/", "/x/y/", "x/", "./"])
LINES = st.one_of(
    st.builds(run, WORDS),
    st.builds(copy, st.lists(st.sampled_from(SOURCES), min_size=1, max_size=2), PLACES),
    st.builds(heredoc, st.sampled_from(["a", "b", "a\nb"]), PLACES),
    st.builds(state, st.just("ENV"), st.sampled_from(["A=a", "A=ab", "B=a", "A=a B=a"])),
    st.builds(state, st.just("USER"), st.sampled_from(["1", "2", "1:2"])),
    st.builds(state, st.just("WORKDIR"), st.sampled_from(["/x", "/y", "x"])),
    st.builds(state, st.just("LABEL"), st.sampled_from(["a=a", "a=b"])),
)
FILES = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(st.sampled_from(TEXTS), st.sampled_from([0o644, 0o600, 0o755])),
    max_size=5,
)


class Model:
    """What a Dockerfile's steps mean, as far as its lines here can tell."""

    def __init__(self, context: Path) -> None:
        self._context = context
        self._environment: dict[str, str] = {}
        self._user = ""
        self._workdir = "/"
        self._steps: tuple[Any, ...] = ()

    def meaning(self, line: Line) -> tuple[Any, ...] | None:
        """Take the next line; return all that its layer depends on, if it makes one."""
        words = line.text.split(" ", 1)[1]
        match line.kind:
            case "RUN":
                seen = (tuple(sorted(self._environment.items())), self._user, self._workdir)
                step: tuple[Any, ...] = ("RUN", words, seen)
            case "COPY":
                files = tuple(self._copied(line.sources))
                step = ("COPY", self._place(line.destination), files)
            case "HEREDOC":
                step = ("COPY", self._place(line.destination), ("x", line.sources[0]))
            case "WORKDIR":
                self._workdir = posixpath.normpath(posixpath.join(self._workdir, words))
                step = ("WORKDIR", self._workdir, self._user)
            case "ENV":
                self._environment |= dict(pair.split("=") for pair in words.split(" "))
                return None
            case "USER":
                self._user = words
                return None
            case _:
                return None
        self._steps = (*self._steps, step)
        return self._steps

    def _place(self, destination: str) -> str:
        return posixpath.normpath(posixpath.join(self._workdir, destination))

    def _copied(self, sources: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
        """List what arrives in the destination: names below it, with content and mode."""
        arrived: dict[str, tuple[Any, ...]] = {}
        for source in sources:
            found = [self._context / source]
            if "*" in source:
                found = sorted(self._context.glob(source))
            for path in found:
                if path.is_dir():
                    for below in sorted(path.rglob("*")):
                        arrived[str(below.relative_to(path))] = self._entry(below)
                else:
                    arrived[path.name] = self._entry(path)
        yield from sorted((name, *entry) for name, entry in arrived.items())

    def _entry(self, path: Path) -> tuple[Any, ...]:
        mode = path.stat().st_mode
        return (mode, "" if path.is_dir() else path.read_text())


class Desk:
    """Computes keys in an event loop of its own, with one helper process for all of them."""

    def __init__(self, portal: BlockingPortal, resources: Any, context: Path) -> None:
        self._portal = portal
        self._resources = resources
        self.context = context

    def write(self, files: dict[str, tuple[str, int]], lines: list[Line]) -> None:
        shutil.rmtree(self.context, ignore_errors=True)
        self.context.mkdir()
        for name, (text, mode) in files.items():
            path = self.context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(mode)
        (self.context / ".dockerignore").write_text("Dockerfile\n.dockerignore\n")
        content = "\n".join(("FROM scratch", *(line.text for line in lines), ""))
        (self.context / "Dockerfile").write_text(content)

    def keys(self) -> dict[int, str]:
        """Return the keys of the Dockerfile that was written, by position."""
        return self._portal.call(self._keys)

    async def _keys(self) -> dict[int, str]:
        resources = self._resources
        request = BuildRequest(context=str(self.context))
        platform = Platform.parse("linux/amd64")
        async with BuildContexts.open(request, resources, ignore) as contexts:
            found, context = await contexts.read_dockerfile()
            dockerfile = parse(found.content, name=found.name)
            scope = GlobalScope.of(dockerfile, build_args={}, automatic={})

            async def no_context(name: str, platform: Platform) -> None:
                return None

            async def no_image(name: str, platform: Platform) -> Any:
                raise AssertionError(name)

            planner = Planner(
                dockerfile,
                scope=scope,
                platform=platform,
                find_context=no_context,
                find_image=no_image,
            )
            run: Any = SimpleNamespace(
                request=request,
                dockerfile=dockerfile,
                plan=await planner.plan(""),
                scope=scope,
                contexts=contexts,
                context_source=context,
                timestamps=Timestamps(created="", clamp=None),
                resources=resources,
                emit=ignore,
                fetched={},
            )
            maker = KeyMaker(_as_run(run))
            await maker.make()
            return {position: str(step.key) for (_, position), step in maker.keys.items()}


def _as_run(run: Any) -> BuildRun:
    """Pass for a BuildRun what has of one all that keys are made of."""
    found: BuildRun = run
    return found


@asynccontextmanager
async def open_resources(directory: Path) -> AsyncIterator[Any]:
    state = StateDirectory(directory / "state")
    modules = ("asynckaniko.rootfs.copy_tree", "asynckaniko.rootfs.remove")
    options = Settings(state_dir=directory / "state")
    async with (
        RegistryClient.of(options) as registry,
        ForkServer.start(directory=directory, preload=modules, namespaces=False) as outer,
    ):
        yield SimpleNamespace(
            settings=options,
            registry=registry,
            state=state,
            outer=outer,
            processes=CapacityLimiter(3),
            disk=CapacityLimiter(2),
        )


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with (
        start_blocking_portal("asyncio", {"use_uvloop": True}) as portal,
        portal.wrap_async_context_manager(open_resources(tmp_path)) as resources,
    ):
        yield Desk(portal, resources, tmp_path / "context")


def test_no_two_meanings_have_one_key(desk: Desk) -> None:
    seen: dict[str, Any] = {}

    @settings(
        max_examples=EXAMPLES,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(FILES, st.lists(LINES, min_size=1, max_size=5))
    def look(files: dict[str, tuple[str, int]], lines: list[Line]) -> None:
        desk.write(files, lines)
        usable = [line for line in lines if line.kind != "COPY" or _is_there(desk, line)]
        desk.write(files, usable)
        keys = desk.keys()
        model = Model(desk.context)
        (desk.context / "Dockerfile").unlink()
        (desk.context / ".dockerignore").unlink()
        for position, line in enumerate(usable):
            meaning = model.meaning(line)
            assert (meaning is not None) == (position in keys)
            if meaning is not None:
                known = seen.setdefault(keys[position], meaning)
                assert known == meaning, keys[position]

    look()
    # Enough keys that differ, or nothing was compared.
    assert len(seen) > EXAMPLES / 4


def _is_there(desk: Desk, line: Line) -> bool:
    """Tell whether COPY finds its sources: one that does not is an error and has no key."""
    return all(
        any(p.name not in {"Dockerfile", ".dockerignore"} for p in desk.context.glob(source))
        if "*" in source
        else (desk.context / source).exists()
        for source in line.sources
    )
