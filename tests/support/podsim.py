"""Run an unpacked image as a Pod's container, by runc: no cluster, no image store.

What differs between Pods for a builder is the user, the capabilities, seccomp, no_new_privs and
the user namespace; ENVIRONMENTS has the nine combinations that clusters have. All have what every
container has: own pid, ipc, uts and mount namespaces, a masked /proc, an overlay as root
filesystem. Not simulated: AppArmor, SELinux, cgroup limits, a kubelet.

Must be root.
"""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.kubernetes import make_seccomp

DEFAULT_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "NET_BIND_SERVICE", "NET_RAW", "SYS_CHROOT", "MKNOD", "AUDIT_WRITE", "SETFCAP",
)  # fmt: skip
"""containerd's."""
FIVE_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID")
LOCALHOST_PROFILE = Path(__file__).parents[2] / "deploy/kubernetes/seccomp-profile.json"
FIRST_ID, IDS = 1_000_000, 65_536
"""The ids of a Pod with hostUsers: false."""


@dataclass(frozen=True)
class Environment:
    """What a Pod's securityContext comes to."""

    uid: int = 0
    capabilities: Sequence[str] = DEFAULT_CAPABILITIES
    seccomp: str = "Unconfined"
    """As in seccompProfile.type: Unconfined, RuntimeDefault, Localhost (ours)."""
    no_new_privileges: bool = False
    user_namespace: bool = False

    def seccomp_profile(self) -> dict[str, Any] | None:
        match self.seccomp:
            case "Unconfined":
                return None
            case "RuntimeDefault":
                return make_seccomp.runtime_default([f"CAP_{name}" for name in self.capabilities])
            case _:
                profile: dict[str, Any] = json.loads(LOCALHOST_PROFILE.read_bytes())
                return profile


_RESTRICTED = Environment(uid=1000, capabilities=(), no_new_privileges=True)
_ADMINISTRATOR = (*DEFAULT_CAPABILITIES, "SYS_ADMIN")
ENVIRONMENTS: Mapping[str, Environment] = {
    # What Kubernetes gives when nothing is set.
    "default": Environment(),
    "runtime-default": Environment(seccomp="RuntimeDefault"),
    "five-caps": Environment(capabilities=FIVE_CAPABILITIES),
    "five-caps-runtime-default": Environment(
        capabilities=FIVE_CAPABILITIES, seccomp="RuntimeDefault"
    ),
    # The restricted Pod Security Standard.
    "restricted": Environment(1000, (), "RuntimeDefault", no_new_privileges=True),
    "restricted-unconfined": _RESTRICTED,
    # hostUsers: false
    "userns": Environment(user_namespace=True),
    "userns-runtime-default": Environment(seccomp="RuntimeDefault", user_namespace=True),
    "userns-admin": Environment(
        capabilities=_ADMINISTRATOR, seccomp="RuntimeDefault", user_namespace=True
    ),
}
LOCALHOST = Environment(capabilities=FIVE_CAPABILITIES, seccomp="Localhost")
"""With deploy/kubernetes/seccomp-profile.json."""

_MASKED = [
    *(f"/proc/{name}" for name in ("acpi", "asound", "kcore", "keys", "latency_stats", "scsi")),
    *(f"/proc/{name}" for name in ("sched_debug", "timer_list", "timer_stats")),
    "/sys/firmware",
]
_READ_ONLY = [f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger")]


@dataclass(frozen=True)
class Finished:
    """A container that has ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        return self.stdout + self.stderr


class UnpackedImage:
    """The root filesystem of an image and its config, to start containers from."""

    def __init__(self, directory: Path, runtime: Mapping[str, Any]) -> None:
        self.directory = directory
        self.runtime = runtime
        """The image config's `config`: Env, Entrypoint, WorkingDir."""
        self._shifted = directory.with_name(directory.name + ".shifted")

    def root_for(self, environment: Environment) -> Path:
        """Return the tree with the owners it needs: a kubelet would id-map the mount."""
        if not environment.user_namespace:
            return self.directory
        if not self._shifted.exists():
            unfinished = self._shifted.with_name(self._shifted.name + f".{uuid.uuid4().hex}")
            subprocess.run(["cp", "-a", self.directory, unfinished], check=True)
            give_away(unfinished)
            try:
                unfinished.rename(self._shifted)
            except OSError:  # another worker was faster
                shutil.rmtree(unfinished)
        return self._shifted


def give_away(tree: Path) -> None:
    """Make what belongs to root and others belong to those of the Pod's user namespace."""
    for parent, directories, files in os.walk(tree):
        for path in (parent, *(os.path.join(parent, name) for name in (*directories, *files))):
            status = os.lstat(path)
            if status.st_uid < FIRST_ID:
                os.lchown(path, status.st_uid + FIRST_ID, status.st_gid + FIRST_ID)
                if not os.path.islink(path):
                    os.chmod(path, status.st_mode & 0o7777)  # chown clears set-uid


def run(  # noqa: PLR0913  a Pod has as many settings
    image: UnpackedImage,
    environment: Environment,
    arguments: Sequence[str],
    *,
    scratch: Path,
    volumes: Mapping[str, Path],
    variables: Mapping[str, str] | None = None,
    entrypoint: Sequence[str] | None = None,
    process_limit: int | None = None,
    seconds: float = 100,
) -> Finished:
    """Run the image's entrypoint, or another, with arguments; wait for its end.

    `volumes` are mount points and directories of this machine, all writable for the container.
    The network is the machine's. `scratch` is an empty directory, removed afterwards.
    """
    command = [*(image.runtime.get("Entrypoint") or [] if entrypoint is None else entrypoint)]
    with _mounted(image.root_for(environment), scratch, environment):
        for directory in volumes.values():
            directory.mkdir(exist_ok=True)
            directory.chmod(0o777)
            if environment.user_namespace:
                give_away(directory)
        config = _config(
            environment,
            [*command, *arguments],
            _environment_of(image, variables or {}),
            image.runtime.get("WorkingDir") or "/",
            volumes,
        )
        if process_limit is not None:
            # As kubelet's podPidsLimit.
            config["linux"]["resources"]["pids"] = {"limit": process_limit}
        (scratch / "config.json").write_text(json.dumps(config))
        name = f"podsim-{uuid.uuid4().hex}"
        state = ["runc", "--root", str(scratch / "state")]
        try:
            # A pipe for stdin: runc gives what stands there to the user of the container.
            done = subprocess.run(
                [*state, "run", "--bundle", str(scratch), name],
                input="",
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            subprocess.run([*state, "delete", "--force", name], capture_output=True, check=True)
            raise
    shutil.rmtree(scratch)
    return Finished(done.returncode, done.stdout, done.stderr)


@contextmanager
def _mounted(root: Path, scratch: Path, environment: Environment) -> Iterator[None]:
    """Mount a writable view of `root` at scratch/rootfs; it is gone afterwards."""
    for name in ("upper", "work", "rootfs"):
        (scratch / name).mkdir(parents=True)
    scratch.chmod(0o755)
    if environment.user_namespace:
        os.chown(scratch / "upper", FIRST_ID, FIRST_ID)
    places = f"lowerdir={root},upperdir={scratch}/upper,workdir={scratch}/work"
    subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", places, scratch / "rootfs"], check=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", scratch / "rootfs"], check=True)


def _environment_of(image: UnpackedImage, variables: Mapping[str, str]) -> list[str]:
    own = dict(pair.split("=", 1) for pair in image.runtime.get("Env") or [])
    return [f"{name}={value}" for name, value in (own | dict(variables)).items()]


def _config(
    environment: Environment,
    command: Sequence[str],
    variables: Sequence[str],
    workdir: str,
    volumes: Mapping[str, Path],
) -> dict[str, Any]:
    """Write what the container runtime interface would make of the Pod (OCI runtime-spec)."""
    capabilities = [f"CAP_{name}" for name in environment.capabilities]
    held = capabilities if environment.uid == 0 else []
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")],
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "maskedPaths": _MASKED,
        "readonlyPaths": _READ_ONLY,
    }
    if environment.user_namespace:
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = linux["gidMappings"] = [
            {"containerID": 0, "hostID": FIRST_ID, "size": IDS}
        ]
    if profile := environment.seccomp_profile():
        linux["seccomp"] = profile
    return {
        "ociVersion": "1.0.2",
        "hostname": "pod",
        "root": {"path": "rootfs"},
        "mounts": _mounts(environment, volumes),
        "linux": linux,
        "process": {
            "args": list(command),
            "cwd": workdir,
            "env": list(variables),
            "user": {"uid": environment.uid, "gid": environment.uid},
            "noNewPrivileges": environment.no_new_privileges,
            "capabilities": {"bounding": capabilities, "effective": held, "permitted": held},
        },
    }


def _mounts(environment: Environment, volumes: Mapping[str, Path]) -> list[dict[str, Any]]:
    def mount(target: str, kind: str, source: str, *options: str) -> dict[str, Any]:
        return {"destination": target, "type": kind, "source": source, "options": list(options)}

    closed = ("nosuid", "noexec", "nodev")
    # The network namespace is the machine's: in a user namespace its sysfs can only be bound.
    system = ("bind", "/sys", "rbind") if environment.user_namespace else ("sysfs", "sysfs")
    return [
        mount("/proc", "proc", "proc", *closed),
        mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666"),
        mount("/dev/shm", "tmpfs", "shm", *closed, "mode=1777", "size=65536k"),
        mount("/dev/mqueue", "mqueue", "mqueue", *closed),
        mount("/sys", system[0], system[1], *system[2:], *closed, "ro"),
        mount("/etc/resolv.conf", "bind", "/etc/resolv.conf", "bind", "ro"),
        mount("/etc/hosts", "bind", "/etc/hosts", "bind", "ro"),
        *(
            mount(target, "bind", os.path.abspath(source), "rbind", "rw")
            for target, source in volumes.items()
        ),
    ]
