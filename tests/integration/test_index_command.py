"""`asynckaniko index create`: images of several places under one name."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asynckaniko import RegistryOptions, Settings, create_index
from tests.integration.conftest import Finished, Workbench
from tests.integration.registry.clients import noise
from tests.integration.registry.servers import FaultProxy, LoseAnswer, Rule
from tests.support.images import INDEX, MANIFEST, REF_NAME, Image, digest
from tests.support.registry import Registry, run_registry

AMD64 = Image.of({"arch": b"amd64" * 1000}, {"more": b"m" * 100_000})
ARM64 = Image.of_tars([b"arm64".ljust(10240, b"\0")], architecture="arm64")


def create(bench: Workbench, *words: str) -> Finished:
    return bench.run([sys.executable, "-m", "asynckaniko", "index", "create", *words])


def entry(image: Image, **more: Any) -> dict[str, Any]:
    """Describe an image as image-spec's descriptor.md has it."""
    return {
        "mediaType": MANIFEST,
        "digest": image.digest,
        "size": len(image.manifest),
        **more,
    }


def expected(**annotations: str) -> dict[str, Any]:
    """Write the index of both images down as image-spec's image-index.md has it."""
    linux = {"os": "linux"}
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            entry(AMD64, platform={"architecture": "amd64", **linux}),
            entry(ARM64, platform={"architecture": "arm64", **linux}),
        ],
    }
    return document | ({"annotations": annotations} if annotations else {})


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Registry]:
    """A second registry."""
    with run_registry(tmp_path / "other") as server:
        yield server


def writes(registry: Registry, since: int) -> list[tuple[str, str]]:
    return [
        (each.method, each.path)
        for each in registry.requests(since)
        if each.method in {"PUT", "PATCH", "POST"} and "/uploads/" not in each.path
    ]


def test_images_of_other_repositories_are_mounted_and_indexed(
    bench: Workbench, registry: Registry
) -> None:
    sources = [ARM64.push(registry, "made/arm"), AMD64.push(registry, "made/amd")]
    file = bench.directory / "digest"
    since = registry.mark()

    done = create(
        bench,
        f"{registry.host}/app:1",
        *sources,
        *("-d", f"{registry.host}/app:latest", "--annotation", "org.opencontainers.image.title=x"),
        *("--digest-file", str(file)),
    )

    assert done.exit_code == 0, done.said
    stored = registry.manifest("app", "1")
    assert stored == expected(**{"org.opencontainers.image.title": "x"})
    assert registry.manifest("app", "latest") == stored
    status, content, _ = registry.call("GET", "/v2/app/manifests/1", Accept=INDEX)
    assert status == 200
    assert file.read_text() == digest(content)
    assert done.stdout.splitlines() == [
        digest(content),
        f"{registry.host}/app:1",
        f"{registry.host}/app:latest",
    ]
    requests = registry.requests(since)
    # Of the blobs only configs are read, for their platforms; all others are mounted.
    configs = {json.loads(image.manifest)["config"]["digest"] for image in (AMD64, ARM64)}
    read = {each.path.rpartition("/")[2] for each in requests if each.is_blob_download}
    assert read == configs
    assert [each for each in requests if each.method == "PATCH"] == []
    for image in (AMD64, ARM64):
        for name, blob in image.blobs.items():
            assert registry.blob("app", name) == blob


def test_second_run_changes_nothing_and_gives_the_same_digest(
    bench: Workbench, registry: Registry
) -> None:
    sources = [AMD64.push(registry, "app", "1-amd64"), ARM64.push(registry, "app", "1-arm64")]
    first = create(bench, f"{registry.host}/app:1", *sources)
    since = registry.mark()

    second = create(bench, f"{registry.host}/app:1", *reversed(sources))

    assert (first.exit_code, second.exit_code) == (0, 0), second.said
    assert second.stdout == first.stdout
    assert writes(registry, since) == [("PUT", "/v2/app/manifests/1")]


def test_images_are_copied_from_another_registry_a_layout_and_an_archive(
    bench: Workbench, registry: Registry, other: Registry
) -> None:
    far = AMD64.push(other, "made/amd")
    ARM64.write_layout(bench.directory / "arm", tag="v1")
    subprocess.run(
        ["tar", "-cf", str(bench.directory / "arm.tar"), "-C", str(bench.directory / "arm"), "."],
        check=True,
    )
    for number, near in enumerate(("./arm", "oci-layout://arm:v1", "./arm.tar")):
        done = create(bench, f"{registry.host}/app{number}:1", far, near)

        assert done.exit_code == 0, done.said
        assert registry.manifest(f"app{number}", "1") == expected()
        for image in (AMD64, ARM64):
            status, content, _ = registry.call(
                "GET", f"/v2/app{number}/manifests/{image.digest}", Accept=MANIFEST
            )
            assert (status, content) == (200, image.manifest)
            for name, blob in image.blobs.items():
                assert registry.blob(f"app{number}", name) == blob


def test_index_as_a_source_gives_its_images_and_what_describes_them(
    bench: Workbench, registry: Registry
) -> None:
    statement = Image.of_blobs({"architecture": "unknown", "os": "unknown"}, [b"{}"])
    about = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": AMD64.digest,
    }
    nowhere = {"architecture": "unknown", "os": "unknown"}
    AMD64.push(registry, "made", "amd64")
    statement.push(registry, "made", "statement")
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            entry(statement, annotations=about, platform=nowhere),
            entry(AMD64, platform={"architecture": "amd64", "os": "linux"}),
        ],
    }
    registry.put_manifest("made", "index", INDEX, json.dumps(index).encode())
    arm64 = ARM64.push(registry, "made", "arm64")

    done = create(bench, f"{registry.host}/app:1", f"{registry.host}/made:index", arm64)

    assert done.exit_code == 0, done.said
    document = expected()
    document["manifests"].append(entry(statement, annotations=about, platform=nowhere))
    assert registry.manifest("app", "1") == document


def test_indexes_that_name_one_another_many_times_are_read_once(
    bench: Workbench, registry: Registry
) -> None:
    """Three levels of 40 entries each would be 64,000 requests."""
    AMD64.push(registry, "made", "0")
    name, size, kind = AMD64.digest, len(AMD64.manifest), MANIFEST
    for level in range(1, 4):
        index = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [{"mediaType": kind, "digest": name, "size": size}] * 40,
        }
        content = json.dumps(index).encode()
        registry.put_manifest("made", f"{level}", INDEX, content)
        name, size, kind = digest(content), len(content), INDEX
    since = registry.mark()

    done = create(bench, f"{registry.host}/app:1", f"{registry.host}/made:3")

    assert done.exit_code == 0, done.said
    platform = {"architecture": "amd64", "os": "linux"}
    assert registry.manifest("app", "1")["manifests"] == [entry(AMD64, platform=platform)]
    read = [each for each in registry.requests(since) if "/made/manifests/" in each.path]
    assert len(read) == 4


def test_layout_with_two_images_gives_both(bench: Workbench, registry: Registry) -> None:
    layout = AMD64.write_layout(bench.directory / "both")
    ARM64.write_layout(bench.directory / "arm")
    for blob in (bench.directory / "arm/blobs/sha256").iterdir():
        blob.rename(layout / "blobs/sha256" / blob.name)
    index = json.loads((layout / "index.json").read_text())
    # One image under two names is one image.
    index["manifests"] += [entry(ARM64), entry(ARM64, annotations={REF_NAME: "again"})]
    (layout / "index.json").write_text(json.dumps(index))

    done = create(bench, f"{registry.host}/app:1", "./both")

    assert done.exit_code == 0, done.said
    assert registry.manifest("app", "1") == expected()


def test_two_images_for_one_platform_are_refused_before_anything_is_written(
    bench: Workbench, registry: Registry
) -> None:
    twin = Image.of({"arch": b"other"})
    sources = [AMD64.push(registry, "app", "a"), twin.push(registry, "app", "b")]
    since = registry.mark()

    done = create(bench, f"{registry.host}/app:1", *sources, "--skip-push-permission-check")

    assert done.exit_code == 2
    assert "two images are for linux/amd64" in done.stderr
    for part in (*sources, AMD64.digest, twin.digest):
        assert part in done.stderr
    assert writes(registry, since) == []


def test_image_without_a_platform_is_refused(bench: Workbench, registry: Registry) -> None:
    nothing = Image.of_blobs({"rootfs": {"type": "layers", "diff_ids": []}}, [])
    source = nothing.push(registry, "app", "nothing")

    done = create(bench, f"{registry.host}/app:1", source)

    assert done.exit_code == 2
    assert f"{source} is for no platform" in done.stderr
    assert not registry.has("app", "1")


def test_damaged_config_in_a_layout_is_no_source_of_platforms(
    bench: Workbench, registry: Registry
) -> None:
    layout = AMD64.write_layout(bench.directory / "amd")
    name = json.loads(AMD64.manifest)["config"]["digest"].removeprefix("sha256:")
    (layout / "blobs/sha256" / name).write_text('{"architecture": "arm64", "os": "linux"}')

    done = create(bench, f"{registry.host}/app:1", "./amd")

    assert done.exit_code == 5
    assert name in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["HOST/app:1"], "SOURCE"),
        (["HOST/app:1", "./missing"], "there is nothing"),
        (["HOST/app@sha256:" + "0" * 64, "HOST/app:x"], "a push cannot choose the digest"),
        (["HOST/app:1", "Not A Reference"], "invalid"),
        (["HOST/app:1", "HOST/app:x", "--annotation", "word"], "it must be KEY=VALUE"),
    ],
)
def test_request_that_means_nothing_is_refused(
    bench: Workbench, registry: Registry, words: list[str], message: str
) -> None:
    done = create(bench, *(word.replace("HOST", registry.host) for word in words))

    assert done.exit_code == 2, done.said
    assert message in done.stderr
    assert not registry.has("app", "1")


async def test_library_makes_the_same_index(tmp_path: Path, registry: Registry) -> None:
    sources = [AMD64.push(registry, "app", "a"), ARM64.push(registry, "app", "b")]
    settings = Settings(state_dir=tmp_path / "state", registry=RegistryOptions())

    made = await create_index([f"{registry.host}/app:1"], sources, settings=settings)

    status, content, _ = registry.call("GET", "/v2/app/manifests/1", Accept=INDEX)
    assert (status, json.loads(content)) == (200, expected())
    assert made.digest == digest(content)


async def test_copy_in_chunks_that_is_interrupted_arrives_whole(
    tmp_path: Path, registry: Registry, other: Registry
) -> None:
    layer = noise(300_000)
    image = Image.of_tars([layer], compressed=[layer])
    image.push(other, "made")
    # The target has the config: all chunks sent are the layer's, so the third of them is lost.
    (config,) = image.blobs.keys() - set(image.layers)
    registry.put_blob("app", config, image.blobs[config])
    lost = Rule("PATCH .*/uploads/", LoseAnswer(), 1, 2)
    proxy, elsewhere = FaultProxy(registry.host, lost), FaultProxy(other.host)
    options = RegistryOptions(chunk_size=65536)
    settings = Settings(state_dir=tmp_path / "state", registry=options)

    async with proxy.serve() as host, elsewhere.serve() as far:
        source = f"{far}/made@{image.digest}"
        made = await create_index([f"{host}/app:1"], [source], settings=settings)

    assert proxy.played == [lost]
    assert registry.blob("app", digest(layer)) == layer
    assert registry.manifest("app", made.digest)["manifests"][0]["digest"] == image.digest
    pulled = elsewhere.seen(f"GET .*/blobs/{digest(layer)}")
    # Each chunk is read from where it begins, and the first again, as the session was gone.
    starts = [0, 65536, 131072, 0, 65536, 131072, 196608, 262144]
    assert [each.headers.get("range") for each in pulled] == [
        f"bytes={start}-" if start else None for start in starts
    ]
