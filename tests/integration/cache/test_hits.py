"""One thing changes between two builds: the steps that it can change are built again, no others."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from asynckaniko import Builder, BuildRequest, Settings
from asynckaniko.build.request import Cache, Secret
from asynckaniko.events import CacheMissed, Event, StepFinished
from tests.support.images import Image, decompress, make_tar

FILES = {"a.txt": "a", "d/b.txt": "b", "ignored/c": "c", ".dockerignore": "ignored\n"}
DOCKERFILE = """\
FROM busybox AS tools
RUN echo tool > /tool
FROM busybox
ARG USED=1
ENV E=$USED
RUN --mount=type=secret,id=s echo one > /one
COPY a.txt /a/
COPY d /d
RUN --mount=from=tools,target=/tools cat /tools/tool > /two
COPY <<END /here
text
END
COPY --from=tools /tool /tool
RUN echo last > /last
LABEL l=1
"""
STEPS = {
    "tool": "> /tool",
    "one": "/one",
    "COPY a": "a.txt",
    "COPY d": "COPY d ",
    "two": "> /two",
    "here": "/here",
    "COPY --from": "COPY --from",
    "last": "> /last",
}
"""What a step is called here, and a text that only its instruction has."""
ALL = list(STEPS)


@dataclass
class Case:
    """What a build is made from; a change edits a copy of it."""

    dockerfile: str = DOCKERFILE
    files: dict[str, str] = field(default_factory=lambda: dict(FILES))
    modes: dict[str, int] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    request: dict[str, Any] = field(default_factory=dict)


class Site:
    """A Builder over one state directory, and a directory for contexts."""

    def __init__(self, builder: Builder, directory: Path, busybox: Path) -> None:
        self.builder = builder
        self.directory = directory
        self.busybox = busybox
        self.builds = 0
        self.fixed_context = False
        self.missed: list[CacheMissed] = []
        """Of the latest build."""

    async def misses(self, case: Case) -> list[str]:
        """Build; return the names of the steps that were carried out."""
        done = await self.carried_out(case)
        return [name for name, text in STEPS.items() if any(text in line for line in done)]

    async def carried_out(self, case: Case) -> list[str]:
        """Build; return the instructions that no cache had."""
        self.builds += 1
        context = self.directory / ("context" if self.fixed_context else f"context{self.builds}")
        for name, text in case.files.items():
            path = context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(case.modes.get(name, 0o644))
            time = case.times.get(name, 1_600_000_000 + self.builds)
            os.utime(path, (time, time))
        (context / "Dockerfile").write_text(case.dockerfile)
        events: list[Event] = []
        options: dict[str, Any] = {
            "build_contexts": {"busybox": f"oci-layout://{self.busybox}"},
            "cache": Cache(copy_layers=True),
            "secrets": {"s": Secret(value=b"secret")},
        }
        request = BuildRequest(context=str(context), **{**options, **case.request})
        await self.builder.build(request, on_event=events.append)
        self.missed = [event for event in events if isinstance(event, CacheMissed)]
        return [
            event.step.instruction
            for event in events
            if isinstance(event, StepFinished) and not event.cached
        ]


@pytest.fixture
async def site(tmp_path: Path, busybox_layout: Path) -> AsyncIterator[Site]:
    async with Builder(Settings(state_dir=tmp_path / "state")) as builder:
        yield Site(builder, tmp_path, busybox_layout)


def edit(**changes: Mapping[str, Any]) -> Callable[[Case], None]:
    def apply(case: Case) -> None:
        for name, value in changes.items():
            getattr(case, name).update(value)

    return apply


def dockerfile(old: str, new: str) -> Callable[[Case], None]:
    def apply(case: Case) -> None:
        assert old in case.dockerfile
        case.dockerfile = case.dockerfile.replace(old, new)

    return apply


def rename(old: str, new: str) -> Callable[[Case], None]:
    def apply(case: Case) -> None:
        case.files[new] = case.files.pop(old)

    return apply


NOTHING: list[str] = []
FROM_ONE, FROM_A, FROM_D = ALL[1:], ALL[2:], ALL[3:]
FROM_TWO, FROM_HERE = ALL[4:], ALL[5:]

CHANGES: dict[str, tuple[Callable[[Case], None], list[str]]] = {
    "nothing": (edit(), NOTHING),
    "time of a file": (edit(times={"a.txt": 1}), NOTHING),
    "content of an ignored file": (edit(files={"ignored/c": "other"}), NOTHING),
    "new ignored file": (edit(files={"ignored/new": "x"}), NOTHING),
    "file that no COPY reads": (edit(files={"unread": "x"}), NOTHING),
    "ignore rule that excludes nothing more": (
        edit(files={".dockerignore": "ignored\n# comment\nnone*\n"}),
        NOTHING,
    ),
    "label": (dockerfile("LABEL l=1", "LABEL l=2"), NOTHING),
    "label of the request": (edit(request={"labels": {"x": "y"}}), NOTHING),
    "comment": (dockerfile("ARG USED", "# a comment\nARG USED"), NOTHING),
    "value of a secret": (edit(request={"secrets": {"s": Secret(value=b"other")}}), NOTHING),
    "undeclared build arg": (edit(request={"build_args": {"UNUSED": "1"}}), NOTHING),
    "proxy": (edit(request={"build_args": {"HTTP_PROXY": "http://p"}}), NOTHING),
    "declared build arg": (edit(request={"build_args": {"USED": "2"}}), FROM_ONE),
    "environment": (dockerfile("ENV E=$USED", "ENV E=$USED F=1"), FROM_ONE),
    "user": (dockerfile("ENV E", "USER 0:5\nENV E"), FROM_ONE),
    "shell": (dockerfile("ENV E", 'SHELL ["ash", "-c"]\nENV E'), FROM_ONE),
    "command": (dockerfile("echo one", "echo  one"), FROM_ONE),
    "mount option": (dockerfile("id=s", "id=s,mode=0444"), FROM_ONE),
    "network": (dockerfile("RUN --mount=type", "RUN --network=none --mount=type"), FROM_ONE),
    "content of a file": (edit(files={"a.txt": "changed"}), FROM_A),
    "mode of a file": (edit(modes={"a.txt": 0o755}), FROM_A),
    "owner": (dockerfile("COPY a.txt", "COPY --chown=5 a.txt"), FROM_A),
    "mode asked for": (dockerfile("COPY a.txt", "COPY --chmod=600 a.txt"), FROM_A),
    "destination": (dockerfile("a.txt /a/", "a.txt /b/"), FROM_A),
    "variable that only commands see": (
        dockerfile("COPY a.txt /a/", "ENV X=1\nCOPY a.txt /a/"),
        FROM_TWO,
    ),
    "name of a file in a directory": (rename("d/b.txt", "d/z.txt"), FROM_D),
    "new file in a directory": (edit(files={"d/new": ""}), FROM_D),
    "ignore rule": (edit(files={".dockerignore": "ignored\nd/b.txt\n"}), FROM_D),
    "body of a heredoc": (dockerfile("\ntext\n", "\nother text\n"), FROM_HERE),
    "stage that is read": (dockerfile("echo tool", "echo other tool"), ["tool", *FROM_TWO]),
    "order of two steps": (
        dockerfile("COPY a.txt /a/\nCOPY d /d\n", "COPY d /d\nCOPY a.txt /a/\n"),
        FROM_A,
    ),
    "target that is built already": (edit(request={"target": "tools"}), NOTHING),
    "last command": (dockerfile("echo last", "echo the last"), ["last"]),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_only_what_a_change_can_reach_is_built_again(site: Site, change: str) -> None:
    await site.misses(Case())
    apply, expected = CHANGES[change]
    case = Case()
    apply(case)

    assert await site.misses(case) == expected


async def test_first_build_carries_everything_out(site: Site) -> None:
    assert await site.misses(Case()) == ALL


@pytest.mark.parametrize(
    ("runtime", "more", "expected"),
    [
        ({}, [], NOTHING),
        ({"Labels": {"x": "y"}, "Cmd": ["other"]}, [], NOTHING),
        ({"Env": ["PATH=/bin:/sbin"]}, [], ALL),
        ({}, [make_tar({"more": "x"})], ALL),
    ],
    ids=["the same", "label", "environment", "layer"],
)
async def test_base_counts_by_its_files_and_what_commands_see(
    site: Site,
    busybox_image: Image,
    tmp_path: Path,
    runtime: dict[str, Any],
    more: list[bytes],
    expected: list[str],
) -> None:
    await site.misses(Case())
    tars = [decompress(busybox_image.blobs[digest]) for digest in busybox_image.layers]
    other = Image.of_tars([*tars, *more], **runtime).write_layout(tmp_path / "other")

    found = await site.misses(
        Case(request={"build_contexts": {"busybox": f"oci-layout://{other}"}})
    )

    assert found == expected


async def test_platforms_do_not_share(site: Site, busybox_image: Image, tmp_path: Path) -> None:
    """Not even where the files of their bases are the same."""
    tars = [decompress(busybox_image.blobs[digest]) for digest in busybox_image.layers]
    text = "FROM busybox\nCOPY a.txt /a/\n"
    done = []
    for name in ("amd64", "arm64", "amd64"):
        layout = tmp_path / f"base-{name}"
        if not layout.exists():
            Image.of_tars(tars, architecture=name).write_layout(layout)
        contexts = {"busybox": f"oci-layout://{layout}"}
        request = {"build_contexts": contexts, "platform": f"linux/{name}"}
        done.append(await site.carried_out(Case(text, request=request)))

    assert done == [["COPY a.txt /a/"], ["COPY a.txt /a/"], []]


@pytest.mark.parametrize(
    "times",
    [{"reproducible": True}, {"rewrite_timestamp": True, "source_date_epoch": 1_700_000_000}],
)
async def test_times_that_layers_are_given_count(site: Site, times: dict[str, Any]) -> None:
    await site.misses(Case())

    assert await site.misses(Case(request=times)) == ALL


async def test_file_and_directory_of_one_name_and_content_are_not_the_same(site: Site) -> None:
    text = "FROM scratch\nCOPY x /y\n"
    await site.carried_out(Case(text, files={"x": "same"}))

    assert await site.carried_out(Case(text, files={"x/x": "same"})) == ["COPY x /y"]


async def test_copies_are_cached_only_when_they_are_to_be(site: Site) -> None:
    case = Case(request={"cache": Cache()})
    await site.misses(case)

    assert await site.misses(case) == ["COPY a", "COPY d", "here", "COPY --from"]


async def test_layer_that_is_too_old_is_not_used(site: Site) -> None:
    await site.misses(Case())

    old = Case(request={"cache": Cache(copy_layers=True, ttl_seconds=0)})
    assert await site.misses(old) == ALL


async def test_miss_says_what_changed_since_the_last_build(site: Site) -> None:
    files = {"a.txt": "a", "d/b.txt": "b"}
    text = "FROM busybox\nENV E=1\nRUN echo > /one\nCOPY a.txt /\nRUN echo > /last\n"
    site.fixed_context = True
    await site.carried_out(Case(text, files))
    await site.carried_out(Case(text.replace("E=1", "E=2"), files))
    assert [(m.instruction, m.changed) for m in site.missed] == [
        ("RUN echo > /one", ("environment",))
    ]

    await site.carried_out(Case(text.replace("E=1", "E=2"), {**files, "a.txt": "other"}))
    assert [(m.instruction, m.changed) for m in site.missed] == [("COPY a.txt /", ("content",))]
