"""Compose files, by the rules of the Compose specification (build.md, 12-interpolation.md)."""

from pathlib import Path

import pytest

from asynckaniko.batch.expand import Choices, load
from asynckaniko.batch.plan import Batch
from asynckaniko.errors import ManifestError

FILE = """
name: shop
x-labels: &labels {team: shop}
services:
  base:
    build: {context: base, tags: ["r.io/base:${TAG:-dev}"], platforms: [linux/arm64]}
  web:
    image: r.io/web:${TAG:-dev}
    platform: linux/arm64
    depends_on: [db]
    build:
      context: ./web
      dockerfile: Web.Dockerfile
      target: release
      args: [VERSION=$VERSION, FROM_ENVIRONMENT, "PRICE=$$5", "LITERAL=$${HOME}"]
      labels: *labels
      tags: [r.io/web:latest]
      additional_contexts: {base: "service:base", data: ./data}
      secrets: [token, {source: key, target: id_key}]
      no_cache: true
      shm_size: 2gb
      ulimits: {nproc: 65535, nofile: {soft: 20000, hard: 40000}}
  plain:
    build: ./plain
    platform: linux/amd64
  debug:
    build: {context: debug, args: {LEVEL: 3, OTHER: }, platforms: [linux/amd64, linux/arm64]}
    profiles: [tools]
  db: {image: "postgres:17"}
secrets:
  token: {environment: TOKEN}
  key: {file: ./key.pem}
volumes: {data: {}}
"""


def compose(text: str = FILE, **choices: object) -> Batch:
    options = Choices(**{"only": ("*",), **choices})  # type: ignore[arg-type]
    return load(text.encode(), "compose.yaml", directory=Path("/nowhere"), choices=options)


def test_services_with_a_build_section_become_images() -> None:
    batch = compose(environment={"VERSION": "7"})
    web = batch.image("web")

    assert [image.name for image in batch.images] == ["base", "web", "plain", "debug"]
    assert (web.context, web.dockerfile, web.target) == ("./web", "Web.Dockerfile", "release")
    assert web.tags == ("r.io/web:dev", "r.io/web:latest")
    assert web.platforms == ("linux/arm64",)
    assert web.labels == {"team": "shop"}
    assert web.contexts == {"base": "target:base", "data": "./data"}
    assert web.needs == ("base",)
    assert web.shm_size == "2gb"
    assert web.ulimits == {"nproc": "65535", "nofile": "20000:40000"}
    assert [(s.id, s.env, s.src) for s in web.secrets] == [
        ("token", "TOKEN", ""),
        ("id_key", "", "./key.pem"),
    ]
    assert batch.image("plain").context == "./plain"
    assert batch.image("debug").args == {"LEVEL": "3", "OTHER": None}
    assert batch.image("debug").platforms == ("linux/amd64", "linux/arm64")


def test_words_are_interpolated_as_compose_does() -> None:
    args = compose(environment={"VERSION": "7"}).image("web").args

    assert args == {
        "VERSION": "7",
        "FROM_ENVIRONMENT": None,
        "PRICE": "$5",
        "LITERAL": "${HOME}",
    }
    assert compose(environment={}).image("web").args["VERSION"] == ""
    assert compose(variables={"TAG": "v1"}).image("base").tags == ("r.io/base:v1",)


def test_services_of_a_profile_are_built_when_it_is_named() -> None:
    assert [image.name for image in compose(only=()).images] == ["base", "web", "plain"]
    assert [image.name for image in compose(only=("tools",)).images] == ["debug"]


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ("build: {context: ., ssh: [default]}", "5:25: build.ssh of a compose file is not"),
        ("build: {context: ., network: host}", "5:25: build.network of a compose file is not"),
        ("build: {dockerfile_inline: FROM x}", "5:13: build.dockerfile_inline of a compose"),
        ("{extends: {service: b}}", "extends is not read; `docker compose config` prints"),
        ("build: {context: '${A:?not set}'}", "${A:?not set} is not read; there is $NAME"),
        ("build: {ulimits: {nofile: {soft: 1}}}", "nofile must be a word, not a map"),
        ("build: {secrets: [none]}", "secret none: there is none of that name"),
    ],
)
def test_what_would_change_an_image_and_is_not_read_is_an_error(service: str, message: str) -> None:
    text = f"services:\n  ok: {{build: .}}\n\n  one:\n    {service}\n"

    with pytest.raises(ManifestError) as raised:
        compose(text)

    assert message in str(raised.value)
