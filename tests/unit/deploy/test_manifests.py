"""What deploy/kubernetes and deploy/ci give users: valid, runnable, and as the Pod tests run it."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from asynckaniko.batch.expand import Choices, load
from asynckaniko.batch.plan import Batch
from asynckaniko.cli.commands import main_group
from asynckaniko.cli.flags import Command
from asynckaniko.cli.kaniko_flags import executor_flags
from asynckaniko.cli.warm_flags import kaniko_warmer_flags
from tests.support.podsim import (
    DEFAULT_CAPABILITIES,
    ENVIRONMENTS,
    LOCALHOST,
    LOCALHOST_PROFILE,
    Environment,
)

DEPLOY = Path(__file__).parents[3] / "deploy"
VERSIONS = [f"1.{minor}" for minor in range(29, 38)]
MANIFESTS = sorted(
    path
    for path in (DEPLOY / "kubernetes").rglob("*.yaml")
    # A kustomization and the manifest of a batch are not for the cluster.
    if path.name != "kustomization.yaml" and "\napiVersion: " in f"\n{path.read_text()}"
)
EXAMPLES = sorted((DEPLOY / "ci").glob("*.y*ml"))
RUNS_IN = {
    "pod.yaml": ENVIRONMENTS["default"],
    "job.yaml": ENVIRONMENTS["default"],
    "five-capabilities.yaml": ENVIRONMENTS["five-caps"],
    "user-namespace.yaml": ENVIRONMENTS["userns-admin"],
    "localhost-seccomp.yaml": LOCALHOST,
    "restricted.yaml": ENVIRONMENTS["restricted"],
    "ordinary-user.yaml": ENVIRONMENTS["restricted-unconfined"],
}
"""The environments that tests/integration/pods builds in."""
IMAGE = "registry.example/asynckaniko/executor"
STATE = "/var/lib/asynckaniko"


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def pod_specs(path: Path) -> Iterator[dict[str, Any]]:
    for document in documents(path):
        spec = document.get("spec", {})
        match document["kind"]:
            case "Pod":
                yield spec
            case "Job":
                yield spec["template"]["spec"]
            case "CronJob":
                yield spec["jobTemplate"]["spec"]["template"]["spec"]


def builder_of(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a manifest's Pod spec and the container that builds."""
    (spec,) = pod_specs(path)
    (container,) = spec["containers"]
    return spec, container


def ids(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", MANIFESTS, ids=ids)
def test_manifest_is_valid_in_every_supported_version(path: Path, version: str) -> None:
    found = documents(path)

    assert found, "nothing is valid, too"
    for document in found:
        kubernetes_validate.validate(document, version, strict=True)


def test_validation_notices_a_field_that_does_not_exist() -> None:
    (document,) = documents(DEPLOY / "kubernetes/pod.yaml")
    document["spec"]["containers"][0]["volumeMount"] = []

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("name", RUNS_IN)
def test_security_context_is_one_that_the_image_was_tested_in(name: str) -> None:
    (path,) = (DEPLOY / "kubernetes").rglob(name)
    spec, container = builder_of(path)
    context = container["securityContext"]
    capabilities = context.get("capabilities", {})
    held = () if capabilities.get("drop") == ["ALL"] else DEFAULT_CAPABILITIES

    assert RUNS_IN[name] == Environment(
        uid=context["runAsUser"],
        capabilities=(*held, *capabilities.get("add", ())),
        seccomp=context["seccompProfile"]["type"],
        no_new_privileges=not context.get("allowPrivilegeEscalation", True),
        user_namespace=not spec.get("hostUsers", True),
    )


def test_every_builder_is_tested() -> None:
    names = {path.name for path in MANIFESTS for spec in pod_specs(path) if _builds(spec)}

    assert names == set(RUNS_IN)


def _builds(spec: dict[str, Any]) -> bool:
    return "command" not in spec["containers"][0]


@pytest.mark.parametrize("name", RUNS_IN)
def test_builder_has_a_state_volume_with_a_limit_and_the_credentials(name: str) -> None:
    (path,) = (DEPLOY / "kubernetes").rglob(name)
    spec, container = builder_of(path)
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}

    assert mounted == {"state": STATE, "docker-config": "/kaniko/.docker"}
    assert volumes["state"]["emptyDir"]["sizeLimit"]
    assert volumes["docker-config"]["secret"]["items"] == [
        {"key": ".dockerconfigjson", "path": "config.json"}
    ]
    assert "memory" in container["resources"]["limits"]
    assert spec["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", RUNS_IN)
def test_builder_takes_the_arguments(name: str) -> None:
    (path,) = (DEPLOY / "kubernetes").rglob(name)
    _, container = builder_of(path)

    values = parse(container["args"])

    assert values["destination"] == ("registry.example/team/app:1.4.2",)


def test_warmer_takes_the_arguments() -> None:
    _, container = builder_of(DEPLOY / "kubernetes/warmer.yaml")
    command = Command("warmer", params=kaniko_warmer_flags())

    context = command.make_context("warmer", list(container["args"]))

    assert context.params["cache_dir"] == "/cache"
    assert container["command"] == ["/kaniko/warmer"]


def parse(arguments: list[str]) -> dict[str, Any]:
    command = Command("executor", params=executor_flags())
    return command.make_context("executor", list(arguments)).params


def test_kustomization_lists_files_that_exist_and_renames_the_image() -> None:
    (document,) = documents(DEPLOY / "kubernetes/kustomization.yaml")

    assert all((DEPLOY / "kubernetes" / name).is_file() for name in document["resources"])
    assert [image["name"] for image in document["images"]] == [IMAGE]
    for path in MANIFESTS:
        for spec in pod_specs(path):
            assert spec["containers"][0]["image"].partition(":")[0] == IMAGE


def test_seccomp_profile_has_what_a_runtime_reads() -> None:
    profile = yaml.safe_load(LOCALHOST_PROFILE.read_text())
    allowed = {
        name
        for rule in profile["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")
        for name in rule["names"]
    }

    assert set(profile) == {"defaultAction", "defaultErrnoRet", "architectures", "syscalls"}
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {"unshare", "mount", "umount2", "setns", "clone", "clone3", "pivot_root"} <= allowed
    assert not {"bpf", "init_module", "kexec_load", "open_by_handle_at"} & allowed


@pytest.mark.parametrize("path", EXAMPLES, ids=ids)
def test_example_is_well_formed_and_uses_the_image(path: Path) -> None:
    assert documents(path)
    assert IMAGE in path.read_text()
    assert STATE in path.read_text()


def test_gitlab_job_keeps_the_shell_and_calls_the_executor() -> None:
    (document,) = documents(DEPLOY / "ci/gitlab-ci.yml")
    job = document["build"]

    assert job["image"] == {"name": f"{IMAGE}:debug", "entrypoint": [""]}
    program, *arguments = shlex.split(job["script"][-1])
    assert program == "/kaniko/executor"
    assert parse(arguments)["context"] == "${CI_PROJECT_DIR}"


def test_tekton_task_has_the_catalog_parameters_and_results() -> None:
    (document,) = documents(DEPLOY / "ci/tekton-task.yaml")
    spec = document["spec"]
    step = spec["steps"][0]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}

    assert document["apiVersion"] == "tekton.dev/v1"
    assert {"IMAGE", "DOCKERFILE", "CONTEXT", "EXTRA_ARGS", "BUILDER_IMAGE"} == {
        parameter["name"] for parameter in spec["params"]
    }
    assert [result["name"] for result in spec["results"]] == ["IMAGE_DIGEST", "IMAGE_URL"]
    assert parse(step["args"][1:])["digest_file"] == "$(results.IMAGE_DIGEST.path)"
    assert [volumes[mount["name"]] for mount in step["volumeMounts"]] == spec["volumes"]


def test_actions_job_runs_in_the_debug_image() -> None:
    (document,) = documents(DEPLOY / "ci/github-actions.yml")
    job = document["jobs"]["build"]
    login, build = (shlex.split(line) for line in job["steps"][-1]["run"].splitlines())

    assert job["container"] == {"image": f"{IMAGE}:debug"}
    assert login[3:5] == ["/kaniko/executor", "login"]
    assert build[0] == "/kaniko/executor"
    assert parse(build[1:])["context"] == "$GITHUB_WORKSPACE"


def test_argo_template_names_the_command_and_hands_on_the_digest() -> None:
    (document,) = documents(DEPLOY / "ci/argo-workflow.yaml")
    (template,) = document["spec"]["templates"]
    container = template["container"]

    assert container["command"] == ["/kaniko/executor"]
    assert parse(container["args"])["digest_file"] == "/tmp/digest"
    assert template["outputs"]["parameters"][0]["valueFrom"] == {"path": "/tmp/digest"}
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in template["volumes"]
    }


def batch_of(arguments: list[str]) -> Batch:
    """Parse the command line of a batch, and read the manifest that goes with the examples."""
    command, *words = arguments
    assert command == "batch"
    context = main_group().make_context("asynckaniko", list(arguments))
    assert isinstance(context.command, click.Group)
    batch = context.command.get_command(context, command)
    assert batch is not None
    parsed = batch.make_context(command, words)
    manifest = DEPLOY / "kubernetes/batch/images.yaml"
    variables = dict(pair.split("=", 1) for pair in parsed.params["var"])
    return load(
        manifest.read_bytes(),
        manifest.name,
        directory=manifest.parent,
        choices=Choices(variables=variables),
    )


def test_argo_batch_renders_and_then_builds_the_same_manifest() -> None:
    (document,) = documents(DEPLOY / "ci/argo-batch.yaml")
    spec = document["spec"]
    templates = {template["name"]: template for template in spec["templates"]}
    tasks = templates[spec["entrypoint"]]["dag"]["tasks"]
    render, build = templates["render"], templates["build"]
    given = {"manifest": "images.yaml", "revision": "v1"}
    arguments = [substituted(word, "{{workflow.parameters.", "}}", given) for word in _args(build)]

    assert document["kind"] == "WorkflowTemplate"
    assert [(task["name"], task["template"]) for task in tasks] == [
        ("render", "render"),
        ("build", "build"),
    ]
    assert {p["name"] for p in spec["arguments"]["parameters"]} >= set(given)
    assert shlex.split(render["script"]["source"])[-2:] == [
        ">",
        render["outputs"]["artifacts"][0]["path"],
    ]
    assert build["container"]["command"] == ["asynckaniko"]
    assert batch_of(arguments).image("api").tags == ("registry.example.com/team/api:v1",)
    (digests,) = build["outputs"]["parameters"]
    assert f"--metadata-file={digests['valueFrom']['path']}" in arguments
    assert spec["serviceAccountName"] == submitter()


def test_tekton_batch_is_a_pipeline_of_its_own_tasks() -> None:
    *tasks, pipeline = documents(DEPLOY / "ci/tekton-batch.yaml")
    own = {task["metadata"]["name"]: task["spec"] for task in tasks}
    fetch, *steps = pipeline["spec"]["tasks"]

    assert [document["kind"] for document in (*tasks, pipeline)] == ["Task", "Task", "Pipeline"]
    assert [step["runAfter"] for step in steps] == [["fetch"], ["render"]]
    assert fetch["taskRef"]["name"] == "git-clone"
    for step in steps:
        spec = own[step["taskRef"]["name"]]
        assert {p["name"] for p in step["params"]} == {p["name"] for p in spec["params"]}
        assert [w["name"] for w in step["workspaces"]] == [w["name"] for w in spec["workspaces"]]
    (step,) = own["asynckaniko-batch-build"]["steps"]
    given = {"MANIFEST": "images.yaml", "REVISION": "v1"}
    arguments = [substituted(word, "$(params.", ")", given) for word in step["args"]]
    assert step["command"] == ["asynckaniko"]
    assert batch_of(arguments).image("base").tags == ("registry.example.com/team/base:v1",)


def test_render_steps_are_command_lines_that_exist() -> None:
    (argo,) = documents(DEPLOY / "ci/argo-batch.yaml")
    (script,) = [t["script"] for t in argo["spec"]["templates"] if "script" in t]
    tekton = documents(DEPLOY / "ci/tekton-batch.yaml")[0]["spec"]["steps"][0]

    for source in (script["source"], tekton["script"].split("\n", 1)[1]):
        program, *words, arrow, _ = shlex.split(source)
        assert (program, arrow) == ("asynckaniko", ">")
        words = [word.replace("$REVISION", "v1") for word in words]
        assert batch_of(words).image("api").tags == ("registry.example.com/team/api:v1",)
    assert {script["image"], tekton["image"]} == {f"{IMAGE}:debug"}


def _args(template: dict[str, Any]) -> list[str]:
    arguments: list[str] = template["container"]["args"]
    return arguments


def substituted(text: str, before: str, after: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"{before}{name}{after}", value)
    return text


def submitter() -> str:
    """Return the account that may submit, by the role that it is bound to."""
    (binding,) = [
        document
        for document in documents(DEPLOY / "kubernetes/batch/rbac.yaml")
        if document["kind"] == "RoleBinding"
    ]
    (subject,) = binding["subjects"]
    return str(subject["name"])
