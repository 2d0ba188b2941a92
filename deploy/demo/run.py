#!/usr/bin/env python3
"""Show what is in an OCI layout, unpack its image with nothing of ours, and run it.

    run.py LAYOUT ROOTFS TIMINGS

TIMINGS is what `asynckaniko build --timings` wrote.

A container runtime would add isolation; to see that the image is whole, chroot, the image's user
and its entrypoint are enough. Must be root, of the machine or of a user namespace. Standard
library only.
"""

import grp
import json
import os
import pwd
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any


def main() -> int:
    layout, rootfs, timings = map(Path, sys.argv[1:])
    entry = json.loads((layout / "index.json").read_bytes())["manifests"][0]
    manifest = read(layout, entry)
    config = read(layout, manifest["config"])
    print_times(json.loads(timings.read_bytes()))
    describe(entry, manifest, config)
    shutil.rmtree(rootfs, ignore_errors=True)
    rootfs.mkdir()
    try:
        for layer in manifest["layers"]:
            apply(blob(layout, layer), rootfs)
        print("\nRunning it:", *argv(config["config"]), flush=True)
        return run(rootfs, config["config"])
    finally:
        shutil.rmtree(rootfs)


def read(layout: Path, descriptor: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(blob(layout, descriptor).read_bytes())
    return document


def blob(layout: Path, descriptor: dict[str, Any]) -> Path:
    return Path(layout, "blobs", descriptor["digest"].replace(":", "/"))


def print_times(timings: dict[str, Any]) -> None:
    """Show when each step ran: `#` for its share of the build's time."""
    columns = shutil.get_terminal_size().columns - 1
    total = timings["seconds"]
    steps = [span for span in timings["spans"] if span["kind"] == "step"]
    cached = sum(span["state"] == "cached" for span in steps)
    reused = f", {cached} of {len(steps)} from the layer cache" if cached else ""
    noticed = [span for span in steps if span["seconds"] >= 0.05]
    print(f"{len(steps)} steps in {total:.1f} s{reused}{'; when they ran:' if noticed else ''}")
    for span in noticed:
        start = min(29, round(30 * span["start_seconds"] / total))
        length = max(1, round(30 * span["seconds"] / total))
        bar = (" " * start + "#" * length)[:30]
        stage = span["group"].removeprefix("Stage ")
        stage = f"stage-{stage}" if stage.isdigit() else stage
        print(f"  {span['seconds']:5.1f} s |{bar:30s}| {stage} {span['label']}"[:columns])
    print()


def describe(entry: dict[str, Any], manifest: dict[str, Any], config: dict[str, Any]) -> None:
    columns = shutil.get_terminal_size().columns - 1
    print(f"Image {entry['digest']}")
    print(f"for {config['os']}/{config['architecture']}, {len(manifest['layers'])} layers:")
    # History has one entry for each instruction, layers only for those that changed files.
    made = [item for item in config["history"] if not item.get("empty_layer")]
    for layer, origin in zip(manifest["layers"], made, strict=True):
        size = f"{layer['size'] / 1e6:.1f} MB" if layer["size"] > 1e5 else f"{layer['size']} B"
        print(f"  {layer['digest'][7:19]} {size:>9}  {origin['created_by']}"[:columns])


def apply(layer: Path, rootfs: Path) -> None:
    """Unpack a layer that we trust: this image was made a moment ago."""
    with tarfile.open(layer) as archive:
        for member in archive:
            parent, _, name = member.name.rpartition("/")
            if name == ".wh..wh..opq":
                empty(rootfs / parent)
            elif name.startswith(".wh."):
                remove(rootfs / parent / name[4:])
            else:
                target = rootfs / member.name
                if not (member.isdir() and target.is_dir() and not target.is_symlink()):
                    remove(target)
                archive.extract(member, rootfs, numeric_owner=True)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def empty(directory: Path) -> None:
    for child in directory.iterdir():
        remove(child)


def argv(runtime: dict[str, Any]) -> list[str]:
    return [*(runtime.get("Entrypoint") or []), *(runtime.get("Cmd") or [])]


def run(rootfs: Path, runtime: dict[str, Any]) -> int:
    """Run the image's command as the image's user; return its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        os.chroot(rootfs)
        os.chdir(runtime.get("WorkingDir") or "/")
        become(runtime.get("User") or "0")
        environment = dict(pair.split("=", 1) for pair in runtime.get("Env") or [])
        command = argv(runtime)
        os.execvpe(command[0], command, environment)
    except OSError as error:
        print(f"run: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(127)


def become(user: str) -> None:
    """Take the ids of `name|uid[:name|gid]`, looked up in the image's own files."""
    name, _, group = user.partition(":")
    account = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    gid = account.pw_gid
    if group:
        gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    os.setgroups([])
    os.setgid(gid)
    os.setuid(account.pw_uid)


if __name__ == "__main__":
    sys.exit(main())
