from pathlib import Path

import pytest

from asynckaniko.batch.expand import load
from asynckaniko.batch.plan import Batch
from asynckaniko.errors import ManifestError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for path in ("api/Dockerfile", "web/Dockerfile", "web/Dockerfile.debug", "Dockerfile"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("FROM scratch\n")
    return tmp_path


def described(batch: Batch) -> list[tuple[str, str, str, tuple[str, ...]]]:
    return [(image.name, image.context, image.dockerfile, image.tags) for image in batch.images]


def test_lines_are_directories_or_dockerfiles_and_destinations(directory: Path) -> None:
    text = (
        "# what a script found\n"
        "\n"
        "api\tr.io/api:1\n"
        "./web/Dockerfile r.io/web:1\n"
        "web/Dockerfile.debug\n"
        "https://git.example/team/app.git#v1  r.io/app:1\n"
    )

    batch = load(text.encode(), "images.txt", directory=directory)

    assert described(batch) == [
        ("api", "api", "Dockerfile", ("r.io/api:1",)),
        ("web", "./web", "Dockerfile", ("r.io/web:1",)),
        ("web-Dockerfile.debug", "web", "Dockerfile.debug", ()),
        (
            "https-git.example-team-app.git-v1",
            "https://git.example/team/app.git#v1",
            "Dockerfile",
            ("r.io/app:1",),
        ),
    ]


def test_lists_in_json_and_yaml_hold_paths_and_images(directory: Path) -> None:
    json = b'["api", {"context": "web", "args": {"A": "1"}, "tags": ["r.io/web:1"]}, "Dockerfile"]'
    yaml = b"- api\n- {name: site, context: web}\n"

    assert described(load(json, "l.json", directory=directory)) == [
        ("api", "api", "Dockerfile", ()),
        ("web", "web", "Dockerfile", ("r.io/web:1",)),
        (directory.name, ".", "Dockerfile", ()),
    ]
    assert [name for name, *_ in described(load(yaml, "l.yaml", directory=directory))] == [
        "api",
        "site",
    ]


def test_images_of_a_list_that_need_one_another_are_found(directory: Path) -> None:
    (directory / "web/Dockerfile").write_text("FROM r.io/api:1\n")

    batch = load(b"web r.io/web:1\napi r.io/api:1\n", "l.txt", directory=directory)

    assert batch.image("web").needs == ("api",)


def test_same_directory_twice_has_two_names(directory: Path) -> None:
    batch = load(b"api r.io/a:1\napi r.io/b:1\n", "l.txt", directory=directory)

    assert [image.name for image in batch.images] == ["api", "api-2"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("api r.io/a:1 more\n", "l.txt:1:1: a line has a Dockerfile or directory and one"),
        ("api\nweb r.io/NOT:1\n", "l.txt:2:1: tags.0: "),
        ("- {name: a}\n- {name: a}\n", "l.txt:2:10: two images are called a"),
        ("- {context: api, argz: {}}\n", "l.txt:1:18: argz is unknown here"),
    ],
)
def test_problem_has_its_line(text: str, problem: str, directory: Path) -> None:
    with pytest.raises(ManifestError) as raised:
        load(text.encode(), "l.txt", directory=directory)

    assert problem in str(raised.value)
