from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from asynckaniko.batch.expand import load
from asynckaniko.batch.kubernetes import render_job, render_plan
from asynckaniko.batch.tasks import ClusterPlan, plan_cluster
from asynckaniko.cli.batch_cluster import render_yaml
from asynckaniko.cli.commands import main_group
from asynckaniko.errors import ManifestError, UsageError
from tests.unit.batch.manifests import read

MINORS = [f"1.{minor}" for minor in range(29, 38)]
MANIFEST = """
images:
  base:
    tags: [r.io/base:1]
    platforms: [linux/amd64, linux/arm64]
    resources: {memory: 2Gi, cpu: 500m}
    retries: 2
  api:
    tags: [r.io/api:1]
    platforms: [linux/amd64]
    contexts: {base: "target:base", other: "docker-image://r.io/x"}
    args: {FIXED: "1", TAKEN: , MISSING: }
    secrets: [{id: pip, kubernetes: {name: pip-token, key: token}}]
  data: {tags: [r.io/data], platforms: [linux/amd64], retries: 5}
engine:
  kubernetes:
    namespace: ci
    serviceAccount: builder
    image: r.io/asynckaniko:1
    queue: builds
    parallelism: 1
    ttl: 1h
    registrySecret: registries
    podTemplate:
      metadata: {annotations: {team: x}}
      spec:
        tolerations: [{key: builds, operator: Exists, effect: NoSchedule}]
        containers: [{name: build, securityContext: {runAsUser: 0}}]
        volumes: [{name: state, emptyDir: {sizeLimit: 20Gi}}]
"""


def rendered(**choices: Any) -> tuple[ClusterPlan, list[dict[str, Any]]]:
    batch = read(MANIFEST, **choices)
    plan = plan_cluster(batch, {"TAKEN": "from-environment"})
    objects = [render_plan(plan, batch.kubernetes)]
    return plan, objects + [render_job(plan, job, batch.kubernetes) for job in plan.jobs]


@pytest.mark.parametrize("minor", MINORS)
def test_objects_are_valid_for_kubernetes(minor: str) -> None:
    for document in rendered()[1]:
        kubernetes_validate.validate(document, minor, strict=True)


def test_yaml_holds_the_same_objects() -> None:
    batch = read(MANIFEST)
    plan = plan_cluster(batch, {"TAKEN": "from-environment"})

    documents = list(YAML(typ="safe").load_all(render_yaml(plan, batch.kubernetes)))

    assert documents == rendered()[1]


def test_images_come_in_waves_and_an_index_before_whoever_needs_it() -> None:
    plan, _ = rendered()

    assert [
        (job.wave, job.platform, [(task.image, task.platform) for task in job.tasks])
        for job in plan.jobs
    ] == [
        (0, "linux/amd64", [("base", "linux/amd64"), ("data", "linux/amd64")]),
        (0, "linux/arm64", [("base", "linux/arm64")]),
        (1, "", [("base", "")]),
        (2, "linux/amd64", [("api", "linux/amd64")]),
    ]


def test_pods_do_not_depend_on_the_entrypoint_of_their_image() -> None:
    """The executor image's takes kaniko's command line, which knows no batch."""
    (container,) = rendered()[1][1]["spec"]["template"]["spec"]["containers"]

    assert container["command"] == ["asynckaniko"]
    with main_group().make_context("asynckaniko", list(container["args"])) as context:
        assert isinstance(context.command, click.Group)
        command, *words = container["args"]
        batch = context.command.get_command(context, command)
        assert batch is not None
        assert batch.make_context(command, words).params["plan"] == "/etc/asynckaniko/plan.json"


def test_job_tries_again_what_may_pass_only() -> None:
    job = rendered()[1][1]
    spec = job["spec"]

    assert spec["completionMode"] == "Indexed"
    assert (spec["completions"], spec["parallelism"]) == (2, 1)
    assert (spec["backoffLimitPerIndex"], spec["maxFailedIndexes"]) == (5, 2)
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["ttlSecondsAfterFinished"] == 3600
    assert spec["podFailurePolicy"]["rules"] == [
        {
            "action": "FailIndex",
            "onExitCodes": {"containerName": "build", "operator": "In", "values": [2, 3, 5]},
        },
        {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        },
    ]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "builds"


def test_pod_template_lies_over_ours() -> None:
    spec = rendered()[1][1]["spec"]["template"]["spec"]
    container = spec["containers"][0]

    assert spec["serviceAccountName"] == "builder"
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["tolerations"][0]["key"] == "builds"
    assert (len(spec["containers"]), container["image"]) == (1, "r.io/asynckaniko:1")
    assert container["securityContext"] == {"runAsUser": 0}
    assert container["resources"] == {
        "requests": {"cpu": "500m", "memory": "2147483648"},
        "limits": {"memory": "2147483648"},
    }
    assert {"name": "state", "emptyDir": {"sizeLimit": "20Gi"}} in spec["volumes"]


def test_secrets_come_from_the_cluster() -> None:
    spec = rendered()[1][-1]["spec"]["template"]["spec"]

    assert spec["volumes"][-1] == {
        "name": "secrets",
        "projected": {
            "sources": [
                {
                    "secret": {
                        "name": "pip-token",
                        "items": [{"key": "token", "path": "pip-token/token"}],
                    }
                }
            ]
        },
    }


def test_task_stands_for_itself() -> None:
    plan, _ = rendered()
    base, api = plan.jobs[0].tasks[0], plan.jobs[3].tasks[0]

    assert base.entry["tags"] == ["r.io/base:1-linux-amd64"]
    assert base.entry["platforms"] == ["linux/amd64"]
    assert api.entry["contexts"] == {
        "base": "docker-image://r.io/base:1",
        "other": "docker-image://r.io/x",
    }
    assert api.entry["args"] == {"FIXED": "1", "TAKEN": "from-environment"}
    assert api.needs == ("base",)


def test_plan_is_read_as_it_was_written() -> None:
    plan, _ = rendered()

    assert ClusterPlan.parse(plan.to_bytes()) == plan


def test_same_batch_has_the_same_names_and_another_has_others() -> None:
    names = [document["metadata"]["name"] for document in rendered()[1]]
    others = [d["metadata"]["name"] for d in rendered(settings=["data.args.X=1"])[1]]

    assert names == [document["metadata"]["name"] for document in rendered()[1]]
    assert not set(names) & set(others)
    assert all(len(name) <= 63 for name in names)


def test_what_a_pod_cannot_do_is_told_with_its_place() -> None:
    batch = read("images: {a: {secrets: [{id: s, env: S}]}}")

    with pytest.raises(ManifestError) as raised:
        plan_cluster(batch, {})

    assert "m.yaml:2:13: a needs tags on a cluster" in str(raised.value)
    assert "m.yaml:2:24: secret s: a Pod takes it from a Secret" in str(raised.value)


def test_plan_that_no_config_map_holds_is_refused() -> None:
    images = "\n".join(
        f"  i{n}: {{tags: [r.io/i{n}], args: {{X: {'x' * 1000}}}}}" for n in range(1100)
    )

    with pytest.raises(UsageError, match="split the batch with --only"):
        plan_cluster(read(f"images:\n{images}"), {})


def test_job_needs_to_know_its_image() -> None:
    batch = read("images: {a: {tags: [r.io/a]}}")
    plan = plan_cluster(batch, {})

    with pytest.raises(UsageError, match=r"engine\.kubernetes\.image is missing"):
        render_job(plan, plan.jobs[0], batch.kubernetes)


DEPLOYED = Path(__file__).parents[3] / "deploy/kubernetes/batch"


@pytest.mark.parametrize("minor", MINORS)
def test_deployed_accounts_and_example_are_valid_for_kubernetes(minor: str) -> None:
    example = DEPLOYED / "images.yaml"
    batch = load(example.read_bytes(), str(example), directory=DEPLOYED)
    plan = plan_cluster(batch, {})
    accounts = list(YAML(typ="safe").load_all((DEPLOYED / "rbac.yaml").read_text()))
    jobs = [render_job(plan, job, batch.kubernetes) for job in plan.jobs]

    assert len(jobs) == 6
    for document in [*accounts, render_plan(plan, batch.kubernetes), *jobs]:
        kubernetes_validate.validate(document, minor, strict=True)


@pytest.mark.parametrize("minor", MINORS)
def test_packed_images_are_fewer_indexes(minor: str) -> None:
    images = "\n".join(f"  i{n}: {{tags: [r.io/i{n}:1]}}" for n in range(5))
    engine = "engine: {kubernetes: {image: r.io/a}}"
    batch = read(f"images:\n{images}\n{engine}")
    plan = plan_cluster(batch, {}, pack=2)

    document = render_job(plan, plan.jobs[0], batch.kubernetes)

    kubernetes_validate.validate(document, minor, strict=True)
    spec = document["spec"]
    assert (spec["completions"], spec["parallelism"], spec["maxFailedIndexes"]) == (3, 3, 3)
    (container,) = spec["template"]["spec"]["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    assert variables["ASYNCKANIKO_BATCH_TASKS"] == "0,1+2,3+4"
    assert ClusterPlan.parse(plan.to_bytes()) == plan
    assert plan.name != plan_cluster(batch, {}).name


@pytest.mark.parametrize("pack", [0, 21])
def test_too_many_for_one_message_are_refused(pack: int) -> None:
    with pytest.raises(UsageError, match=f"--pack {pack}: it must be between 1 and 20"):
        plan_cluster(read("images: {a: {tags: [r.io/a:1]}}"), {}, pack=pack)
