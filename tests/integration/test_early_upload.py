"""Large layers travel while they are being packed: builds, by the registry's log and files."""

import random
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
from anyio import create_task_group, to_thread

from asynckaniko import Builder, BuildRequest, OciLayout, Settings
from asynckaniko.build.request import Cache, DockerArchive, Push
from asynckaniko.settings import IsolationOptions, RegistryOptions
from asynckaniko.store.blobs import INGEST
from tests.integration.conftest import Workbench
from tests.integration.registry.servers import Answer, CutRequest, FaultProxy, Refuse, Rule
from tests.support.images import digest
from tests.support.registry import Registry
from tests.support.waiting import wait_until

EARLY_SIZE = 64 << 10
"""Far less than the layers here have, so that packing goes on for long after it."""
CONTENT_SIZE = 48 << 20
LEVEL = 9
"""The slowest."""
COPY = "COPY data /data"
RUN = "RUN --mount=type=bind,target=/context cp /context/data /data"


@pytest.fixture(scope="module")
def data() -> str:
    """Return text that compresses to a half."""
    return random.Random(1).randbytes(CONTENT_SIZE // 2).hex()


def settings(
    bench: Workbench, registry: Registry, mode: str = "auto", *, others: Sequence[str] = ()
) -> Settings:
    options = RegistryOptions(
        insecure_registries=frozenset({registry.host, *others}),
        early_size=EARLY_SIZE,
        ignore_immutable_tags=True,
    )
    isolation = IsolationOptions(mode=mode)
    return Settings(state_dir=bench.state, registry=options, isolation=isolation)


def writes(registry: Registry, since: int = 0) -> list[str]:
    """List the requests that bring bytes of blobs."""
    requests = registry.requests(since)
    return [r.method for r in requests if r.method in {"PATCH", "PUT"} and "/blobs/" in r.path]


@pytest.mark.parametrize(
    ("step", "mode", "options"),
    [
        (COPY, "auto", {}),
        (COPY, "none", {}),
        (RUN, "auto", {}),
        (RUN, "chroot", {}),
        (RUN, "auto", {"single_snapshot": True}),
        (COPY, "auto", {"compression": "zstd"}),
    ],
)
async def test_large_layer_is_uploaded_once_by_one_patch(
    bench: Workbench,
    busybox_layout: Path,
    registry: Registry,
    data: str,
    step: str,
    mode: str,
    options: dict[str, object],
) -> None:
    bench.write(f"FROM busybox\n{step}\n", {"data": data})
    asked = {"compression_level": LEVEL} | options
    request = BuildRequest(
        context=str(bench.context),
        build_contexts={"busybox": f"oci-layout://{busybox_layout}"},
        outputs=(Push(reference=f"{registry.host}/t/a:1"),),
        **asked,  # type: ignore[arg-type]
    )

    async with Builder(settings(bench, registry, mode)) as builder:
        await builder.build(request)

    layers = registry.manifest("t/a", "1")["layers"]
    # Each layer and the config have a PUT; the PATCH is that of the layer that was being packed.
    sent = writes(registry)
    assert sent.count("PATCH") == 1
    assert sent.count("PUT") == len(layers) + 1
    new = layers[-1]
    assert digest(registry.blob("t/a", new["digest"])) == new["digest"]
    assert new["size"] > EARLY_SIZE
    assert registry.received() == 0


PATCH, POST = "PATCH .*/blobs/uploads/", "POST .*/blobs/uploads/"
IMMUTABLE = b'{"errors": [{"code": "TAG_INVALID", "message": "the tag is immutable"}]}'


@pytest.mark.parametrize(
    ("rule", "is_tagged"),
    [
        (Rule(POST, Refuse(Answer(403))), True),
        (Rule(PATCH, Refuse(Answer(405))), True),
        (Rule(PATCH, Refuse(Answer(413), early=True)), True),
        (Rule(PATCH, CutRequest(EARLY_SIZE)), True),
        (Rule("PUT .*/manifests/1", Refuse(Answer(400, body=IMMUTABLE))), False),
    ],
)
async def test_build_goes_on_when_its_early_upload_fails(
    bench: Workbench, registry: Registry, data: str, rule: Rule, is_tagged: bool
) -> None:
    """One destination has the fault, the other one none."""
    bench.write(f"FROM scratch\n{COPY}\n", {"data": data})
    proxy = FaultProxy(registry.host, rule)

    async with proxy.serve() as faulty:
        request = BuildRequest(
            context=str(bench.context),
            compression_level=LEVEL,
            check_push=False,
            outputs=(
                Push(reference=f"{faulty}/t/a:1"),
                Push(reference=f"{registry.host}/t/b:1"),
            ),
        )
        async with Builder(settings(bench, registry, others=[faulty])) as builder:
            result = await builder.build(request)

    assert proxy.played == [rule]
    assert registry.has("t/a", "1") == is_tagged
    for name in ("t/a", "t/b")[0 if is_tagged else 1 :]:
        assert registry.manifest(name, "1") == orjson.loads(result.manifest.content)
    (layer,) = result.manifest.layers
    for name in ("t/a", "t/b"):
        assert digest(registry.blob(name, layer.digest)) == layer.digest


async def test_each_repository_gets_the_layer_once(
    bench: Workbench, registry: Registry, data: str
) -> None:
    bench.write(f"FROM scratch\n{COPY}\n", {"data": data})
    names = ("t/a", "t/b")
    request = BuildRequest(
        context=str(bench.context),
        compression_level=LEVEL,
        outputs=tuple(Push(reference=f"{registry.host}/{name}:1") for name in names),
    )

    async with Builder(settings(bench, registry)) as builder:
        await builder.build(request)

    assert sorted(writes(registry)) == ["PATCH"] * 2 + ["PUT"] * 4
    for name in names:
        (layer,) = registry.manifest(name, "1")["layers"]
        assert digest(registry.blob(name, layer["digest"])) == layer["digest"]


async def test_layer_out_of_the_cache_is_not_sent_early(
    bench: Workbench, registry: Registry, data: str
) -> None:
    bench.write(f"FROM scratch\n{COPY}\n", {"data": data})

    def request(name: str) -> BuildRequest:
        return BuildRequest(
            context=str(bench.context),
            compression_level=LEVEL,
            cache=Cache(copy_layers=True),
            outputs=(Push(reference=f"{registry.host}/{name}:1"),),
        )

    async with Builder(settings(bench, registry)) as builder:
        await builder.build(request("t/a"))
        assert "PATCH" in writes(registry)
        before = registry.mark()

        await builder.build(request("t/b"))

    assert writes(registry, before) == ["PUT", "PUT"]
    assert registry.manifest("t/b", "1")["layers"] == registry.manifest("t/a", "1")["layers"]


@pytest.mark.parametrize("kind", ["nothing", "layout", "archive"])
async def test_nothing_travels_where_nothing_is_pushed(
    bench: Workbench, registry: Registry, data: str, kind: str
) -> None:
    bench.write(f"FROM scratch\n{COPY}\n", {"data": data})
    outputs: dict[str, Sequence[OciLayout | DockerArchive]] = {
        "nothing": (),
        "layout": (OciLayout(path=bench.layout),),
        "archive": (DockerArchive(path=bench.directory / "image.tar"),),
    }
    # The cache is in the registry, so that the build does talk to it.
    request = BuildRequest(
        context=str(bench.context),
        compression_level=LEVEL,
        cache=Cache(repository=f"{registry.host}/t/cache", copy_layers=True, write=False),
        outputs=tuple(outputs[kind]),
    )

    async with Builder(settings(bench, registry)) as builder:
        await builder.build(request)

    assert registry.requests() != []
    assert writes(registry) == []


async def test_build_that_is_left_during_the_upload_ends_it(
    bench: Workbench, registry: Registry, data: str
) -> None:
    # Much more to pack than there is time for.
    bench.write("FROM scratch\nCOPY data* /\n", {f"data{number}": data for number in range(8)})
    request = BuildRequest(
        context=str(bench.context),
        compression_level=LEVEL,
        outputs=(Push(reference=f"{registry.host}/t/a:1"),),
    )

    async with Builder(settings(bench, registry)) as builder, create_task_group() as tasks:
        tasks.start_soon(builder.build, request)
        await to_thread.run_sync(wait_until, lambda: registry.received(), "nothing arrives")
        tasks.cancel_scope.cancel()

    assert "PATCH" in writes(registry)
    assert "PUT" not in writes(registry)
    assert "DELETE" in [r.method for r in registry.requests()]
    assert registry.received() == 0
    assert list(bench.state.glob(f"**/{INGEST}*")) == []
