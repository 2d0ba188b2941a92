"""The executor: kaniko's flags, environment, log lines and exit codes."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import orjson
import pytest

from asynckaniko.build.request import DigestFile, DockerArchive, OciLayout, Push
from asynckaniko.cli.flag_values import parse_duration
from asynckaniko.cli.kaniko import Execution, executor
from asynckaniko.cli.kaniko_flags import WITHOUT_EFFECT, executor_flags
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.errors import CommandFailed, NotFound, SourceSpan, UsageError
from asynckaniko.events import Event, ImagePushed, StageStarted, StepOutput, StepStarted
from tests.unit.cli.script import MAKE, digest
from tests.unit.cli.standin import ScriptedBuilder, finished

BOTH = """
azure-container-registry-config bucket build-arg cache cache-copy-layers cache-dir cache-repo
cache-run-layers cache-ttl cleanup compressed-caching compression compression-level context
context-sub-path custom-platform customPlatform destination digest-file dockerfile force
force-build-metadata git ignore-path ignore-var-run image-download-retry image-fs-extract-retry
image-name-tag-with-digest-file image-name-with-digest-file insecure insecure-pull
insecure-registry kaniko-dir label log-format log-timestamp no-push no-push-cache oci-layout-path
push-ignore-immutable-tag-errors push-retry registry-certificate registry-client-cert registry-map
registry-mirror reproducible single-snapshot skip-default-registry-fallback
skip-push-permission-check skip-tls-verify skip-tls-verify-pull skip-tls-verify-registry
skip-unused-stages snapshot-mode snapshotMode tar-path tarPath target use-new-run verbosity
whitelist-var-run
"""
FORK_ONLY = """
annotation credential-helpers dryrun image-format materialize pre-cleanup preserve-context secret
"""
SHORT = {
    "-b": "bucket",
    "-c": "context",
    "-d": "destination",
    "-f": "dockerfile",
    "-v": "verbosity",
}


class Ran:
    """An execution that has run against a scripted builder."""

    def __init__(
        self,
        *words: str,
        builder: ScriptedBuilder | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.builder = builder or ScriptedBuilder()
        around = Surroundings(environment={"HOME": "/root", **(environment or {})})
        self._out, self._err = io.StringIO(), io.StringIO()
        execution = Execution(parsed(*words), around, stdout=self._out, stderr=self._err)
        self.status = execution.run(self.builder)

    @property
    def out(self) -> str:
        return self._out.getvalue()

    @property
    def err(self) -> str:
        return self._err.getvalue()

    @property
    def request(self) -> Any:
        return self.builder.request


def parsed(*words: str) -> dict[str, Any]:
    from asynckaniko.cli.flags import Command

    seen: dict[str, Any] = {}

    def callback(**values: Any) -> None:
        seen.update(values)

    command = Command("executor", callback=callback, params=executor_flags())
    command.main(list(words), standalone_mode=False)
    return seen


OURS = {
    "--cache-mount-dir",
    "--isolation",
    "--pid",
    "--push-chunk-size",
    "--push-early-size",
    "--shm-size",
    "--ulimit",
}
"""There is no other way to choose what they choose."""


def test_every_flag_of_both_projects_is_known_and_six_of_ours() -> None:
    known = {name for flag in executor_flags() for name in flag.opts}

    assert known == {f"--{name}" for name in f"{BOTH} {FORK_ONLY}".split()} | set(SHORT) | OURS


@pytest.mark.parametrize(("short", "name"), SHORT.items())
def test_short_flags_are_kanikos(short: str, name: str) -> None:
    (flag,) = [flag for flag in executor_flags() if short in flag.opts]

    assert f"--{name}" in flag.opts


def test_without_flags_for_it_the_context_is_the_workspace() -> None:
    assert Ran("--no-push").request.context == "/workspace/"


def test_sub_path_is_below_the_context() -> None:
    ran = Ran("--no-push", "--context=dir:///w/", "--context-sub-path", "/a/b")

    assert ran.request.context == "dir:///w/"
    assert ran.request.context_options.sub_path == "a/b"


def test_git_context_has_its_whole_history_unless_it_is_told_otherwise() -> None:
    assert Ran("--no-push").request.context_options.git.depth == 0
    assert Ran("--no-push", "--git=depth=5").request.context_options.git.depth == 5


def test_base_images_are_in_kanikos_directory_but_only_for_builds_with_a_cache() -> None:
    assert Ran("--no-push", "--cache-dir=/warm").request.cache is None
    assert Ran("--no-push", "--cache").request.cache.base_directory == Path("/cache")
    named = Ran("--no-push", "--cache", "--cache-dir=/warm")
    assert named.request.cache.base_directory == Path("/warm")


def test_usual_flags_reach_the_library() -> None:
    ran = Ran(
        "-d=r.io/a:1", "--destination", "r.io/a:2", "--build-arg=A=1,2", "--label", "k=v",
        "--target", "", "--target=final", "--custom-platform=linux/arm64", "--reproducible",
        "--compression=zstd", "--compression-level=3", "--oci-layout-path=/out", "--tar-path=/t",
        "--digest-file=/dev/termination-log", "--insecure", "--skip-tls-verify-registry=r.io",
        "--image-format=oci",
    )  # fmt: skip

    request = ran.request
    assert request.build_args == {"A": "1,2"}
    assert request.labels == {"k": "v"}
    assert request.target == "final"
    assert request.platform == "linux/arm64"
    assert request.reproducible
    assert (request.compression, request.compression_level) == ("zstd", 3)
    assert request.outputs == (
        Push(reference="r.io/a:1"),
        Push(reference="r.io/a:2"),
        OciLayout(path=Path("/out")),
        DockerArchive(path=Path("/t"), references=("r.io/a:1", "r.io/a:2")),
        DigestFile(path=Path("/dev/termination-log")),
    )
    assert ran.builder.settings is not None
    assert ran.builder.settings.registry.insecure_push
    assert ran.builder.settings.registry.skip_tls_verify_registries == {"r.io"}


def test_flags_about_pushing_and_signing_in_reach_the_library() -> None:
    ran = Ran(
        "-d=r.io/a", "--push-chunk-size=8MiB", "--push-early-size=0",
        "--push-ignore-immutable-tag-errors", "--skip-push-permission-check",
        "--push-retry=20", "--image-download-retry=9",
        "--credential-helpers=env", "--credential-helpers", "ecr",
    )  # fmt: skip

    settings = ran.builder.settings
    assert settings is not None
    assert settings.registry.chunk_size == 8 << 20
    assert settings.registry.early_size == 0
    assert settings.registry.ignore_immutable_tags
    assert not ran.request.check_push
    assert settings.retry.attempts == 21
    assert settings.credentials.helpers == ("env", "ecr")


def test_empty_credential_helper_turns_all_of_them_off() -> None:
    settings = Ran("--no-push", "--credential-helpers=").builder.settings

    assert settings is not None
    assert settings.credentials.helpers == ()


def test_environment_wins_over_no_push() -> None:
    on, off = {"KANIKO_NO_PUSH": "true"}, {"KANIKO_NO_PUSH": "false"}

    assert Ran("-d=r.io/a", "--no-push=false", environment=on).request.outputs == ()
    assert Ran("-d=r.io/a", "--no-push", environment=off).request.outputs != ()


def test_build_argument_without_a_value_is_the_variable_or_empty() -> None:
    ran = Ran("--no-push", "--build-arg=SET", "--build-arg=UNSET", environment={"SET": "x"})

    assert ran.request.build_args == {"SET": "x", "UNSET": ""}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "you must provide --destination, or use --no-push"),
        (["--oci-layout-path=/o"], "you must provide --destination, or use --no-push"),
        (["--no-push", "--image-name-with-digest-file=/n"], "you must provide --destination if"),
        (["--no-push", "--target=a,b"], "only one stage can be built at a time"),
        (["--no-push", "--compression=zstd", "--image-format=docker"], "no type for zstd layers"),
    ],
)
def test_flags_that_do_not_fit_are_an_error(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Ran(*words)


def use_of(flag: click.Option) -> str:
    """Write a use of the flag, as a word of a command line."""
    name = next(name for name in flag.opts if name.startswith("--"))
    values = {"boolean": "true", "number": "3", "duration": "6h", "choice": "full"}
    return f"{name}={values.get(flag.type.name, 'x')}"


def test_annotations_and_single_snapshot_are_passed_on() -> None:
    ran = Ran("--no-push", "--annotation=a=b", "--annotation", "c=d,e", "--single-snapshot")

    assert ran.request.annotations == {"a": "b", "c": "d,e"}
    assert ran.request.single_snapshot


def test_dry_run_prints_the_plan_and_builds_nothing() -> None:
    failing = ScriptedBuilder(outcome=CommandFailed("built", exit_status=9))

    ran = Ran("--dryrun", "-d=r.example/a:1", "--digest-file=/nowhere/digest", builder=failing)

    assert ran.status == 0
    assert ran.out == "FROM scratch\nPUSH [there]\n"


def test_plan_can_be_printed_before_the_build() -> None:
    failing = ScriptedBuilder(outcome=CommandFailed("built", exit_status=9))

    ran = Ran("--no-push", builder=failing, environment={"KANIKO_PRINT_PLAN": "1"})

    assert ran.status == 9
    assert ran.out == "FROM scratch\nPUSH [there]\n"


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_flag_without_effect_is_accepted_and_says_so_at_debug(name: str) -> None:
    (flag,) = [flag for flag in executor_flags() if flag.name == name]

    ran = Ran("--no-push", "-v=debug", "--log-format=json", use_of(flag))

    messages = [orjson.loads(line)["msg"] for line in ran.err.splitlines()]
    assert any(message.endswith(WITHOUT_EFFECT[name]) for message in messages)


@pytest.mark.parametrize(
    ("word", "new"),
    [
        ("--customPlatform=linux/arm64", "--custom-platform"),
        ("--snapshotMode=redo", "--snapshot-mode"),
        ("--tarPath=/t", "--tar-path"),
    ],
)
def test_old_spelling_works_with_a_warning(word: str, new: str) -> None:
    ran = Ran("--no-push", "--log-format=text", word)

    old = word.partition("=")[0]
    assert f'level=warning msg="Flag {old} is deprecated. Use: {new}"' in ran.err


def test_old_spelling_sets_what_the_new_one_sets() -> None:
    assert Ran("--no-push", "--customPlatform=linux/arm64").request.platform == "linux/arm64"
    assert Ran("--no-push", "--tarPath=/t").request.outputs == (DockerArchive(path=Path("/t")),)


def test_log_is_on_stderr_and_command_output_on_stdout() -> None:
    events: list[Event] = [
        StageStarted("build"),
        StepStarted(MAKE),
        StepOutput(MAKE, "cc -c a.c", "stderr", 0.1),
        ImagePushed("r.io/a:1", digest("x")),
    ]

    ran = Ran("-d=r.io/a:1", builder=ScriptedBuilder(events))

    assert ran.status == 0
    assert ran.out == "cc -c a.c\n"
    lines = [line.rstrip() for line in ran.err.splitlines()]
    assert lines == [
        "\x1b[36mINFO\x1b[0m[0000] Building stage 'build'",
        "\x1b[36mINFO\x1b[0m[0000] RUN make -j4 all",
        "\x1b[36mINFO\x1b[0m[0000] Pushing image to r.io/a:1",
        f"\x1b[36mINFO\x1b[0m[0000] Pushed r.io/a@{digest('x')}",
    ]


def test_build_without_push_says_so() -> None:
    assert "Skipping push to container registry due to --no-push flag" in Ran("--no-push").err


def test_failed_command_gives_its_exit_status() -> None:
    error = CommandFailed("exit status 42", exit_status=42)
    error.at(SourceSpan("Dockerfile", 1, 1), "RUN make")

    ran = Ran("--no-push", builder=ScriptedBuilder([], error))

    assert ran.status == 42
    assert ran.err.splitlines()[-1] == "error building image: exit status 42"


@pytest.mark.parametrize(
    "error", [NotFound("GET", "https://r/v2/x", 404), UsageError("no"), RuntimeError("bug")]
)
def test_everything_else_that_fails_is_status_1(error: Exception) -> None:
    assert Ran("--no-push", builder=ScriptedBuilder([], error)).status == 1


def test_names_are_written_without_a_push_too(tmp_path: Path) -> None:
    names, tags = tmp_path / "names", tmp_path / "tags"

    Ran(
        "--no-push",
        "-d=r.io/a:1",
        "-d=b",
        f"--image-name-with-digest-file={names}",
        f"--image-name-tag-with-digest-file={tags}",
    )

    image = finished().digest
    assert names.read_text() == f"r.io/a@{image}\ndocker.io/library/b@{image}\n"
    assert tags.read_text() == f"r.io/a:1@{image}\ndocker.io/library/b:latest@{image}\n"


def test_cloud_build_finds_the_images(tmp_path: Path) -> None:
    Ran("-d=r.io/a:1", "-d=r.io/b", environment={"BUILDER_OUTPUT": str(tmp_path)})

    lines = (tmp_path / "images").read_text().splitlines()
    assert [orjson.loads(line) for line in lines] == [
        {"name": "r.io/a:1", "digest": finished().digest},
        {"name": "r.io/b", "digest": finished().digest},
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nope"], "Error: unknown flag: --nope"),
        (["--cache=maybe"], 'Error: invalid argument "maybe" for "--cache"'),
        (["--no-push", "extra"], "Error: Got unexpected extra argument"),
    ],
)
def test_wrong_words_end_as_cobra_ends(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert executor(words) == 1

    err = capsys.readouterr().err
    assert err.startswith(message)
    assert err.endswith("Usage:\n  executor [flags]\n")


def test_version_has_kanikos_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert executor(["version"]) == 0

    assert capsys.readouterr().out.startswith("Kaniko version :  ")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("336h", 1_209_600.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("90s", 90.0),
        ("100ms", 0.1),
        ("0", 0.0),
        ("-1h", -3600.0),
        ("+2m", 120.0),
        ("", None),
        ("6", None),
        ("h", None),
        ("1d", None),
        ("1h ", None),
        ("1h-1m", None),
    ],
)
def test_duration_is_gos(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == (None if seconds is None else pytest.approx(seconds))


def test_paths_can_be_ignored_in_mode_in_place_only() -> None:
    with pytest.raises(UsageError, match="--isolation=in-place"):
        Ran("--no-push", "--ignore-path=/a")

    by_flag = Ran("--no-push", "--ignore-path=/a", "--ignore-path=/b/*", "--isolation=in-place")
    by_variable = Ran(
        "--no-push", "--ignore-path=/a", environment={"ASYNCKANIKO_ISOLATION": "in-place"}
    )

    assert by_flag.request.in_place.ignored_paths == ("/a", "/b/*")
    assert by_variable.request.in_place.ignored_paths == ("/a",)


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        ([], {}, False),
        (["--cleanup"], {}, True),
        ([], {"KANIKO_CLEANUP": "true"}, True),
        (["--cleanup=false"], {"KANIKO_CLEANUP": "true"}, False),
    ],
)
def test_flag_for_cleaning_up_wins_over_its_variable(
    words: list[str], environment: dict[str, str], *, expected: bool
) -> None:
    assert Ran("--no-push", *words, environment=environment).request.in_place.clean_up is expected


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        ([], {}, False),
        (["--preserve-context"], {}, True),
        ([], {"KANIKO_PRESERVE_CONTEXT": "1"}, True),
        (["--preserve-context=false"], {"KANIKO_PRESERVE_CONTEXT": "1"}, False),
    ],
)
def test_flag_for_bringing_files_back_wins_over_its_variable(
    words: list[str], environment: dict[str, str], *, expected: bool
) -> None:
    assert Ran("--no-push", *words, environment=environment).request.in_place.preserve is expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], True),
        (["--ignore-var-run=false"], False),
        (["--whitelist-var-run=false"], False),
        (["--whitelist-var-run"], True),
    ],
)
def test_changes_in_var_run_are_ignored_unless_it_is_refused(
    words: list[str], *, expected: bool
) -> None:
    assert Ran("--no-push", *words).request.in_place.ignores_var_run is expected


def test_one_image_may_be_built_without_namespaces() -> None:
    settings = Ran("--no-push").builder.settings

    assert settings is not None
    assert settings.isolation.may_be_plain
