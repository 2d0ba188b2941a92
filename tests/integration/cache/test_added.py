"""ADD of what is elsewhere: what arrives is in the key, not what it is called."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from asynckaniko import Builder, Settings
from tests.integration.cache.test_hits import Case, Site
from tests.integration.context.conftest import Repository
from tests.integration.context.servers import SmartGit, WebFiles, serving


@pytest.fixture
async def site(tmp_path: Path, busybox_layout: Path) -> AsyncIterator[Site]:
    async with Builder(Settings(state_dir=tmp_path / "state")) as builder:
        yield Site(builder, tmp_path, busybox_layout)


@pytest.fixture
def web() -> Iterator[tuple[str, WebFiles]]:
    files = WebFiles({"a": b"one", "b": b"one"})
    with serving(files.answer) as host:
        yield f"http://{host}", files


async def test_url_that_serves_something_else_is_added_again(
    site: Site, web: tuple[str, WebFiles]
) -> None:
    url, files = web
    case = Case(f"FROM scratch\nADD {url}/a /x\n")
    first = await site.carried_out(case)
    same = await site.carried_out(case)
    files.files["a"] = b"two"

    changed = await site.carried_out(case)

    assert (len(first), len(same), len(changed)) == (1, 0, 1)


async def test_other_url_of_the_same_name_and_bytes_is_a_hit(
    site: Site, web: tuple[str, WebFiles]
) -> None:
    url, _ = web
    await site.carried_out(Case(f"FROM scratch\nADD {url}/a /x\n"))

    assert await site.carried_out(Case(f"FROM scratch\nADD {url}/chunks/a /x\n")) == []


async def test_name_that_a_url_gives_to_a_file_counts(
    site: Site, web: tuple[str, WebFiles]
) -> None:
    url, _ = web
    await site.carried_out(Case(f"FROM scratch\nADD {url}/a /x/\n"))

    assert len(await site.carried_out(Case(f"FROM scratch\nADD {url}/b /x/\n"))) == 1


async def test_new_commit_of_a_branch_is_added_again(site: Site, tmp_path: Path) -> None:
    repositories = tmp_path / "repositories"
    repositories.mkdir()
    project = Repository(repositories)
    project.commit({"a": "one"})
    with serving(SmartGit(repositories).answer) as host:
        case = Case(f"FROM scratch\nADD http://{host}/project.git#main /x\n")
        first = await site.carried_out(case)
        same = await site.carried_out(case)
        project.commit({"a": "two"})
        changed = await site.carried_out(case)

    assert (len(first), len(same), len(changed)) == (1, 0, 1)
