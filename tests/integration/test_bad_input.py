"""What is wrong with the input, the registry or the host is one error of its own class.

It carries a message that names the thing, and leaves no output and no partial blob behind.
"""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from asynckaniko.build.builder import Builder
from asynckaniko.build.request import (
    BuildRequest,
    DigestFile,
    DockerArchive,
    OciLayout,
    Output,
    Push,
)
from asynckaniko.errors import (
    AsynckanikoError,
    ContextError,
    CopyFailed,
    DockerfileError,
    IntegrityError,
    NoMatchingPlatform,
    NotFound,
    RegistryUnavailable,
    StepFailed,
    Unauthorized,
    UsageError,
)
from asynckaniko.settings import RegistryOptions, Retry, Settings
from tests.integration.conftest import Workbench
from tests.support.images import INDEX, MANIFEST, Image, digest
from tests.support.registry import Registry, free_port, run_registry

FEW_RETRIES = Retry(attempts=2, first_wait_seconds=0.01, longest_wait_seconds=0.01)


async def fail(bench: Workbench, *outputs: Output, **request: Any) -> AsynckanikoError:
    """Build the context, which must fail on purpose, and check that it wrote nothing."""
    layout, file = bench.directory / "out", bench.directory / "digest"
    wanted = (*outputs, OciLayout(path=layout), DigestFile(path=file))
    settings = Settings(
        state_dir=bench.state,
        retry=FEW_RETRIES,
        registry=RegistryOptions(insecure_pull=True, insecure_push=True),
    )
    with pytest.raises(AsynckanikoError) as raised:
        async with Builder(settings) as builder:
            given: Mapping[str, Any] = {"context": str(bench.context), "outputs": wanted} | request
            await builder.build(BuildRequest(**given))
    assert not layout.exists()
    assert not file.exists()
    assert bench.leftovers() == []
    for blob in (bench.state / "blobs").iterdir():
        assert digest(blob.read_bytes()) == f"sha256:{blob.name}"
    return raised.value


async def test_missing_context(bench: Workbench) -> None:
    error = await fail(bench, context=f"{bench.directory}/nowhere")

    assert type(error) is ContextError
    assert error.exit_code == 2
    assert error.message == f"build context {bench.directory}/nowhere: No such file or directory"


async def test_context_that_is_a_file(bench: Workbench) -> None:
    bench.write("FROM scratch\n")
    archive = bench.context / "Dockerfile"

    error = await fail(bench, context=str(archive))

    assert type(error) is ContextError
    assert error.message == (
        f"build context {archive}: is a file, not a directory; name an archive as tar://{archive}"
    )


async def test_dockerfile_that_is_a_directory(bench: Workbench) -> None:
    error = await fail(bench, dockerfile=str(bench.context))

    assert type(error) is ContextError
    assert error.message == f"{bench.context}: is a directory; a file is needed here"


async def test_file_that_could_not_be_written_is_refused_at_the_start(bench: Workbench) -> None:
    bench.write("FROM scratch\nCOPY Dockerfile /\n")
    blocked = bench.context / "Dockerfile/digest"

    is_directory = await fail(bench, DigestFile(path=bench.context))
    below_a_file = await fail(bench, DockerArchive(path=blocked))

    assert type(is_directory) is type(below_a_file) is UsageError
    assert is_directory.message == f"{bench.context} is a directory; name a file to write there"
    assert below_a_file.message == (
        f"{blocked} cannot be written: {bench.context}/Dockerfile is no directory"
    )


async def test_missing_dockerfile(bench: Workbench) -> None:
    error = await fail(bench, dockerfile="Containerfile")

    assert type(error) is ContextError
    assert error.exit_code == 2
    assert "Containerfile" in error.message


async def test_missing_file_to_copy(bench: Workbench) -> None:
    bench.write("FROM scratch\n\nCOPY nowhere /\n")

    error = await fail(bench)

    assert type(error) is CopyFailed
    assert error.exit_code == 3
    assert '"/nowhere": not found' in error.message
    assert str(error.span).endswith("Dockerfile:3")


async def test_file_to_copy_is_ignored(bench: Workbench) -> None:
    bench.write("FROM scratch\nCOPY a /\n", {"a": "a", ".dockerignore": "a\n"})

    error = await fail(bench)

    assert type(error) is CopyFailed
    assert ".dockerignore" in error.message


async def test_unknown_target(bench: Workbench) -> None:
    bench.write("FROM scratch AS one\nFROM scratch AS two\n")

    error = await fail(bench, target="tow")

    assert type(error) is DockerfileError
    assert error.exit_code == 2
    assert "tow" in error.message
    assert "two" in error.message


async def test_dockerfile_that_is_none(bench: Workbench) -> None:
    bench.write("FROM scratch\nCOYP a /\n")

    error = await fail(bench)

    assert type(error) is DockerfileError
    assert str(error.span).endswith("Dockerfile:2")
    assert "COYP" in error.message


async def test_registry_that_nobody_listens_for(bench: Workbench) -> None:
    host = f"127.0.0.1:{free_port()}"
    bench.write(f"FROM {host}/library/base\n")

    error = await fail(bench)

    assert type(error) is RegistryUnavailable
    assert error.exit_code == 4
    assert host in error.message


async def test_registry_that_refuses(bench: Workbench) -> None:
    with run_registry(bench.directory / "registry", users={"ann": "secret"}) as registry:
        bench.write(f"FROM {registry.host}/library/base\n")

        error = await fail(bench)

    assert type(error) is Unauthorized
    assert error.exit_code == 4
    assert registry.host in error.message


async def test_push_to_a_registry_that_refuses(bench: Workbench) -> None:
    bench.write("FROM scratch\nCOPY a /\n", {"a": "a"})
    with run_registry(bench.directory / "registry", users={"ann": "secret"}) as registry:
        error = await fail(bench, Push(reference=f"{registry.host}/t/a:1"))

    assert type(error) is Unauthorized


async def test_image_that_does_not_exist(bench: Workbench, registry: Registry) -> None:
    bench.write(f"FROM {registry.host}/library/nothing:7\n")

    error = await fail(bench)

    assert type(error) is NotFound
    assert error.exit_code == 4
    assert "library/nothing" in error.message
    assert "7" in error.message


async def test_image_for_another_platform(bench: Workbench, registry: Registry) -> None:
    image = Image.of({"a": "a"}, architecture="s390x")
    image.push(registry, "library/far", "only")
    descriptor = {"mediaType": MANIFEST, "digest": image.digest, "size": len(image.manifest)}
    platform = {"os": "linux", "architecture": "s390x"}
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [descriptor | {"platform": platform}],
    }
    registry.put_manifest("library/far", "1", INDEX, json.dumps(index).encode())
    bench.write(f"FROM {registry.host}/library/far:1\nLABEL a=b\n")

    error = await fail(bench, platform="linux/amd64")

    assert type(error) is NoMatchingPlatform
    assert error.exit_code == 4
    assert "linux/amd64" in error.message
    assert "linux/s390x" in error.message


def stored(registry: Registry, name: str) -> Path:
    """Return the file in which the registry keeps a blob."""
    hexadecimal = name.removeprefix("sha256:")
    blobs = registry.log.parent / "data/docker/registry/v2/blobs/sha256"
    return blobs / hexadecimal[:2] / hexadecimal / "data"


@pytest.fixture
def broken(registry: Registry, busybox_image: Image) -> tuple[str, Path]:
    """Return the reference of an image, and the file of its layer, to damage."""
    reference = busybox_image.push(registry, "library/broken")
    return reference, stored(registry, busybox_image.layers[0])


async def test_layer_with_a_wrong_byte(
    bench: Workbench, broken: tuple[str, Path], busybox_image: Image
) -> None:
    reference, layer = broken
    content = bytearray(layer.read_bytes())
    content[len(content) // 2] ^= 1
    layer.write_bytes(content)
    bench.write(f"FROM {reference}\nRUN true\n")

    error = await fail(bench)

    assert isinstance(error, IntegrityError)
    assert error.exit_code == 5
    assert busybox_image.layers[0] in error.message
    assert list((bench.state / "rootfs/layers").iterdir()) == []


async def test_layer_that_ends_early(
    bench: Workbench, broken: tuple[str, Path], busybox_image: Image
) -> None:
    reference, layer = broken
    content = layer.read_bytes()
    layer.write_bytes(content[:-100])
    bench.write(f"FROM {reference}\nRUN true\n")

    error = await fail(bench)

    assert isinstance(error, IntegrityError)
    assert error.exit_code == 5
    assert busybox_image.layers[0] in error.message


async def test_damaged_layer_does_not_get_past_a_push(
    bench: Workbench, broken: tuple[str, Path]
) -> None:
    reference, layer = broken
    content = bytearray(layer.read_bytes())
    content[-1] ^= 1
    layer.write_bytes(content)
    bench.write(f"FROM {reference}\nLABEL a=b\n")

    with run_registry(bench.directory / "destination") as destination:
        error = await fail(bench, Push(reference=f"{destination.host}/t/a:1"))
        pushed = destination.has("t/a", "1")

    assert isinstance(error, IntegrityError)
    assert not pushed


async def test_layer_whose_diff_id_is_another(bench: Workbench, registry: Registry) -> None:
    image = Image.of({"a": "a"})
    wrong = digest(b"something else")
    config = image.config | {"rootfs": {"type": "layers", "diff_ids": [wrong]}}
    lying = Image.of_blobs(config, [image.blobs[image.layers[0]]])
    reference = lying.push(registry, "library/lying")
    bench.write(f"FROM {reference}\nCOPY --from={reference} /a /b\n")

    error = await fail(bench)

    assert isinstance(error, IntegrityError)
    assert wrong in error.message


async def test_command_that_fails(bench: Workbench, busybox_layout: Path) -> None:
    bench.write("FROM busybox\nRUN echo first; \\\n    echo last >&2; exit 42\n")

    error = await fail(bench, build_contexts={"busybox": f"oci-layout://{busybox_layout}"})

    assert isinstance(error, StepFailed)
    assert vars(error)["exit_status"] == 42
    assert str(error.span).endswith("Dockerfile:2-3")


def test_command_line_shows_place_line_and_exit_code(
    bench: Workbench, busybox_layout: Path
) -> None:
    bench.write("FROM busybox\nENV A=b\nRUN echo doing it; exit 42\n")
    base = ("--build-context", f"busybox=oci-layout://{busybox_layout}")

    done = bench.run(bench.command(*base, "--no-push"))

    assert done.exit_code == 42
    assert "Dockerfile:3" in done.stderr
    assert "RUN echo doing it; exit 42" in done.stderr
    assert "Traceback" not in done.stderr


def test_flag_that_is_not_there_is_an_error(bench: Workbench) -> None:
    bench.write("FROM scratch\nCOPY Dockerfile /\n")

    done = bench.run(bench.command("--no-push", "--single-snapshots"))

    assert done.exit_code == 2
    assert "--single-snapshots" in done.stderr
    assert not bench.state.exists()


def in_mount_namespace(script: str, *words: str) -> list[str]:
    """Run `script` with mounts that only it sees, then `words` in its place."""
    return ["unshare", "--mount", "sh", "-ec", f"{script}\nexec {shlex.join(words)}"]


def test_full_disk(bench: Workbench, busybox_layout: Path) -> None:
    bench.write("FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=30\n")
    bench.state.mkdir()
    mount = f"mount -t tmpfs -o size=12m tmpfs {bench.state}"
    base = ("--build-context", f"busybox=oci-layout://{busybox_layout}")
    file = bench.directory / "digest"
    build = bench.command(*base, "--no-push", "--digest-file", str(file))

    done = bench.run(in_mount_namespace(f"{mount}\ndf -k {bench.state} >/dev/null", *build))

    # The command itself is told: it fails with its own message and status.
    assert done.exit_code == 1, done.said
    assert "No space left on device" in done.said
    assert not file.exists()


def test_disk_that_is_full_while_unpacking(bench: Workbench, debian_layout: Path) -> None:
    bench.write("FROM debian\nRUN true\n")
    bench.state.mkdir()
    mount = f"mount -t tmpfs -o size=12m tmpfs {bench.state}"
    base = ("--build-context", f"debian=oci-layout://{debian_layout}")

    done = bench.run(in_mount_namespace(mount, *bench.command(*base, "--no-push")))

    assert done.exit_code == 6, done.said
    assert "space" in done.stderr
    assert "Traceback" not in done.stderr


def test_state_directory_on_an_overlay(bench: Workbench, busybox_layout: Path) -> None:
    bench.write("FROM busybox\nRUN true\n")
    directories = [bench.directory / name for name in ("lower", "upper", "work", "merged")]
    for directory in directories:
        directory.mkdir()
    lower, upper, work, merged = directories
    bench.state = merged / "state"
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    mount = f"mount -t overlay -o {options} overlay {merged}"
    base = ("--build-context", f"busybox=oci-layout://{busybox_layout}")

    done = bench.run(in_mount_namespace(mount, *bench.command(*base, "--no-push")))

    assert done.exit_code == 6, done.said
    assert "overlay" in done.stderr
    assert "volume" in done.stderr
    assert "Traceback" not in done.stderr
