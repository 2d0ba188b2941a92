"""COPY and ADD: sources of a context, stage or image become the entries of an archive."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from stat import S_ISREG
from typing import Any

from asynckaniko.dockerfile.chmod import parse_chmod
from asynckaniko.dockerfile.patterns import PatternMatcher
from asynckaniko.errors import ContextError
from asynckaniko.rootfs.add_archive import ArchiveEmitter, is_archive
from asynckaniko.rootfs.copy_emit import (
    Emitter,
    Owners,
    emit_directory,
    emit_file,
    emit_given,
    open_file,
)
from asynckaniko.rootfs.copy_plan import (
    Archive,
    Destination,
    GivenFile,
    Item,
    Plan,
    item_mtime,
    plan_copy,
)
from asynckaniko.rootfs.copy_sources import PickedDirectory, PickedFile, SourceView
from asynckaniko.rootfs.destination import inherited_group
from asynckaniko.rootfs.layer_sink import (
    BothSink,
    DigestSink,
    FileSink,
    LayerSink,
    ReaderGone,
)
from asynckaniko.rootfs.paths import RootFS
from asynckaniko.rootfs.tar_writer import Attributes, TarWriter
from asynckaniko.rootfs.trees import Tree, view_tree

_SECOND = 1_000_000_000


def produce(arguments: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """Write the files to copy to fds[0], as a plain archive ("tar") or a finished layer ("layer").

    With "both", fds[0] gets the layer and fds[`stream_index`] the archive: a COPY's layer is the
    same wherever its files go besides.

    Nothing is written before all sources are found. For output "digest" nothing is written at all:
    the result has the archive's digest, and `items`, the kinds and names of what was copied.
    `needs_replace` says that archives were unpacked, which replace what is in their way; `warnings`
    are for the author.

    Raises:
        CopyFailed: a source is missing or cannot be read, or something is in the way.
        ArchiveError: an archive is damaged, or leads out of the destination.
        ContextError: the context's directory cannot be opened.
        DockerfileError: --chmod has no mode.
    """
    chmod = parse_chmod(arguments["chmod"]) if arguments.get("chmod") else None
    owner = arguments.get("owner")
    owners = Owners((owner[0], owner[1]) if owner else None, keep=arguments["keep_owner"])
    destination = Destination.read(arguments["destination"])
    patterns = arguments.get("excludes")
    excludes = PatternMatcher(list(patterns)) if patterns else None
    with ExitStack() as opened:
        tree = opened.enter_context(_open_source(arguments["source"]))
        view = SourceView(tree, arguments.get("ignore") or ())
        items = _select(view, arguments, fds, excludes)
        plan = plan_copy(items, destination)
        sink = _open_sink(arguments, fds)
        opened.enter_context(sink)
        tar = TarWriter(sink.write, clamp=arguments.get("clamp"))
        has_archives = any(isinstance(item, Archive) for item in items)
        # Archives may repeat names and link to what they replace, so only their order is right.
        later_first = len(items) > 1 and not has_archives
        emitter = Emitter(tar, owners=owners, chmod=chmod, later_first=later_first)
        result: dict[str, Any] = {"needs_replace": has_archives, "warnings": plan.warnings}
        if arguments["output"] == "digest":
            # A file and a directory with that file in it may be the same archive.
            result["items"] = [f"{type(item).__name__} {_item_name(item)}" for item in items]
        try:
            _write_parents(destination, emitter)
            _write_directories(plan, inherited_group(destination.parents), emitter)
            copier = _Copier(view, excludes, emitter, plan.warnings, is_new=not destination.exists)
            for item, place in reversed(plan.places) if later_first else plan.places:
                copier.write(item, os.fsencode(place))
            tar.finish()
            result |= sink.finish()
        except ReaderGone:
            # Whoever reads the archive has failed, and says why.
            result["complete"] = False
        return result | {"entries": tar.entries}


@contextmanager
def _open_source(source: Mapping[str, Any]) -> Iterator[Tree]:
    if "lowers" in source:
        with view_tree(source["lowers"], scratch=source.get("scratch")) as view:
            yield view
        return
    with ExitStack() as opened:
        try:
            tree = opened.enter_context(RootFS.at(source["directory"]))
        except OSError as error:
            raise ContextError(f"{source['directory']}: {error.strerror}") from error
        yield tree


def _open_sink(
    arguments: Mapping[str, Any], fds: Sequence[int]
) -> FileSink | LayerSink | BothSink | DigestSink:
    if arguments["output"] == "tar":
        return FileSink(fds[0])
    if arguments["output"] == "digest":
        return DigestSink()
    layer = LayerSink(fds[0], compression=arguments["compression"], level=arguments.get("level"))
    if arguments["output"] == "both":
        return BothSink(layer, FileSink(fds[arguments["stream_index"]]))
    return layer


def _select(
    view: SourceView,
    arguments: Mapping[str, Any],
    fds: Sequence[int],
    excludes: PatternMatcher | None,
) -> list[Item]:
    """Find all sources, in the order of the instruction; given files come last."""
    items: list[Item] = []
    unpack: bool | None = arguments.get("unpack")
    unpacks_local = arguments.get("add") if unpack is None else unpack
    for source in arguments["sources"]:
        if arguments.get("parents"):
            items += view.pick_with_parents(source)
            continue
        picked = view.pick(source, excludes=excludes)
        items += [_unpacked_if_archive(view, p) for p in picked] if unpacks_local else picked
    for given in arguments.get("files") or ():
        file = _read_given(given, fds)
        # Downloads are unpacked only on request.
        is_unpacked = unpack and file.descriptor >= 0 and is_archive(file.descriptor)
        items.append(Archive(file) if is_unpacked else file)
    return items


def _unpacked_if_archive(view: SourceView, picked: PickedFile | PickedDirectory) -> Item:
    if isinstance(picked, PickedFile) and S_ISREG(picked.status.st_mode):
        with open_file(view.tree, picked) as descriptor:
            if is_archive(descriptor):
                return Archive(picked)
    return picked


def _read_given(given: Mapping[str, Any], fds: Sequence[int]) -> GivenFile:
    mtime = time.time() if given.get("mtime") is None else given["mtime"]
    owner = (given.get("uid") or 0, given.get("gid") or 0)
    content, descriptor = b"", -1
    if (index := given.get("fd_index")) is not None:
        descriptor = fds[index]
    else:
        content = os.fsencode(given["content"])
    return GivenFile(given["name"], given["mode"], owner, int(mtime) * _SECOND, content, descriptor)


def _write_parents(destination: Destination, emitter: Emitter) -> None:
    """Write the directories above as they are.

    Runtimes that keep layers apart would else make up their owner and mode; and a directory's time
    would be that of this build, so that no two builds made the same layer.
    """
    for path, mode, uid, gid, mtime in destination.parents:
        emitter.existing_directory(os.fsencode(path), Attributes(mode, uid, gid, mtime))


def _write_directories(plan: Plan, group: int | None, emitter: Emitter) -> None:
    """Write the directories that no source stands for, with the time of the first source.

    BuildKit gives them the time of the build; with that no COPY would ever make the same layer
    twice. A --chmod is not for what is unpacked, nor for the directories that are made for it.
    """
    if not plan.new_directories:
        return
    first = plan.places[0][0]
    keeps_mode = isinstance(first, Archive)
    for path in plan.new_directories:
        emitter.implicit_directory(
            os.fsencode(path), item_mtime(first), group, keeps_mode=keeps_mode
        )


class _Copier:
    """Writes each item of the plan in its place."""

    def __init__(
        self,
        view: SourceView,
        excludes: PatternMatcher | None,
        emitter: Emitter,
        warnings: list[str],
        *,
        is_new: bool,
    ) -> None:
        """Start; what was left out is added to `warnings`."""
        self._warnings = warnings
        self._view = view
        self._excludes = excludes
        self._emitter = emitter
        self._is_new = is_new
        self._archives: ArchiveEmitter | None = None

    def write(self, item: Item, place: bytes) -> None:
        self._emitter.begin_source()
        match item:
            case PickedFile():
                emit_file(self._emitter, self._view.tree, item, place)
            case PickedDirectory():
                emit_directory(
                    self._emitter,
                    self._view,
                    item,
                    _prefix(place),
                    excludes=self._excludes,
                )
            case GivenFile():
                emit_given(self._emitter, item, place)
            case Archive():
                self._unpack(item, place)

    def _unpack(self, archive: Archive, place: bytes) -> None:
        if self._archives is None:
            self._archives = ArchiveEmitter(self._emitter, _prefix(place), is_new=self._is_new)
        file = archive.file
        if isinstance(file, GivenFile):
            name = file.name
            left_out = self._archives.emit(file.descriptor, name)
        else:
            name = file.path
            with open_file(self._view.tree, file) as descriptor:
                left_out = self._archives.emit(descriptor, name)
        if left_out:
            self._warnings.append(f'"/{name}": {left_out} device nodes were left out')


def _item_name(item: Item) -> str:
    return "" if isinstance(item, PickedDirectory) else item.name


def _prefix(place: bytes) -> bytes:
    return place + b"/" if place else b""
