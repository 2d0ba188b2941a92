import json
import signal
import socket
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.integration.batch.conftest import Batches, git, is_done
from tests.integration.conftest import Workbench
from tests.support.images import Image, make_tar, read_layout
from tests.support.registry import run_registry

CHAIN = """
images:
  top: {context: top, tags: [HOST/top:1], contexts: {middle: "target:middle"}}
  middle: {context: middle, tags: [HOST/middle:1]}
  base: {context: base, tags: [HOST/base:1]}
"""
CHAIN_FILES = {
    "base/Dockerfile": "FROM HOST/busybox:1\nRUN echo base > /base\n",
    "middle/Dockerfile": "FROM HOST/base:1\nRUN cp /base /middle\n",
    "top/Dockerfile": "FROM scratch\nCOPY --from=middle /middle /base /\n",
}


def test_images_that_need_one_another_are_read_from_the_disk(
    batches: Batches, busybox_image: Image
) -> None:
    busybox_image.push(batches.registry, "busybox", "1")
    batches.write(CHAIN, CHAIN_FILES)
    mark = batches.registry.mark()

    metadata = batches.build()

    assert list(metadata) == ["top", "middle", "base"]
    for name in ("base", "middle", "top"):
        assert batches.requests("GET", f"/v2/{name}/", mark) == []
        assert batches.registry.has(name, "1")
    layers = batches.registry.manifest("middle", "1")["layers"]
    assert layers[:2] == batches.registry.manifest("base", "1")["layers"]


def test_base_of_many_images_is_pulled_once(batches: Batches, busybox_image: Image) -> None:
    busybox_image.push(batches.registry, "busybox", "1")
    batches.write(
        """
images:
  app:
    matrix: {n: [a, b, c, d, e, f, g, h]}
    args: {N: "${n}"}
    tags: ["HOST/app:${n}"]
""",
        {"Dockerfile": "FROM HOST/busybox:1\nARG N\nRUN echo $N > /n\n"},
    )
    mark = batches.registry.mark()

    batches.build("--jobs", "8")

    blobs = [r for r in batches.registry.requests(mark) if r.is_blob_download]
    assert len([r for r in blobs if busybox_image.layers[0] in r.path]) == 1


def test_image_for_two_platforms_is_an_index_and_nothing_else_is_tagged(batches: Batches) -> None:
    batches.write(
        """
images:
  data: {tags: [HOST/data:1], platforms: [linux/amd64, linux/arm64]}
  user: {context: user, tags: [HOST/user:1], platforms: [linux/arm64],
         contexts: {data: "target:data"}}
""",
        {
            "Dockerfile": "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\n",
            "amd64": "amd64",
            "arm64": "arm64",
            "user/Dockerfile": "FROM data\n",
        },
    )

    metadata = batches.build()

    index = batches.registry.manifest("data", "1")
    platforms = [(m["platform"]["architecture"], m["digest"]) for m in index["manifests"]]
    assert [name for name, _ in platforms] == ["amd64", "arm64"]
    config = batches.registry.manifest("data", platforms[1][1])["config"]["digest"]
    assert json.loads(batches.registry.blob("data", config))["architecture"] == "arm64"
    assert metadata["data"]["containerimage.descriptor"]["mediaType"].endswith("index.v1+json")
    tags = json.loads(batches.registry.call("GET", "/v2/data/tags/list")[1])["tags"]
    assert tags == ["1"]
    user = batches.registry.manifest("user", "1")["layers"]
    assert user == batches.registry.manifest("data", platforms[1][1])["layers"]


def test_failure_spares_what_does_not_need_it_and_is_reported(
    batches: Batches, tmp_path: Path
) -> None:
    batches.write(
        """
images:
  bad: {context: bad, tags: [HOST/bad:1]}
  child: {context: good, tags: [HOST/child:1], contexts: {x: "target:bad"}}
  good: {context: good, tags: [HOST/good:1]}
""",
        {
            "bad/Dockerfile": "FROM scratch\nCOPY missing /\n",
            "good/Dockerfile": "FROM scratch\nCOPY Dockerfile /\n",
        },
    )

    done = batches.run("--junit-file", str(tmp_path / "report.xml"))

    assert done.exit_code == 3, done.said
    assert '"/missing": not found' in done.stderr
    assert "1 built, 1 failed, 1 skipped" in done.stdout
    assert list(batches.metadata()) == ["good"]
    cases = {
        case.get("name"): [child.tag for child in case]
        for case in ET.parse(tmp_path / "report.xml").getroot()
    }
    assert cases == {"bad": ["failure"], "child": ["skipped"], "good": ["system-out"]}


def test_problems_of_the_manifest_are_told_and_nothing_is_built(
    batches: Batches, tmp_path: Path
) -> None:
    batches.write(
        """
images:
  one: {context: nowhere, tags: [HOST/x:1]}
  two: {secrets: [{id: s, env: NOT_SET_HERE}], tags: [HOST/y:1]}
  three: {}
""",
        {"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"},
    )

    done = batches.run()

    assert done.exit_code == 2
    assert f"one: there is no directory {batches.directory}/nowhere" in done.stderr
    assert "secret s: NOT_SET_HERE is not set" in done.stderr
    assert "three would go nowhere" in done.stderr
    assert not batches.registry.has("y", "1")


def slow_batch(batches: Batches, busybox_image: Image) -> None:
    busybox_image.push(batches.registry, "busybox", "1")
    batches.write(
        """
images:
  first: {context: first, tags: [HOST/first:1]}
  second: {context: second, tags: [HOST/second:1], contexts: {first: "target:first"}}
""",
        {
            "first/Dockerfile": "FROM HOST/busybox:1\nRUN date +%s%N > /first\n",
            "second/Dockerfile": "FROM first\nCOPY wait /\nRUN sleep $(cat /wait)\n",
            "second/wait": "1000",
        },
    )


def test_interrupted_batch_is_cleaned_up_and_goes_on_where_it_was(
    batches: Batches, bench: Workbench, busybox_image: Image, state_file: Path
) -> None:
    slow_batch(batches, busybox_image)

    status = batches.stop_when(
        lambda: is_done(state_file, "first"), signal.SIGINT, "--resume", str(state_file)
    )
    assert (status, bench.leftovers()) == (130, [])
    before = batches.registry.manifest("first", "1")
    (batches.directory / "second/wait").write_text("0")
    done = batches.run("--resume", str(state_file))

    assert done.exit_code == 0, done.said
    assert "1 built, 1 kept" in done.stdout
    assert batches.registry.manifest("first", "1") == before
    layers = batches.registry.manifest("second", "1")["layers"]
    assert layers[:2] == before["layers"]


def test_killed_batch_goes_on_where_it_was(
    batches: Batches, bench: Workbench, busybox_image: Image, state_file: Path
) -> None:
    slow_batch(batches, busybox_image)

    status = batches.stop_when(
        lambda: is_done(state_file, "first"), signal.SIGKILL, "--resume", str(state_file)
    )
    assert status == -signal.SIGKILL
    (batches.directory / "second/wait").write_text("0")
    done = batches.run("--resume", str(state_file))

    assert done.exit_code == 0, done.said
    assert "1 built, 1 kept" in done.stdout
    assert bench.leftovers() == []


def test_resumed_batch_builds_again_what_has_other_input(
    batches: Batches, state_file: Path
) -> None:
    batches.write(
        "images: {a: {context: a, tags: [HOST/a:1]}, b: {context: b, tags: [HOST/b:1]}}",
        {
            "a/Dockerfile": "FROM scratch\nCOPY file /\n",
            "a/file": "1",
            "b/Dockerfile": "FROM scratch\nCOPY file /\n",
            "b/file": "1",
        },
    )
    batches.build("--resume", str(state_file))
    (batches.directory / "a/file").write_text("2")

    done = batches.run("--resume", str(state_file))

    assert "1 built, 1 kept" in done.stdout, done.said


def test_existing_images_of_the_same_input_are_skipped(batches: Batches) -> None:
    batches.write(
        """
images:
  base: {context: base, tags: [HOST/base:1, "HOST/base:${INPUT_DIGEST}"]}
  app: {context: app, tags: [HOST/app:1], contexts: {base: "target:base"}}
""",
        {
            "base/Dockerfile": "FROM scratch\nCOPY Dockerfile /base\n",
            "app/Dockerfile": "FROM base\nCOPY file /\n",
            "app/file": "1",
        },
    )
    first = batches.build("--skip-existing")
    mark = batches.registry.mark()

    again = batches.run("--skip-existing")
    assert "2 kept" in again.stdout, again.said
    assert batches.requests("PUT", "/", mark) == []
    assert (
        batches.metadata()["app"]["containerimage.digest"]
        == (first["app"]["containerimage.digest"])
    )

    (batches.directory / "app/file").write_text("2")
    changed = batches.run("--skip-existing")

    assert "1 built, 1 kept" in changed.stdout, changed.said
    tags = json.loads(batches.registry.call("GET", "/v2/base/tags/list")[1])["tags"]
    assert sorted(map(len, tags)) == [1, 64]


def test_only_what_changed_and_what_is_built_on_it_is_built(batches: Batches) -> None:
    batches.write(
        """
images:
  base: {context: base}
  app: {context: app, contexts: {base: "target:base"}}
  other: {context: other}
""",
        {
            "base/Dockerfile": "FROM scratch\nCOPY Dockerfile /base\n",
            "app/Dockerfile": "FROM base\nCOPY file /\n",
            "app/file": "1",
            "other/Dockerfile": "FROM scratch\nCOPY Dockerfile /\n",
            "other/.dockerignore": "*.md\n",
        },
    )
    git(batches.directory, "init", "-q")
    git(batches.directory, "add", ".")
    git(batches.directory, "commit", "-qm", "first")
    (batches.directory / "other/notes.md").write_text("ignored")

    nothing = batches.run("--no-push", "--changed-since", "HEAD")
    assert nothing.exit_code == 0, nothing.said
    assert "nothing to build" in nothing.stdout

    (batches.directory / "base/new").write_text("x")
    assert list(batches.build("--no-push", "--changed-since", "HEAD")) == ["base", "app"]


def test_unknown_commit_is_told_with_flag_value_and_what_to_do(batches: Batches) -> None:
    batches.write("images: {a: {}}", {"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
    git(batches.directory, "init", "-q")

    bad = batches.run("--no-push", "--changed-since", "no-such-ref")

    assert bad.exit_code == 2
    assert f"--changed-since no-such-ref: there is no such commit in {batches.directory}" in (
        bad.stderr
    )
    assert "fetch it first" in bad.stderr


def test_quiet_batch_prints_its_result_and_nothing_else(batches: Batches) -> None:
    batches.write("images: {a: {}}", {"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})

    done = batches.run("--no-push", "--progress", "quiet")

    digest = batches.metadata()["a"]["containerimage.digest"]
    assert (done.exit_code, done.stderr, done.stdout) == (0, "", f"a {digest}\n")


def test_secrets_arguments_and_outputs_reach_the_build(
    batches: Batches, busybox_image: Image
) -> None:
    busybox_image.write_layout(batches.directory / "busybox")
    batches.write(
        """
images:
  one:
    contexts: {busybox: "oci-layout://busybox"}
    args: {GIVEN: "1", FROM_ENVIRONMENT: }
    secrets: [{id: file, src: secret.txt}]
    labels: {team: x}
    outputs: [{type: oci-layout, path: out}]
    dockerfile: sub/My.Dockerfile
""",
        {
            "secret.txt": "hidden",
            "sub/My.Dockerfile": (
                "FROM busybox\nARG GIVEN\nARG FROM_ENVIRONMENT=default\n"
                "RUN --mount=type=secret,id=file wc -c < /run/secrets/file > /size\n"
                "RUN echo $GIVEN $FROM_ENVIRONMENT > /args\n"
            ),
        },
    )

    batches.build()

    image = read_layout(batches.directory / "out")
    assert image.tree["size"].content == b"6\n"
    assert image.tree["args"].content == b"1 default\n"
    assert image.runtime["Labels"] == {"team": "x"}


def test_layer_that_an_image_holds_twice_is_no_obstacle(
    batches: Batches, busybox_image: Image
) -> None:
    nothing = make_tar({})
    files = make_tar({"one": "1"})
    twice = Image.of_tars([files, nothing, nothing])
    twice.write_layout(batches.directory / "twice")
    batches.write(
        """
images:
  one:
    contexts: {twice: "oci-layout://twice"}
    outputs: [{type: oci-layout, path: out}]
""",
        {"Dockerfile": "FROM scratch\nCOPY --from=twice /one /two\n"},
    )

    batches.build()

    assert read_layout(batches.directory / "out").tree["two"].content == b"1"


@pytest.mark.parametrize("platforms", ["[linux/amd64]", "[linux/amd64, linux/arm64]"])
def test_push_that_will_be_refused_ends_the_build_of_an_image_at_its_start(
    batches: Batches, tmp_path: Path, platforms: str
) -> None:
    with (
        run_registry(tmp_path / "guarded", users={"u": "p"}) as guarded,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        image = f"tags: ['{guarded.host}/app:1'], platforms: {platforms}"
        step = f"ADD http://127.0.0.1:{silent.getsockname()[1]}/never /\n"
        batches.write(
            f"images: {{app: {{context: app, {image}}}}}\n",
            {"app/Dockerfile": f"FROM scratch\n{step}"},
        )
        asked = batches.run()
        (batches.directory / "app/Dockerfile").write_text("FROM scratch\nCOPY missing /\n")
        mark = guarded.mark()
        skipped = batches.run("--skip-push-permission-check")

        assert asked.exit_code == 4, asked.said
        assert "HTTP 401" in asked.stderr
        assert skipped.exit_code == 3, skipped.said
        assert guarded.requests(mark) == []


def test_limits_and_annotations_of_an_image_reach_commands_and_manifest(
    batches: Batches, busybox_image: Image
) -> None:
    busybox_image.push(batches.registry, "busybox", "1")
    batches.write(
        """
images:
  app:
    tags: [HOST/app:1]
    ulimits: {nofile: "100:200"}
    shmSize: 3m
    annotations: {org.example.team: builders}
    outputs: [{type: oci-layout, path: out}]
""",
        {
            "Dockerfile": "FROM HOST/busybox:1\n"
            "RUN echo $(ulimit -Sn) $(ulimit -Hn) > /files\n"
            "RUN df -k /dev/shm | tail -n 1 | awk '{print $2}' > /shm\n"
        },
    )

    batches.build()

    assert batches.registry.manifest("app", "1")["annotations"] == {"org.example.team": "builders"}
    tree = read_layout(batches.directory / "out").tree
    assert tree["files"].content == b"100 200\n"
    assert tree["shm"].content == b"3072\n"
