"""How many layers of a base arrive at the same time, and in which order."""

import io
import random
import tarfile
from pathlib import Path

from asynckaniko import Builder, BuildRequest, OciLayout, RegistryOptions, Settings
from asynckaniko.events import Event, LayerPulled, LayerPullStarted
from asynckaniko.settings import Limits
from tests.support.images import Image
from tests.support.registry import Registry


def layer(name: str, size: int) -> bytes:
    """Make a layer of one file of noise, so that a larger one is larger when compressed."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = size
        tar.addfile(member, io.BytesIO(random.Random(1).randbytes(size)))
    return written.getvalue()


async def test_layers_come_one_by_one_if_that_is_the_limit_the_largest_first(
    registry: Registry, tmp_path: Path
) -> None:
    image = Image.of_tars([layer("a", 5000), layer("b", 100_000), layer("c", 20_000)])
    a, b, c = image.layers
    reference = image.push(registry, "library/base")
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM scratch\nCOPY --from={reference} /a /c /\n")
    events: list[Event] = []
    settings = Settings(
        state_dir=tmp_path / "state",
        registry=RegistryOptions(insecure_registries=frozenset({registry.host})),
        limits=Limits(arriving_layers=1),
    )
    request = BuildRequest(context=str(context), outputs=(OciLayout(path=tmp_path / "out"),))

    async with Builder(settings) as builder:
        await builder.build(request, on_event=events.append)

    pulls = [event for event in events if isinstance(event, LayerPullStarted | LayerPulled)]
    started = [event.digest for event in pulls if isinstance(event, LayerPullStarted)]
    assert started == [b, c, a]
    # The end of the first may be told of after the second has begun, but not after the third.
    assert b in [event.digest for event in pulls[:3] if isinstance(event, LayerPulled)]
