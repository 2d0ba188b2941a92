"""`asynckaniko push`: images made by this and by other programs arrive as they are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import Finished, Workbench
from tests.support.images import digest
from tests.support.registry import Registry, run_registry


@pytest.fixture
def built(bench: Workbench) -> Workbench:
    """A workbench with an image of one layer in its layout directory and in `image.tar`."""
    bench.write("FROM scratch\nCOPY a /a\nLABEL made=here\n", {"a": "a" * 10_000})
    outputs = ("--oci-layout-path", bench.layout, "--tar-path", bench.directory / "image.tar")
    done = bench.run(bench.command(*map(str, outputs)))
    assert done.exit_code == 0, done.said
    return bench


def push(bench: Workbench, path: Path, *arguments: str) -> Finished:
    return bench.run([sys.executable, "-m", "asynckaniko", "push", str(path), *arguments])


def layout_digest(layout: Path) -> str:
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    return str(entry["digest"])


def test_layout_arrives_with_its_digest_under_every_name(
    built: Workbench, registry: Registry
) -> None:
    names = [f"{registry.host}/t/a:1", f"{registry.host}/t/a:2", f"{registry.host}/t/b:1"]
    files = {name: built.directory / name for name in ("digest", "names", "tags")}

    done = push(
        built,
        built.layout,
        *(f"--destination={name}" for name in names),
        f"--digest-file={files['digest']}",
        f"--image-name-with-digest-file={files['names']}",
        f"--image-name-tag-with-digest-file={files['tags']}",
    )

    image = layout_digest(built.layout)
    assert done.exit_code == 0, done.said
    assert done.stdout.splitlines() == [image, *names]
    accept = "application/vnd.oci.image.manifest.v1+json"
    status, body, _ = registry.call("GET", f"/v2/t/a/manifests/{image}", Accept=accept)
    assert status == 200
    assert digest(body) == image
    assert registry.manifest("t/a", "2") == registry.manifest("t/b", "1")
    assert files["digest"].read_text() == image
    assert files["tags"].read_text() == "".join(f"{name}@{image}\n" for name in names)
    assert files["names"].read_text().splitlines()[0] == f"{registry.host}/t/a@{image}"


def test_docker_archive_arrives_with_its_config(built: Workbench, registry: Registry) -> None:
    done = push(built, built.directory / "image.tar", "-d", f"{registry.host}/t/a:1")

    assert done.exit_code == 0, done.said
    manifest = registry.manifest("t/a", "1")
    config = json.loads(registry.blob("t/a", manifest["config"]["digest"]))
    assert config["config"]["Labels"] == {"made": "here"}
    assert done.stdout.splitlines()[1] == f"{registry.host}/t/a:1"


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_archive_of_skopeo_can_be_pushed(built: Workbench, registry: Registry, form: str) -> None:
    archive = built.directory / "skopeo.tar"
    source, target = f"oci:{built.layout}", f"{form}:{archive}:t/a:1"
    subprocess.run(["skopeo", "copy", "-q", source, target], check=True, capture_output=True)

    done = push(built, archive, "-d", f"{registry.host}/t/a:1")

    assert done.exit_code == 0, done.said
    subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", f"docker://{registry.host}/t/a:1"],
        check=True,
        capture_output=True,
    )
    if form == "oci-archive":
        assert done.stdout.splitlines()[0] == layout_digest(built.layout)


def test_second_push_uploads_no_blob(built: Workbench, registry: Registry) -> None:
    push(built, built.layout, "-d", f"{registry.host}/t/a:1")
    before = registry.mark()

    push(built, built.layout, "-d", f"{registry.host}/t/a:2")

    sent = [each for each in registry.requests(before) if each.method in {"PATCH", "PUT"}]
    assert [each.path for each in sent] == ["/v2/t/a/manifests/2"]


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("nowhere", 2, "there is nothing to push at"),
        ("context", 2, "is not an OCI image layout"),
        ("noise", 5, "tar"),
        ("empty.tar", 2, "is no archive of an image"),
    ],
)
def test_what_is_no_image_is_refused_and_nothing_is_sent(
    bench: Workbench, registry: Registry, name: str, code: int, message: str
) -> None:
    (bench.directory / "noise").write_bytes(b"noise " * 1000)
    (bench.directory / "empty.tar").write_bytes(bytes(10240))
    before = registry.mark()

    done = push(bench, bench.directory / name, "-d", f"{registry.host}/t/a:1")

    assert done.exit_code == code, done.said
    assert message in done.stderr
    assert done.stdout == ""
    assert registry.requests(before) == []


def test_missing_blob_is_found_before_anything_is_sent(
    built: Workbench, registry: Registry
) -> None:
    manifest = json.loads(
        (built.layout / "blobs" / layout_digest(built.layout).replace(":", "/")).read_text()
    )
    (built.layout / "blobs" / manifest["layers"][0]["digest"].replace(":", "/")).unlink()
    before = registry.mark()

    done = push(built, built.layout, "-d", f"{registry.host}/t/a:1")

    assert done.exit_code == 2
    assert "is missing" in done.stderr
    assert registry.requests(before) == []


def test_push_asks_for_permission_before_anything_is_sent(
    built: Workbench, registry: Registry
) -> None:
    push(built, built.layout, "-d", f"{registry.host}/t/a:1")
    asked = [(each.method, each.path.partition("/uploads/")[0]) for each in registry.requests()]
    since = registry.mark()
    push(built, built.layout, "-d", f"{registry.host}/t/b:1", "--skip-push-permission-check")
    skipped = [(each.method, each.path) for each in registry.requests(since)]

    begun = [request for request in asked if request[1].endswith("/blobs")]
    assert begun[:2] == [("POST", "/v2/t/a/blobs"), ("DELETE", "/v2/t/a/blobs")]
    assert "DELETE" not in [method for method, _ in skipped]
    assert skipped.count(("POST", "/v2/t/b/blobs/uploads/")) == 2  # a layer and the config


def test_push_that_is_refused_sends_nothing(built: Workbench, tmp_path: Path) -> None:
    with run_registry(tmp_path / "guarded", users={"u": "p"}) as guarded:
        done = push(built, built.layout, "-d", f"{guarded.host}/t/a:1")
        methods = {each.method for each in guarded.requests()}

    assert done.exit_code == 4
    assert "HTTP 401" in done.stderr
    assert methods == {"GET", "POST"}
