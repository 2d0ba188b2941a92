"""Entries of archives as nodes, and nodes as entries again."""

import os
from collections.abc import Mapping

from asynckaniko.rootfs.listed.index import Entry
from asynckaniko.rootfs.listed.tree import Content, Node
from asynckaniko.rootfs.tar_member import Kind
from asynckaniko.rootfs.tar_writer import BLOCK, CHARACTER, Attributes, TarWriter


def node_of(entry: Entry, data: int, xattrs: Mapping[str, bytes]) -> Node:
    """Make a node of an entry that is no hard link; contents of files are in the file `data`."""
    member = entry.member
    node = Node(
        member.kind, member.mode, member.uid, member.gid, member.mtime_ns, xattrs=dict(xattrs)
    )
    match member.kind:
        case Kind.FILE:
            node.content = Content(data, entry.offset, member.size)
        case Kind.SYMLINK:
            node.target = member.link
        case Kind.CHARACTER_DEVICE | Kind.BLOCK_DEVICE:
            node.device = os.makedev(*member.device)
    return node


def write_node(tar: TarWriter, path: bytes, node: Node, links: dict[int, bytes]) -> None:
    """Write a node under a name; `links` has the first names of those that were written.

    Raises OSError.
    """
    attributes = Attributes(node.mode, node.uid, node.gid, node.mtime_ns)
    if not node.is_directory:
        first = links.setdefault(node.number, path)
        if first is not path:
            tar.hard_link(path, attributes, first)
            return
    match node.kind:
        case Kind.DIRECTORY:
            tar.directory(path, attributes, node.xattrs)
        case Kind.SYMLINK:
            tar.symlink(path, attributes, node.target)
        case Kind.FIFO:
            tar.fifo(path, attributes)
        case Kind.CHARACTER_DEVICE | Kind.BLOCK_DEVICE:
            kind = CHARACTER if node.kind is Kind.CHARACTER_DEVICE else BLOCK
            tar.device(kind, path, attributes, node.device)
        case _:
            assert node.content is not None, "a file has content"
            tar.file(path, attributes, node.content.size, node.xattrs)
            tar.content_pieces(node.content.pieces())
