"""What travels to and from a registry, by its own access log."""

import pytest

from tests.integration.conftest import Workbench
from tests.support.registry import Registry


def test_label_and_small_copy_move_no_layer_of_the_base(
    bench: Workbench, debian: str, shared_registry: Registry
) -> None:
    bench.write(f"FROM {debian}\nLABEL a=b\nCOPY app.conf /etc/app.conf\n", {"app.conf": "x"})
    before = shared_registry.mark()

    bench.build(
        "--insecure-registry", shared_registry.host,
        "--destination", f"{shared_registry.host}/tests/small:1",
    )  # fmt: skip

    requests = shared_registry.requests(before)
    base = shared_registry.manifest("library/debian", "bookworm")
    config = base["config"]["digest"]
    downloads = [request.path for request in requests if request.is_blob_download]
    assert [path for path in downloads if not path.endswith(config)] == []
    assert list((bench.state / "rootfs").iterdir()) == []
    layers = shared_registry.manifest("tests/small", "1")["layers"]
    assert layers[:-1] == base["layers"]
    assert len(layers) == len(base["layers"]) + 1


def test_second_push_uploads_nothing(bench: Workbench, registry: Registry) -> None:
    bench.write("FROM scratch\nCOPY a /a\n", {"a": "a"})
    push = ("--insecure-registry", registry.host, "--destination", f"{registry.host}/t/a:1")
    bench.build(*push, "--reproducible")
    before = registry.mark()

    bench.build(*push, "--reproducible")

    # A POST alone asks whether pushing is allowed.
    sent = [request for request in registry.requests(before) if request.method in {"PATCH", "PUT"}]
    assert [request.path for request in sent] == ["/v2/t/a/manifests/1"]


def test_right_to_push_is_not_asked_for_where_that_is_skipped(
    bench: Workbench, registry: Registry
) -> None:
    bench.write("FROM scratch\nCOPY a /a\n", {"a": "a"})
    push = ("--insecure-registry", registry.host, "--destination", f"{registry.host}/t/a:1")
    bench.build(*push, "--reproducible")

    asked = registry.mark()
    bench.build(*push, "--reproducible")
    skipped = registry.mark()
    bench.build(*push, "--reproducible", "--skip-push-permission-check")

    def uploads(mark: int) -> int:
        return sum(request.method == "POST" for request in registry.requests(mark))

    # Everything is there already: only the question begins an upload.
    assert uploads(skipped) == 0
    assert uploads(asked) == 1


def test_layers_are_sent_in_requests_of_the_size_that_is_asked_for(
    bench: Workbench, registry: Registry
) -> None:
    bench.write("FROM scratch\nCOPY a /a\n", {"a": "a" * 3_000_000})
    before = registry.mark()

    bench.build(
        "--insecure-registry", registry.host, "--destination", f"{registry.host}/t/a:1",
        "--compression=none", "--push-chunk-size=1MiB",
    )  # fmt: skip

    (layer,) = registry.manifest("t/a", "1")["layers"]
    sent = [request for request in registry.requests(before) if request.method == "PATCH"]
    assert len(sent) >= layer["size"] // (1 << 20)
    assert len(registry.blob("t/a", layer["digest"])) == layer["size"]


def test_image_goes_to_every_destination(
    bench: Workbench, registry: Registry, shared_registry: Registry
) -> None:
    bench.write("FROM scratch\nCOPY a /a\n", {"a": "a"})
    hosts = (registry.host, shared_registry.host)

    bench.build(
        *(f"--insecure-registry={host}" for host in hosts),
        f"--destination={hosts[0]}/t/one:1",
        f"--destination={hosts[0]}/t/one:2",
        f"--destination={hosts[1]}/t/two:3",
    )

    assert registry.manifest("t/one", "1") == registry.manifest("t/one", "2")
    assert shared_registry.manifest("t/two", "3") == registry.manifest("t/one", "1")


def test_base_from_another_registry_is_streamed_across(
    bench: Workbench, busybox: str, shared_registry: Registry, registry: Registry
) -> None:
    bench.write(f"FROM {busybox}\nLABEL a=b\n")

    bench.build(
        "--insecure-registry", shared_registry.host, "--insecure-registry", registry.host,
        "--destination", f"{registry.host}/t/b:1",
    )  # fmt: skip

    layers = registry.manifest("t/b", "1")["layers"]
    assert layers == shared_registry.manifest("library/busybox", "latest")["layers"]
    for layer in layers:
        assert len(registry.blob("t/b", layer["digest"])) == layer["size"]


@pytest.mark.parametrize("flag", ["--insecure-registry={}", "--insecure"])
def test_push_over_plain_http_needs_a_flag(bench: Workbench, registry: Registry, flag: str) -> None:
    bench.write("FROM scratch\nCOPY a /a\n", {"a": "a"})

    bench.build(flag.format(registry.host), "--destination", f"{registry.host}/t/a:1")

    assert registry.has("t/a", "1")


def test_registry_over_tls_is_trusted_with_its_certificate_only(
    bench: Workbench, tls_registry: Registry
) -> None:
    bench.write("FROM scratch\nCOPY a /a\n", {"a": "a"})
    push = ("--destination", f"{tls_registry.host}/t/a:1")
    authority = tls_registry.log.parents[1] / "certificates/authority.pem"

    refused = bench.run(bench.command(*push))
    bench.build(*push, "--registry-certificate", f"{tls_registry.host}={authority}")

    assert refused.exit_code == 4, refused.said
    assert "certificate" in refused.stderr
    assert tls_registry.has("t/a", "1")


def test_unverified_tls_works_when_asked_for(bench: Workbench, tls_registry: Registry) -> None:
    bench.write("FROM scratch\nCOPY a /a\n", {"a": "a"})

    bench.build(
        "--skip-tls-verify-registry", tls_registry.host,
        "--destination", f"{tls_registry.host}/t/a:1",
    )  # fmt: skip

    assert tls_registry.has("t/a", "1")
