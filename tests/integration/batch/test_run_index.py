"""What a Pod runs, as a process of its own with JOB_COMPLETION_INDEX, against a real registry."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from asynckaniko.batch.tasks import ClusterPlan, JobPlan, plan_cluster
from tests.integration.batch.conftest import Batches
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
