"""Compress a layer anew; what is in it stays, byte for byte."""

from collections.abc import Mapping, Sequence
from typing import Any

from asynckaniko.errors import ArchiveError
from asynckaniko.rootfs.layer_sink import LayerSink
from asynckaniko.rootfs.layer_stream import LayerStream


def recompress(arguments: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """Read the blob fds[0] and write its content to the file fds[1] with another compression.

    The blob's `size` and `digest`, and the content's `diff_id`, are verified; `limit` is the most
    bytes of content. The result is that of a packing job.

    Raises:
        IntegrityError: other bytes than those that were asked for.
        ArchiveError: the right bytes, but damaged or over the limit.
    """
    digest, limit = arguments["digest"], arguments["limit"]
    stream = LayerStream(fds[0], digest=digest, size=arguments["size"])
    with (
        stream,
        LayerSink(fds[1], compression=arguments["compression"], level=arguments["level"]) as sink,
    ):
        try:
            while (piece := stream.read_chunk()) and stream.uncompressed_size <= limit:
                sink.write(piece)
        except ArchiveError as error:
            # Damaged bytes are worth saying before what they look like.
            stream.verify_blob()
            raise ArchiveError(f"layer {digest}: {error}") from error
        if piece:
            raise ArchiveError(f"layer {digest}: it has more than {limit} bytes uncompressed")
        stream.verify_blob()
        stream.verify_content(arguments["diff_id"])
        return sink.finish() | {"entries": 0}
