"""A mirror that sends other bytes costs a warning and a second download, not the build."""

from pathlib import Path

from asynckaniko import Builder, BuildRequest, OciLayout, RegistryOptions, Settings
from asynckaniko.events import BuildWarning, Event
from tests.support.images import Image, read_layout
from tests.support.registry import Registry, run_registry


def damage(registry: Registry, digest: str) -> None:
    name = digest.partition(":")[2]
    blobs = registry.log.parent / "data" / "docker" / "registry" / "v2" / "blobs" / "sha256"
    file = blobs / name[:2] / name / "data"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


async def test_layer_a_mirror_altered_is_taken_from_the_registry(
    registry: Registry, tmp_path: Path
) -> None:
    image = Image.of({"a": "content"})
    reference = image.push(registry, "library/base")
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM scratch\nCOPY --from={reference} /a /b\n")
    events: list[Event] = []
    with run_registry(tmp_path / "mirror") as mirror:
        image.push(mirror, "library/base")
        damage(mirror, image.layers[0])
        options = RegistryOptions(mirrors={registry.host: (f"http://{mirror.host}",)})
        settings = Settings(state_dir=tmp_path / "state", registry=options)
        request = BuildRequest(context=str(context), outputs=(OciLayout(path=tmp_path / "out"),))

        async with Builder(settings) as builder:
            await builder.build(request, on_event=events.append)

        asked = [r.path for r in mirror.requests() if r.is_blob_download]

    assert read_layout(tmp_path / "out").tree["b"].content == b"content"
    assert any(path.endswith(image.layers[0]) for path in asked)
    warnings = [event.message for event in events if isinstance(event, BuildWarning)]
    assert any("the registry is asked" in text for text in warnings)
