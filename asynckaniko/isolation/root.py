"""Build what a command sees as `/`: the image's layers, /dev, /proc, /sys, and its mounts.

Like a container of runc with BuildKit's defaults. Two things depend on the host:

/proc   A new one shows the command's own processes only. Where parts of the host's are masked, as
        in every ordinary Pod, the kernel allows no new one; then the host's (the Pod's) is bound.
        Process numbers in it are those of the Pod: `ps` and `top` do not find themselves. The
        command sees that the executor exists, and its command line; environment, memory, root
        and descriptors stay closed, since ns-root has no rights over processes outside.
/sys    A new one comes with a network namespace of one's own; else the host's is bound.
"""

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from asynckaniko.errors import HostError
from asynckaniko.isolation import mounts
from asynckaniko.isolation.mounts import Bench, Prepared
from asynckaniko.isolation.stub_layer import StubLayer, copy_metadata
from asynckaniko.linux import owners, syscalls
from asynckaniko.linux.overlay import MOST_LOWERS, mount_overlay
from asynckaniko.records import dataclass

_NODES = ("null", "zero", "full", "random", "urandom", "tty")
_DEV_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_QUIET = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
_TTY_GROUP = 5
APT_SETTING = ("APT_CONFIG", "/dev/asynckaniko-apt.conf")
"""The variable in which apt looks for a file of settings, and ours, where there is one id."""
_APT_CONFIG = b"""\
// apt becomes _apt to download. Here it stays root, and must not look whether it has.
APT::Sandbox::Verify::IDs "false";
"""
SHM_SIZE = 64 << 20

# What runc protects. Files there are owned by the host's root: with the swap map they are out
# of reach anyway, with a map that backs ns-root by the host's root they are not.
_READ_ONLY_IN_PROC = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_MASKED_IN_PROC = ("acpi", "asound", "kcore", "keys", "latency_stats", "timer_list", "scsi")


@dataclass(frozen=True, slots=True)
class Layers:
    """Directories of an overlay: the image's, base first, and where changes go."""

    lowers: Sequence[str]
    upper: str
    work: str


def assemble(
    layers: Layers,
    *,
    files: Mapping[str, str],
    attached: Sequence[Prepared],
    own_network: bool,
    bench: Bench,
    shm_size: int = SHM_SIZE,
) -> tuple[str, list[str]]:
    """Mount it all; return the root's path and the mount points that exist only for this step.

    `files` are contents to show in the place of the image's own files, as /etc/hosts. Raises
    StepFailed where the image has something in the way of a mount.
    """
    system = [Prepared(name, None) for name in ("dev", "proc", "sys")]
    contents = [_content(bench, index, *item) for index, item in enumerate(files.items())]
    wanted = [*system, *contents, *attached]
    below = _mount_below(layers.lowers, bench)
    try:
        stubs = StubLayer(below, bench.directory("stubs"))
        places = _require_all(stubs, wanted)
        stack = [*layers.lowers, *([f"{bench.memory}/stubs"] if stubs.finish() else [])]
        if layers.lowers:
            copy_metadata(below, layers.upper)
    finally:
        os.close(below)
    root = bench.directory("root")
    # A build that is cut short starts over; what it wrote need not survive the machine.
    mount_overlay(
        stack, root, upper=layers.upper, work=layers.work, volatile=True, scratch=bench.memory
    )
    _mount_dev(f"{root}/{places[0]}", shm_size)
    _mount_proc(f"{root}/{places[1]}")
    _mount_sys(f"{root}/{places[2]}", own_network=own_network)
    _attach_all(root, wanted[3:], places[3:])
    return root, stubs.stubs


def enter(root: str) -> None:
    """Make `root` this mount namespace's only file system."""
    os.chdir(root)
    try:
        syscalls.pivot_root(".", ".")
    except OSError as error:
        # Seccomp profiles of container runtimes know no pivot_root. Moved onto `/`, the new
        # root cannot be left either: `..` leads from the old one back to what covers it.
        if error.errno not in {errno.EPERM, errno.ENOSYS}:
            raise
        syscalls.mount(".", "/", None, syscalls.MS_MOVE)
        os.chroot(".")
    else:
        syscalls.umount(".", syscalls.MNT_DETACH)
    os.chdir("/")


def _content(bench: Bench, index: int, target: str, text: str) -> Prepared:
    path = f"{bench.memory}/file{index}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(descriptor, text.encode())
    os.close(descriptor)
    return Prepared(target.strip("/"), path, is_directory=False, read_only=True)


def _mount_below(lowers: Sequence[str], bench: Bench) -> int:
    """Open the image's tree as it is without the step."""
    if len(lowers) >= MOST_LOWERS:
        raise HostError(
            f"the image has {len(lowers)} layers; the kernel mounts {MOST_LOWERS - 1} at most"
        )
    if len(lowers) == 1:
        place = lowers[0]
    else:
        place = bench.directory("below")
        if lowers:
            mount_overlay(lowers, place, scratch=bench.memory)
    return os.open(place, os.O_RDONLY | os.O_DIRECTORY)


def _require_all(stubs: StubLayer, wanted: Sequence[Prepared]) -> list[str | None]:
    """Return where in the image each mount goes; None for those that go inside another mount."""
    places: list[str | None] = []
    for mount in wanted:
        inside = any(_is_inside(mount.target, place) for place in places if place)
        places.append(
            None if inside else stubs.require(mount.target, is_directory=mount.is_directory)
        )
    return places


def _is_inside(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory}/")


def _attach_all(root: str, wanted: Sequence[Prepared], places: Sequence[str | None]) -> None:
    top = os.open(root, os.O_PATH | os.O_DIRECTORY)
    for mount, place in zip(wanted, places, strict=True):
        mounts.attach(mount, f"{root}/{place}" if place else _make_inside(top, mount))
    for mount, place in zip(wanted, places, strict=True):
        # A descriptor of the mount point would not show what is mounted on it now.
        mounts.seal(mount, f"{root}/{place}" if place else _find(top, mount.target))
    os.close(top)


def _make_inside(root: int, mount: Prepared) -> str:
    """Make the mount point of a mount that goes inside another one, and return it."""
    names = mount.target.split("/")
    for depth in range(1, len(names)):
        _make(root, "/".join(names[:depth]), is_directory=True)
    _make(root, mount.target, is_directory=mount.is_directory)
    return _find(root, mount.target)


def _find(root: int, path: str) -> str:
    return f"/proc/self/fd/{syscalls.openat2(root, path, os.O_PATH)}"


def _make(root: int, path: str, *, is_directory: bool) -> None:
    parent, _, name = path.rpartition("/")
    try:
        os.close(syscalls.openat2(root, path, os.O_PATH))
    except FileNotFoundError:
        directory = syscalls.openat2(root, parent or ".", os.O_RDONLY | os.O_DIRECTORY)
        if is_directory:
            os.mkdir(name, 0o755, dir_fd=directory)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            os.close(os.open(name, flags, 0o644, dir_fd=directory))
        os.close(directory)


def _mount_dev(place: str, shm_size: int) -> None:
    # Mode 755, not 1777: in sticky world-writable directories opening a device is restricted.
    flags = syscalls.MS_NOSUID | syscalls.MS_STRICTATIME
    syscalls.mount("tmpfs", place, "tmpfs", flags, "mode=755,size=64k")
    for node in _NODES:
        if os.path.exists(f"/dev/{node}"):
            os.close(os.open(f"{place}/{node}", os.O_WRONLY | os.O_CREAT, 0o666))
            syscalls.mount(f"/dev/{node}", f"{place}/{node}", None, syscalls.MS_BIND)
    for name, target in _DEV_LINKS.items():
        os.symlink(target, f"{place}/{name}")
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(f"{place}/{name}", 0o755)
    options = "newinstance,ptmxmode=0666,mode=0620"
    if owners.are_recorded():
        descriptor = os.open(f"{place}{APT_SETTING[1].removeprefix('/dev')}", _CREATE, 0o444)
        os.write(descriptor, _APT_CONFIG)
        os.close(descriptor)
    else:
        options += f",gid={_TTY_GROUP}"
    syscalls.mount(
        "devpts", f"{place}/pts", "devpts", syscalls.MS_NOSUID | syscalls.MS_NOEXEC, options
    )
    syscalls.mount("shm", f"{place}/shm", "tmpfs", _QUIET, f"mode=1777,size={shm_size}")
    syscalls.mount("mqueue", f"{place}/mqueue", "mqueue", _QUIET)


def _mount_proc(place: str) -> None:
    try:
        syscalls.mount("proc", place, "proc", _QUIET)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        syscalls.mount("/proc", place, None, syscalls.MS_BIND | syscalls.MS_REC)
        return
    if _is_root_outside():
        _protect(place)


def _mount_sys(place: str, *, own_network: bool) -> None:
    if own_network:
        try:
            syscalls.mount("sysfs", place, "sysfs", _QUIET | syscalls.MS_RDONLY)
        except OSError as error:
            if error.errno != errno.EPERM:
                raise
        else:
            return
    syscalls.mount("/sys", place, None, syscalls.MS_BIND | syscalls.MS_REC)
    mounts.set_read_only(place, recursive=True)


def _is_root_outside() -> bool:
    """Tell whether ns-root is backed by the root of the namespace around the build's."""
    inside, outside, _ = Path("/proc/self/uid_map").read_text().split()[:3]
    return (inside, outside) == ("0", "0")


def _protect(proc: str) -> None:
    for name in _READ_ONLY_IN_PROC:
        place = f"{proc}/{name}"
        if os.path.exists(place):
            syscalls.mount(place, place, None, syscalls.MS_BIND | syscalls.MS_REC)
            mounts.set_read_only(place)
    for name in _MASKED_IN_PROC:
        place = f"{proc}/{name}"
        if not os.path.exists(place):
            continue
        if stat.S_ISDIR(os.stat(place).st_mode):
            syscalls.mount("tmpfs", place, "tmpfs", syscalls.MS_RDONLY, "size=0,mode=555")
        else:
            syscalls.mount("/dev/null", place, None, syscalls.MS_BIND)
