"""Recompression: layers of a base get the compression of new ones (--force-compression)."""

from asynckaniko.build.base_layers import LayerBlob
from asynckaniko.build.context import BuildRun
from asynckaniko.build.layers import ImageLayer, PendingLayer
from asynckaniko.build.sources import BaseLayer
from asynckaniko.oci import media_types
from asynckaniko.oci.digest import Digest
from asynckaniko.records import dataclass

_JOB = "asynckaniko.rootfs.recompress:recompress"


@dataclass(slots=True)
class RecompressedLayer(PendingLayer):
    """A layer of a base that is being compressed anew."""


class Recompression:
    """Compresses the layers of one image anew, each once, in the background."""

    def __init__(self, run: BuildRun) -> None:
        self._run = run
        self._layers: dict[Digest, RecompressedLayer] = {}

    def of(self, layer: ImageLayer) -> ImageLayer | RecompressedLayer:
        """Return what stands for the layer in the image: itself, unless it has to be changed.

        A layer of the right compression stays, whatever its level: that cannot be read off it.
        """
        if not self._run.request.force_compression or not isinstance(layer, BaseLayer):
            return layer
        kind, files = layer.descriptor.media_type, self._run.layer_files
        if media_types.is_foreign(kind) or media_types.to_oci(kind) == files.media_type:
            return layer
        digest = layer.descriptor.digest
        if digest not in self._layers:
            self._layers[digest] = RecompressedLayer()
            self._run.tasks.start_soon(self._compress, layer, self._layers[digest])
        return self._layers[digest]

    async def _compress(self, layer: BaseLayer, place: RecompressedLayer) -> None:
        run = self._run
        path = await LayerBlob(layer, run.base_layers, run.emit).path()
        ingest = run.layer_files.new()
        place.begin(run.layer_files.growing(ingest))
        arguments = {
            "digest": layer.descriptor.digest,
            "size": layer.descriptor.size,
            "diff_id": layer.diff_id,
            "limit": run.resources.settings.limits.layer_size,
            **run.layer_files.job_arguments(),
        }
        with path.open("rb") as file:
            fds = [file.fileno(), ingest.file]
            async with run.resources.processes:
                result = await run.resources.outer.call(_JOB, arguments, fds=fds)
        ingest.seal()
        place.fill(run.layer_files.packed(ingest, result))
