"""Commands in the executor's own root filesystem, where a Pod forbids everything else."""

import json

import pytest

from tests.integration.pods.conftest import PodFactory
from tests.support.podsim import FIVE_CAPABILITIES, Environment

# The first test of a session may have to wait until the image is built.
pytestmark = pytest.mark.timeout(600)
STAGES = """
FROM scratch AS nothing
COPY one /one

FROM {debian} AS big
COPY --from=nothing /one /one
RUN apt-get --version > /made && test -e /usr/bin/dpkg && touch /etc/of-debian

FROM {busybox} AS small
COPY --from=big /made /from-debian
RUN test ! -e /usr/bin/dpkg && test ! -e /etc/of-debian && test ! -e /one && cp /from-debian /seen

FROM big
COPY --from=small /seen /seen
RUN cat /seen /one > /all && test -e /etc/of-debian && test ! -e /from-debian
"""
# Builds one image after the other over its own files, and looks at itself after each.
EXECUTOR = """
import sys
sys.path.append("/kaniko/lib/python3.11/site-packages")
import importlib, json, os, socket, ssl, threading
from pathlib import Path
import anyio
from asynckaniko.build.builder import Builder
from asynckaniko.build.request import BuildRequest, InPlace
from asynckaniko.settings import IsolationOptions, RegistryOptions, Settings

LATE = iter([("lzma", "_decimal"), ("bz2", "zoneinfo"), ("_multiprocessing", "_uuid")])

def look():
    thread = threading.Thread(target=lambda: found.update(address=address()))
    found = {"late": [importlib.import_module(name).__name__ for name in next(LATE)]}
    thread.start()
    thread.join()
    context = ssl.create_default_context(cafile="/kaniko/ssl/certs/ca-certificates.crt")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing, server_hostname="host").do_handshake()
    except ssl.SSLWantReadError:
        found["hello"] = outgoing.read()[0]
    paths = {line.split()[5] for line in open("/proc/self/maps") if len(line.split()) == 6}
    found["foreign"] = sorted(p for p in paths if p[0] == "/" and not p.startswith("/kaniko/"))
    found["root"] = sorted(set(os.listdir("/")) & {"kaniko", "lib64", "made", "usr", "workspace"})
    return found

def address():
    return socket.getaddrinfo("localhost", 80, socket.AF_INET)[0][4][0]

async def main():
    settings = Settings(
        state_dir=Path("/var/lib/asynckaniko"),
        isolation=IsolationOptions(mode="in-place"),
        registry=RegistryOptions(insecure_pull=True),
    )
    found = []
    async with Builder(settings) as builder:
        for name in ("Debian", "Busybox", "Nothing"):
            await builder.build(BuildRequest(
                context="/workspace", dockerfile=name,
                in_place=InPlace(clean_up=name == "Nothing"),
            ))
            found.append(look())
    print(json.dumps(found))

anyio.run(main)
"""


def test_stages_of_different_systems_follow_one_another(
    pod: PodFactory, debian: str, busybox: str
) -> None:
    there = pod("runtime-default")
    there.write(STAGES.format(debian=debian, busybox=busybox), {"one": "1\n"})

    image = there.build("--insecure-pull")

    assert image.tree["all"].content.startswith(b"apt ")
    assert image.tree["all"].content.endswith(b"\n1\n")
    assert "from-debian" not in image.tree


def test_executor_goes_on_whatever_lies_around_it(
    pod: PodFactory, debian: str, busybox: str
) -> None:
    there = pod("runtime-default")
    for name, base in (("Debian", debian), ("Busybox", busybox), ("Nothing", busybox)):
        there.write("", {name: f"FROM {base}\nRUN echo {name} > /made\n"})

    done = there.run(EXECUTOR, entrypoint=("/kaniko/bin/python3", "-ISXutf8", "-c"))

    assert done.exit_code == 0, done.said
    found = json.loads(done.stdout)
    assert [state["foreign"] for state in found] == [[], [], []]
    assert [state["address"] for state in found] == ["127.0.0.1"] * 3
    # The first record of a handshake, RFC 8446 section 5.1.
    assert [state["hello"] for state in found] == [22] * 3
    assert [state["root"] for state in found] == [
        ["kaniko", "lib64", "made", "usr", "workspace"],
        ["kaniko", "made", "usr", "workspace"],
        ["kaniko", "workspace"],
    ]


def test_paths_can_be_left_out_and_the_root_emptied(pod: PodFactory, busybox: str) -> None:
    there = pod("runtime-default", mode="in-place")
    there.write(f"FROM {busybox}\nRUN mkdir -p /a/b /kept && touch /a/b/c /a/d /kept/x /var/y\n")

    image = there.build(
        "--insecure-pull", "--ignore-path=/a/*", "--ignore-path=/kept", "--cleanup",
        "--snapshot-mode=time",
    )  # fmt: skip

    assert sorted(image.layers[-1]) == ["a", "var", "var/y"]


def test_commands_see_no_environment_and_cannot_signal_the_executor(
    pod: PodFactory, busybox: str
) -> None:
    there = pod("runtime-default")
    there.write(
        f"FROM {busybox}\nRUN ! cat /proc/1/environ && ! kill -9 1 && ! kill -9 -1"
        " && ! ls /proc/1/fd /proc/1/root/ && ! cat /proc/$PPID/maps && echo $SECRET > /seen\n"
        "RUN setsid sleep 1000 & (sleep 1000 &) & true\n"
        "RUN ! ps -o args | grep 'sleep 100[0]'\n"
    )

    done = there.run(
        "--no-push", "--insecure-pull", "--oci-layout-path=/output/image",
        variables={"SECRET": "word"},
    )  # fmt: skip

    assert done.exit_code == 0, done.said


def test_what_a_pod_without_some_capabilities_cannot_keep_is_said(
    pod: PodFactory, busybox: str
) -> None:
    there = pod(Environment(capabilities=FIVE_CAPABILITIES, seccomp="RuntimeDefault"))
    there.write(f"FROM {busybox}\nRUN echo built > /made && chown 12:34 /made\n")

    done = there.run("--no-push", "--insecure-pull", "--oci-layout-path=/output/image")

    assert done.exit_code == 0, done.said
    assert "add FSETID, SETFCAP" in done.stderr
    assert "mode in-place" in done.stderr
    assert "commands do not run in namespaces: cannot create a user namespace" in done.stderr


def test_context_behind_a_link_outlives_the_build(pod: PodFactory, busybox: str) -> None:
    there = pod("runtime-default")
    there.write("")
    script = (
        "import os, subprocess, sys\n"
        "os.makedirs('/srv/real')\n"
        "os.symlink('/srv/real', '/source')\n"
        f"open('/srv/real/Dockerfile', 'w').write('FROM {busybox}\\nRUN echo 1 > /made')\n"
        "subprocess.run(['/kaniko/executor', '--context=/source', '--no-push',"
        " '--insecure-pull', '--digest-file=/reports/digest', '--cleanup'], check=True)\n"
        "print(os.listdir('/'), os.listdir('/source'), os.path.exists('/reports/digest'))\n"
    )

    done = there.run(
        f"import os; os.makedirs('/reports')\n{script}",
        entrypoint=("/kaniko/bin/python3", "-ISXutf8", "-c"),
    )

    assert done.exit_code == 0, done.said
    assert done.stdout.rstrip().endswith("['Dockerfile'] True")
    assert "made" not in done.stdout


def test_files_from_before_the_build_come_back_with_preserve_context(
    pod: PodFactory, busybox: str
) -> None:
    there = pod("runtime-default", mode="in-place")
    there.write(f"FROM {busybox} AS one\nRUN rm -rf /tools\nFROM {busybox}\nRUN touch /made\n")
    script = (
        "import os, subprocess\n"
        "os.makedirs('/tools/bin')\n"
        "open('/tools/bin/lint', 'w').write('text')\n"
        "os.chmod('/tools/bin/lint', 0o4751)\n"
        "os.chown('/tools', 7, 8)\n"
        "os.utime('/tools', (5, 6))\n"
        "os.symlink('/tools/bin/lint', '/link')\n"
        "before = sorted(os.listdir('/'))\n"
        "subprocess.run(['/kaniko/executor', '--context=/workspace', '--no-push',"
        " '--insecure-pull', '--cleanup', '--preserve-context'], check=True)\n"
        "file, top = os.stat('/link'), os.stat('/tools')\n"
        "print(sorted(os.listdir('/')) == before, open('/link').read(), oct(file.st_mode),"
        " top.st_uid, top.st_gid, top.st_mtime)\n"
    )

    done = there.run(script, entrypoint=("/kaniko/bin/python3", "-ISXutf8", "-c"))

    assert done.exit_code == 0, done.said
    assert done.stdout.splitlines()[-1] == "True text 0o104751 7 8 6.0"


def test_caches_of_mounts_outlive_stages_where_they_are_kept(pod: PodFactory, busybox: str) -> None:
    there = pod("runtime-default", mode="in-place")
    mount = "RUN --mount=type=cache,id=stuff,target=/c"
    there.write(
        f"FROM {busybox} AS one\n{mount} echo kept > /c/file\n"
        f"FROM {busybox}\nCOPY --from=one /bin/true /true\n{mount} cp /c/file /copy\n"
    )

    done = there.run(
        "--no-push", "--insecure-pull", "--oci-layout-path=/output/image",
        variables={"ASYNCKANIKO_CACHE_MOUNT_DIR": "/caches"},
    )  # fmt: skip

    assert done.exit_code == 0, done.said
    image = there.read_output()
    assert image.tree["copy"].content == b"kept\n"
    assert not [path for path in image.tree if path.startswith("caches")]
    assert list(there.state.glob("listed/caches/*")) == []


def test_steps_make_one_layer_and_have_their_limits(pod: PodFactory, busybox: str) -> None:
    there = pod("runtime-default", mode="in-place")
    there.write(
        f"FROM {busybox}\nRUN echo first > /all && touch /gone\nRUN rm /gone\n"
        "COPY one /one\nRUN cat /one >> /all && ulimit -Hn >> /all\n",
        {"one": "1\n"},
    )

    image = there.build("--insecure-pull", "--single-snapshot", "--ulimit=nofile=99")

    own = image.layers[-1]
    assert {path: entry.content for path, entry in own.items()} == {
        "all": b"first\n1\n99\n", ".wh.gone": b"", "one": b"1\n",
    }  # fmt: skip
    assert not {"all", "one"} & {path for layer in image.layers[:-1] for path in layer}
