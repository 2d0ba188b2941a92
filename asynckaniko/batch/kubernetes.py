"""The objects of a batch on a cluster: a ConfigMap with the plan, and Indexed Jobs.

Kubernetes 1.29 and later know all that is used here. The facts about Jobs are those of the
documentation (workloads/controllers/job): an index whose Pod ends with a code that says "this will
fail again" is not tried again; disruption by the cluster costs no attempt.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from asynckaniko.batch.manifest import KubernetesOptions
from asynckaniko.batch.quantities import parse_duration
from asynckaniko.batch.tasks import ClusterPlan, JobPlan
from asynckaniko.errors import UsageError
from asynckaniko.oci.platform import Platform

BATCH_LABEL = "asynckaniko.dev/batch"
WAVE_LABEL = "asynckaniko.dev/wave"
INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"
CONTAINER = "build"
PLAN_KEY = "plan.json"
PLAN_DIRECTORY = "/etc/asynckaniko"
SECRETS_DIRECTORY = "/run/secrets/asynckaniko"
STATE_DIRECTORY = "/var/lib/asynckaniko"
DOCKER_CONFIG = "/etc/asynckaniko-docker"
NEVER_AGAIN = (2, 3, 5)
"""Exit codes of bad input, failed steps and wrong bytes."""
_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_GRACE_SECONDS = 60


def render_plan(plan: ClusterPlan, options: KubernetesOptions) -> dict[str, Any]:
    """Make the ConfigMap that the Pods read."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(plan.name, plan, options),
        "immutable": True,
        "data": {PLAN_KEY: plan.to_bytes().decode(), **plan.files},
    }


def render_job(
    plan: ClusterPlan,
    job: JobPlan,
    options: KubernetesOptions,
    *,
    tasks: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Make the Job for some of its tasks; without `tasks` for all.

    Raises:
        UsageError: the manifest does not say which image the Pods run.
    """
    if not options.image:
        raise UsageError(
            "engine.kubernetes.image is missing: the image with asynckaniko that the Pods run"
        )
    shares = job.shares(range(len(job.tasks)) if tasks is None else tasks)
    metadata = _metadata(job.name, plan, options)
    metadata["labels"][WAVE_LABEL] = str(job.wave)
    if options.queue:
        metadata["labels"][_QUEUE_LABEL] = options.queue
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completionMode": "Indexed",
            "completions": len(shares),
            "parallelism": max(1, min(len(shares), options.parallelism)),
            "backoffLimitPerIndex": job.retries,
            "maxFailedIndexes": 0 if job.fail_fast else len(shares),
            "podReplacementPolicy": "Failed",
            "ttlSecondsAfterFinished": int(parse_duration(options.ttl)),
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailIndex",
                        "onExitCodes": {
                            "containerName": CONTAINER,
                            "operator": "In",
                            "values": list(NEVER_AGAIN),
                        },
                    },
                    {
                        "action": "Ignore",
                        # Without status it is invalid before Kubernetes 1.36.
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                ]
            },
            "template": _overlay(_template(plan, job, options, shares), options.pod_template),
        },
    }


def _metadata(name: str, plan: ClusterPlan, options: KubernetesOptions) -> dict[str, Any]:
    labels = {
        "app.kubernetes.io/name": "asynckaniko",
        "app.kubernetes.io/component": "batch",
        BATCH_LABEL: plan.name,
    }
    return {"name": name, "namespace": options.namespace, "labels": labels}


def _template(
    plan: ClusterPlan, job: JobPlan, options: KubernetesOptions, shares: Sequence[tuple[int, ...]]
) -> dict[str, Any]:
    environment = {
        "ASYNCKANIKO_BATCH_JOB": job.name,
        "ASYNCKANIKO_BATCH_TASKS": ",".join("+".join(map(str, share)) for share in shares),
        "ASYNCKANIKO_BATCH_RESULT": "/dev/termination-log",
        "ASYNCKANIKO_STATE_DIR": STATE_DIRECTORY,
    }
    mounts = [
        {"name": "plan", "mountPath": PLAN_DIRECTORY, "readOnly": True},
        {"name": "state", "mountPath": STATE_DIRECTORY},
    ]
    volumes: list[dict[str, Any]] = [
        {"name": "plan", "configMap": {"name": plan.name}},
        {"name": "state", "emptyDir": {}},
    ]
    if options.registry_secret:
        environment["DOCKER_CONFIG"] = DOCKER_CONFIG
        mounts.append({"name": "docker", "mountPath": DOCKER_CONFIG, "readOnly": True})
        items = [{"key": ".dockerconfigjson", "path": "config.json"}]
        secret = {"secretName": options.registry_secret, "items": items}
        volumes.append({"name": "docker", "secret": secret})
    if job.secrets:
        mounts.append({"name": "secrets", "mountPath": SECRETS_DIRECTORY, "readOnly": True})
        volumes.append({"name": "secrets", "projected": {"sources": _sources(job)}})
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": options.image,
        # Named, as the executor image begins with kaniko's command line.
        "command": ["asynckaniko"],
        "args": [
            *("batch", "run-index", "--plan", f"{PLAN_DIRECTORY}/{PLAN_KEY}"),
            # The kubelet expands $(NAME), and reads $$ as a dollar.
            *(argument.replace("$", "$$") for argument in plan.arguments),
        ],
        "workingDir": options.working_dir,
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "resources": _resources(job),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "containers": [container],
        "volumes": volumes,
    }
    if options.service_account:
        spec["serviceAccountName"] = options.service_account
    if job.platform:
        platform = Platform.parse(job.platform)
        spec["nodeSelector"] = {
            "kubernetes.io/os": platform.os,
            "kubernetes.io/arch": platform.architecture,
        }
    return {"metadata": {"labels": {BATCH_LABEL: plan.name}}, "spec": spec}


def _sources(job: JobPlan) -> list[dict[str, Any]]:
    return [
        {
            "secret": {
                "name": secret.name,
                "items": [{"key": secret.key, "path": f"{secret.name}/{secret.key}"}],
            }
        }
        for secret in job.secrets
    ]


def _resources(job: JobPlan) -> dict[str, Any]:
    requests = {}
    if job.cpu:
        requests["cpu"] = f"{round(job.cpu * 1000)}m"
    if job.memory:
        requests["memory"] = str(job.memory)
    if not requests:
        return {}
    # A build that grows beyond what it said must not take its neighbours with it.
    limits = {"memory": str(job.memory)} if job.memory else {}
    return {"requests": requests, "limits": limits} if limits else {"requests": requests}


def _overlay(below: Any, above: Any) -> Any:
    """Lay a manifest's podTemplate over ours; lists of named things merge by name."""
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        merged = dict(below)
        for key, value in above.items():
            merged[key] = _overlay(merged[key], value) if key in merged else value
        return merged
    if _is_named(below) and _is_named(above):
        by_name = {item["name"]: item for item in below}
        for item in above:
            name = item["name"]
            by_name[name] = _overlay(by_name[name], item) if name in by_name else item
        return list(by_name.values())
    return above


def _is_named(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, dict) and "name" in item for item in value)
    )
