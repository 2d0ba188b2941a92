"""The executor as pipelines written for kaniko call it."""

import re
import sys
from collections.abc import Mapping

from tests.integration.conftest import Finished, Workbench
from tests.support.registry import Registry


def execute(
    bench: Workbench, *flags: str, environment: Mapping[str, str] | None = None
) -> Finished:
    program = [sys.executable, "-m", "asynckaniko.cli.kaniko"]
    variables = {"ASYNCKANIKO_STATE_DIR": str(bench.state), **(environment or {})}
    assignments = [f"{name}={value}" for name, value in variables.items()]
    return bench.run(["env", *assignments, *program, f"--context={bench.context}", *flags])


def test_image_is_pushed_and_the_log_names_it(bench: Workbench, registry: Registry) -> None:
    bench.write("FROM scratch\nCOPY a /a\n", {"a": "a"})
    images = bench.directory / "output"
    images.mkdir()

    done = execute(
        bench,
        f"--destination={registry.host}/t/a:1",
        "--insecure",
        "--digest-file=/dev/stdout",
        "--snapshotMode=redo",
        "--skip-unused-stages=true",
        environment={"BUILDER_OUTPUT": str(images)},
    )

    assert done.exit_code == 0, done.said
    (digest,) = re.findall(
        rf"Pushed {re.escape(registry.host)}/t/a@(sha256:[0-9a-f]{{64}})", done.stderr
    )
    assert done.stdout == digest
    assert f'"digest":"{digest}"' in (images / "images").read_text()
    assert "WARN" in done.stderr
    assert registry.has("t/a", "1")


def test_environment_turns_the_push_off(bench: Workbench, registry: Registry) -> None:
    bench.write("FROM scratch\nCOPY a /a\n", {"a": "a"})

    done = execute(bench, f"-d={registry.host}/t/a:1", environment={"KANIKO_NO_PUSH": "true"})

    assert done.exit_code == 0, done.said
    assert "Skipping push to container registry due to --no-push flag" in done.stderr
    assert not registry.has("t/a", "1")


def test_failed_command_gives_its_exit_code_and_output(bench: Workbench, busybox: str) -> None:
    bench.write(f"FROM {busybox}\nRUN echo on stdout; echo on stderr >&2; exit 42\n")

    done = execute(bench, "--no-push", "--insecure-pull")

    assert done.exit_code == 42, done.said
    assert sorted(done.stdout.splitlines()) == ["on stderr", "on stdout"]
    assert done.stderr.splitlines()[-1].startswith("error building image: ")


def test_other_errors_are_exit_code_1(bench: Workbench) -> None:
    bench.write("FROM scratch\nCOPY missing /\n")

    done = execute(bench, "--no-push")

    assert done.exit_code == 1
    assert "Traceback" not in done.stderr
