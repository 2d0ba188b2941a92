"""What a Pod runs, as a process of its own with JOB_COMPLETION_INDEX, against a real registry."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from asynckaniko.batch.kubernetes import PLAN_DIRECTORY
from asynckaniko.batch.tasks import ClusterPlan, JobPlan, plan_cluster
from tests.integration.batch.conftest import Batches
from tests.support.registry import Registry
from tests.unit.batch.manifests import read


def run_index(
    batches: Batches, plan: ClusterPlan, job: JobPlan, index: int, tasks: str = ""
) -> tuple[int, dict[str, Any], str]:
    """Run one index; return its exit status, its termination message and what it said."""
    plan_file = batches.bench.directory / "plan.json"
    plan_file.write_bytes(plan.to_bytes())
    message = batches.bench.directory / "termination-log"
    message.write_text("")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "asynckaniko", "batch", "run-index", "--plan", str(plan_file)),
            *("--insecure-registry", batches.registry.host),
        ],
        cwd=batches.directory,
        env={
            **batches.bench.environment,
            "ASYNCKANIKO_BATCH_JOB": job.name,
            "ASYNCKANIKO_BATCH_TASKS": tasks,
            "ASYNCKANIKO_BATCH_RESULT": os.fspath(message),
            "ASYNCKANIKO_STATE_DIR": os.fspath(batches.bench.state),
            "JOB_COMPLETION_INDEX": str(index),
        },
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.returncode, json.loads(message.read_text() or "{}"), done.stdout + done.stderr


def test_indexes_build_a_batch_wave_by_wave(batches: Batches) -> None:
    manifest = """
images:
  base: {context: base, tags: [HOST/base:1], platforms: [linux/amd64, linux/arm64]}
  app: {context: app, tags: [HOST/app:1], contexts: {base: "target:base"}}
"""
    batches.write(
        manifest,
        {
            "base/Dockerfile": "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\n",
            "base/amd64": "amd64",
            "base/arm64": "arm64",
            "app/Dockerfile": "FROM base\nCOPY Dockerfile /app\n",
        },
    )
    text = manifest.replace("HOST", batches.registry.host)
    plan = plan_cluster(read(text, directory=batches.directory), {})

    results = []
    for job in plan.jobs:
        for index in range(len(job.tasks)):
            status, message, said = run_index(batches, plan, job, index)
            assert status == 0, said
            results.append((message["image"], message["platform"], message["status"]))

    assert results == [
        ("base", "linux/amd64", "built"),
        ("base", "linux/arm64", "built"),
        ("base", "", "built"),
        ("app", "linux/amd64", "built"),
    ]
    index_document = batches.registry.manifest("base", "1")
    amd64 = index_document["manifests"][0]["digest"]
    layers = batches.registry.manifest("app", "1")["layers"]
    assert layers[:1] == batches.registry.manifest("base", amd64)["layers"]


def test_failed_step_and_bad_input_have_codes_that_are_not_tried_again(
    batches: Batches, tmp_path: Path
) -> None:
    manifest = """
images:
  step: {context: step, tags: [HOST/step:1]}
  input: {context: input, tags: [HOST/input:1]}
"""
    batches.write(
        manifest,
        {
            "step/Dockerfile": "FROM scratch\nCOPY missing /\n",
            "input/Dockerfile": "FROM scratch\nNONSENSE\n",
        },
    )
    text = manifest.replace("HOST", batches.registry.host)
    plan = plan_cluster(read(text, directory=batches.directory), {})

    status, message, _ = run_index(batches, plan, plan.jobs[0], 0)
    assert (status, message["status"]) == (3, "failed")
    assert message["error"].startswith("step/Dockerfile:2:")

    status, message, _ = run_index(batches, plan, plan.jobs[0], 0, tasks="1")
    assert (status, message["image"]) == (2, "input")


def test_pods_get_the_flags_about_registries_and_the_certificates(
    batches: Batches, tls_registry: Registry, tmp_path: Path
) -> None:
    authority = tmp_path / "certificates/authority.pem"
    manifest = """
images:
  app: {context: app, tags: [REGISTRY/app:1], platforms: [linux/amd64]}
engine: {kubernetes: {image: r.io/asynckaniko}}
"""
    batches.write(
        manifest.replace("REGISTRY", tls_registry.host),
        {"app/Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"},
    )
    flags = [
        *("--render", "--push-retry=3", "--skip-push-permission-check", "--credential-helpers="),
        *("--registry-certificate", f"{tls_registry.host}={authority}"),
        *("--registry-client-cert", "other.example.com=/pod/cert.pem,/pod/key.pem"),
    ]
    done = subprocess.run(
        batches.command(*flags),
        cwd=batches.directory,
        env={**batches.bench.environment, "KANIKO_REGISTRY_MIRROR": "mirror.example.com"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr

    plan, job = list(YAML(typ="safe").load_all(done.stdout))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    # What a kubelet does with the ConfigMap and the command line, at another place.
    mounted = tmp_path / "plan"
    mounted.mkdir()
    for name, content in plan["data"].items():
        (mounted / name).write_text(content)
    words = [word.replace(PLAN_DIRECTORY, str(mounted)) for word in container["args"]]
    shutil.move(authority, tmp_path / "gone.pem")
    client = "--registry-client-cert=other.example.com=/pod/cert.pem,/pod/key.pem"
    assert words[3:] == [
        f"{mounted}/plan.json",
        f"--insecure-registry={batches.registry.host}",
        "--registry-mirror=mirror.example.com",
        "--credential-helpers=",
        "--skip-push-permission-check=true",
        "--push-retry=3",
        client,
        f"--registry-certificate={tls_registry.host}={mounted}/certificate-0.pem",
    ]
    words.remove(client)  # its files are in no Pod here
    pod = subprocess.run(
        [sys.executable, "-m", "asynckaniko", *words],
        cwd=batches.directory,
        env={
            **batches.bench.environment,
            "ASYNCKANIKO_BATCH_JOB": job["metadata"]["name"],
            "ASYNCKANIKO_STATE_DIR": os.fspath(batches.bench.state),
            "JOB_COMPLETION_INDEX": "0",
        },
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert pod.returncode == 0, pod.stdout + pod.stderr
    assert tls_registry.has("app", "1")
    asked = [(request.method, request.path) for request in tls_registry.requests()]
    assert asked.count(("POST", "/v2/app/blobs/uploads/")) == 2  # a layer and a config: no check


def test_packed_images_are_built_in_one_pod_and_a_failure_costs_only_itself(
    batches: Batches,
) -> None:
    manifest = """
images:
  one: {context: one, tags: [HOST/one:1]}
  nowhere: {context: nowhere, tags: [HOST/nowhere:1]}
  step: {context: step, tags: [HOST/step:1]}
  two: {context: two, tags: [HOST/two:1]}
"""
    batches.write(
        manifest,
        {
            "one/Dockerfile": "FROM scratch\nCOPY Dockerfile /\n",
            "step/Dockerfile": "FROM scratch\nCOPY missing /\n",
            "two/Dockerfile": "FROM scratch\nCOPY Dockerfile /two\n",
        },
    )
    text = manifest.replace("HOST", batches.registry.host)
    plan = plan_cluster(read(text, directory=batches.directory), {}, pack=4)

    status, message, _ = run_index(batches, plan, plan.jobs[0], 0)

    results = message["results"]
    assert status == 2
    assert [r["status"] for r in results] == ["built", "failed", "failed", "built"]
    assert [r.get("code") for r in results] == [None, 2, 3, None]
    for name, result in (("one", results[0]), ("two", results[3])):
        assert batches.registry.has(name, "1")
        assert batches.registry.manifest(name, result["digest"])["layers"]
