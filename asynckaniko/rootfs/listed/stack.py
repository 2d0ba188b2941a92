"""Put listed layers together."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from asynckaniko.linux.memory import growing
from asynckaniko.rootfs.listed.apply import Applier
from asynckaniko.rootfs.listed.index import DATA, read_index
from asynckaniko.rootfs.listed.tree import ListedTree


@contextmanager
def open_listed(layers: Sequence[str]) -> Iterator[ListedTree]:
    """Apply `layers`, base first; contents can be read in the block. Raises OSError."""
    tree = ListedTree()
    with ExitStack() as opened:
        with growing():
            for layer in layers:
                data = os.open(os.path.join(layer, DATA), os.O_RDONLY | os.O_CLOEXEC)
                opened.callback(os.close, data)
                applier = Applier(tree, data, "layer")
                for entry in read_index(layer):
                    applier.apply(entry)
        yield tree
