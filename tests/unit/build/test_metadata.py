from typing import Any

import pytest

from asynckaniko.build.scope import GlobalScope, StageScope
from asynckaniko.build.steps.metadata import MetadataSteps, resolve_workdir
from asynckaniko.dockerfile.instructions import Stage
from asynckaniko.dockerfile.parser import parse
from asynckaniko.errors import AsynckanikoError
from asynckaniko.oci.config import ImageConfig
from asynckaniko.oci.platform import Platform

LINUX = Platform.parse("linux/amd64")


def stage_of(text: str) -> Stage:
    return parse(f"FROM scratch\n{text}\n".encode()).stages[0]


def apply(text: str, base: dict[str, Any] | None = None) -> tuple[ImageConfig, list[str | None]]:
    """Apply metadata lines to a config; return it and the history texts."""
    config = ImageConfig(LINUX, runtime=dict(base or {}))
    scope = StageScope.for_base(GlobalScope({}, {}), config.env)
    steps = MetadataSteps(config, scope)
    texts = [steps.apply(line) for line in stage_of(text).instructions]  # type: ignore[arg-type]
    return config, texts


def test_variable_keeps_its_place_when_it_is_set_again() -> None:
    config, texts = apply("ENV a=1 b=2\nENV a=3", {"Env": ["PATH=/bin"]})

    assert config.runtime["Env"] == ["PATH=/bin", "a=3", "b=2"]
    assert texts == ["ENV a=1 b=2", "ENV a=3"]


def test_words_of_one_env_line_see_the_values_from_before_it() -> None:
    config, _ = apply("ENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc")

    assert config.runtime["Env"] == ["abc=bye", "def=hello", "ghi=bye"]


def test_entrypoint_drops_the_command_of_the_base_but_not_its_own() -> None:
    inherited, _ = apply('ENTRYPOINT ["e"]', {"Cmd": ["base"]})
    own, _ = apply('CMD ["mine"]\nENTRYPOINT ["e"]', {"Cmd": ["base"]})

    assert "Cmd" not in inherited.runtime
    assert own.runtime["Cmd"] == ["mine"]


def test_shell_holds_for_the_lines_after_it() -> None:
    config, texts = apply('CMD one\nSHELL ["ash", "-ec"]\nENTRYPOINT two')

    assert config.runtime["Cmd"] == ["/bin/sh", "-c", "one"]
    assert config.runtime["Entrypoint"] == ["ash", "-ec", "two"]
    assert texts[0] == 'CMD ["/bin/sh" "-c" "one"]'


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        (
            "EXPOSE 80 53/UDP 8000-8002",
            "ExposedPorts",
            {"80/tcp", "53/udp", "8000/tcp", "8001/tcp", "8002/tcp"},
        ),
        ('VOLUME ["/a", "/b c"]', "Volumes", {"/a", "/b c"}),
        ("VOLUME /a /b", "Volumes", {"/a", "/b"}),
    ],
)
def test_sets_are_keys_of_an_object(text: str, key: str, value: set[str]) -> None:
    config, _ = apply(text)

    assert set(config.runtime[key]) == value
    assert all(inner == {} for inner in config.runtime[key].values())


def test_label_replaces_and_adds() -> None:
    config, _ = apply("LABEL a=1 b=2\nLABEL a=3", {"Labels": {"base": "x"}})

    assert config.runtime["Labels"] == {"base": "x", "a": "3", "b": "2"}


def test_arg_without_a_value_is_in_history_by_name_and_not_in_the_environment() -> None:
    config, texts = apply("ARG nothing\nARG x=1\nENV y=${nothing-unset}$x")

    assert texts == ["ARG nothing", "ARG x=1", "ENV y=unset1"]
    assert config.runtime["Env"] == ["y=unset1"]


def test_healthcheck_has_dockers_keys_in_nanoseconds() -> None:
    config, _ = apply("HEALTHCHECK --interval=1m30s --retries=4 CMD true")

    assert config.runtime["Healthcheck"] == {
        "Test": ["CMD-SHELL", "true"],
        "Interval": 90_000_000_000,
        "Retries": 4,
    }


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "HEALTHCHECK --interval=5m --timeout=3s --start-period=90s --retries=3 CMD a b",
            (
                "{Test:[CMD-SHELL a b] Interval:5m0s Timeout:3s StartPeriod:1m30s"
                " StartInterval:0s Retries:3}"
            ),
        ),
        (
            "HEALTHCHECK --timeout=1.5h CMD x",
            (
                "{Test:[CMD-SHELL x] Interval:0s Timeout:1h30m0s StartPeriod:0s"
                " StartInterval:0s Retries:0}"
            ),
        ),
        (
            "HEALTHCHECK NONE",
            "{Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
        ),
        ('SHELL ["/bin/sh", "-ec"]', "[/bin/sh -ec]"),
    ],
)
def test_history_has_buildkits_texts(line: str, told: str) -> None:
    _, texts = apply(line)

    assert texts == [f"{line.split()[0]} {told}"]


def test_onbuild_is_stored_and_leaves_no_history() -> None:
    config, texts = apply("ONBUILD RUN echo hi")

    assert config.runtime["OnBuild"] == ["RUN echo hi"]
    assert texts == [None]


def test_maintainer_is_the_author() -> None:
    config, _ = apply("MAINTAINER Some One <me@example.org>")

    assert config.author == "Some One <me@example.org>"


@pytest.mark.parametrize(
    ("current", "path", "result"),
    [
        ("/", "app", "/app"),
        ("/app", "../b//c/.", "/b/c"),
        ("/app", "/x/", "/x"),
        ("", "a", "/a"),
        ("/a", "../../..", "/"),
        ("/a", "//b", "/b"),
    ],
)
def test_workdir_is_joined_and_cleaned(current: str, path: str, result: str) -> None:
    config = ImageConfig(LINUX, runtime={"WorkingDir": current})

    assert resolve_workdir(config, path) == result


@pytest.mark.parametrize("text", ["EXPOSE 80/http", "STOPSIGNAL nonsense", "ENV a=${b:?needed}"])
def test_values_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(AsynckanikoError):
        apply(text)
