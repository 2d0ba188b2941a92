"""The support code is trusted by every other test, so it has tests of its own."""

from pathlib import Path

from tests.support.busybox import make_busybox
from tests.support.images import Entry, Image, directory, read_layout, symlink
from tests.support.registry import Registry, make_certificates, run_registry


def test_requests_since_a_mark_are_in_the_log(registry: Registry) -> None:
    registry.call("GET", "/v2/")
    mark = registry.mark()

    registry.call("HEAD", "/v2/library/none/manifests/latest")

    assert [(r.method, r.path, r.status) for r in registry.requests(mark)] == [
        ("HEAD", "/v2/library/none/manifests/latest", 404)
    ]


def test_pushed_image_is_read_back(registry: Registry) -> None:
    image = Image.of({"etc/": directory(), "etc/name": "x"}, User="app")

    image.push(registry, "team/app", "1")

    manifest = registry.manifest("team/app", "1")
    assert [layer["digest"] for layer in manifest["layers"]] == image.layers
    assert b'"User": "app"' in registry.blob("team/app", manifest["config"]["digest"])


def test_registry_with_users_refuses_strangers(tmp_path: Path) -> None:
    with run_registry(tmp_path / "r", users={"ann": "secret"}) as registry:
        assert registry.call("GET", "/v2/")[0] == 401
        registry.headers = {"Authorization": "Basic YW5uOnNlY3JldA=="}
        assert registry.call("GET", "/v2/")[0] == 200


def test_registry_over_tls_is_trusted_by_its_authority_only(tls_registry: Registry) -> None:
    assert tls_registry.url.startswith("https://")
    assert tls_registry.call("GET", "/v2/")[0] == 200


def test_mirror_serves_what_its_origin_has(registry: Registry, tmp_path: Path) -> None:
    image = Image.of({"a": "b"})
    image.push(registry, "library/a")

    with run_registry(tmp_path / "mirror", mirror_of=registry.url) as mirror:
        assert mirror.has("library/a", "latest")
        assert mirror.blob("library/a", image.layers[0]) == image.blobs[image.layers[0]]


def test_certificates_are_files(tmp_path: Path) -> None:
    files = make_certificates(tmp_path / "c", "registry.example")

    assert b"BEGIN CERTIFICATE" in files.authority.read_bytes()
    assert b"PRIVATE KEY" in files.key.read_bytes()


def test_layout_is_read_back_flattened(tmp_path: Path) -> None:
    capability = b"\x01\0\0\x02\0 \0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    image = Image.of(
        {
            "bin/": directory(),
            "bin/tool": Entry(
                content=b"x", mode=0o4755, gid=8, xattrs={"security.capability": capability}
            ),
            "gone/": directory(),
            "gone/a": "a",
            "emptied/": directory(),
            "emptied/b": "b",
        },
        {"bin/t": symlink("tool"), ".wh.gone": b"", "emptied/.wh..wh..opq": b"", "emptied/c": "c"},
    )

    read = read_layout(image.write_layout(tmp_path / "layout"))

    assert read.digest == image.digest
    assert sorted(read.tree) == ["bin", "bin/t", "bin/tool", "emptied", "emptied/c"]
    tool = read.tree["bin/tool"]
    assert (tool.permissions, tool.gid) == ("-rwsr-xr-x", 8)
    assert tool.xattrs == {"security.capability": capability}
    assert read.tree["bin/t"].target == "tool"


def test_busybox_applets_are_the_same_file(tmp_path: Path) -> None:
    tree = read_layout(make_busybox().write_layout(tmp_path / "layout")).tree

    assert tree["bin/sh"] == tree["bin/busybox"]
    assert tree["bin/sh"].permissions == "-rwxr-xr-x"


def test_debian_keeps_owners_and_setuid_files(debian_image: Image, tmp_path: Path) -> None:
    image = read_layout(debian_image.write_layout(tmp_path / "layout"))

    tree = image.tree
    assert len(image.layers) == 3
    assert tree["usr/bin/su"].permissions == "-rwsr-xr-x"
    assert tree["etc/shadow"].gid == 42
    assert tree["usr/bin/perlbug"].content == tree["usr/bin/perlthanks"].content
    assert "usr/share/doc/libc6/copyright" not in tree
