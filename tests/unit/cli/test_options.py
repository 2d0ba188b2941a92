"""Flags and environment become settings and a request: defaults < environment < flags."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import asynckaniko
from asynckaniko.build.request import (
    DigestFile,
    DockerArchive,
    NamesFile,
    OciLayout,
    Push,
)
from asynckaniko.cli.build_flags import FOREIGN, BuildFlags, build_flags
from asynckaniko.cli.options import BuildOptions, resolve
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.errors import InvalidInput, InvalidReference, UsageError
from asynckaniko.settings import CredentialOptions, RegistryOptions, Retry

AGENT = f"asynckaniko/{asynckaniko.__version__}"


def options(
    environment: Mapping[str, str] | None = None, *, terminal: bool = False, **flags: Any
) -> BuildOptions:
    """Resolve flags; the image goes nowhere unless they say where."""
    if not {"destination", "oci_layout_path", "tar_path", "no_push"} & set(flags):
        flags["no_push"] = True
    around = Surroundings(
        environment={"HOME": "/home/u", **(environment or {})},
        is_terminal=terminal,
        system_state_dir=Path("/no/such/directory"),
        kaniko_dir=Path("/no/such/directory"),
    )
    return resolve(BuildFlags(**flags), around)


def test_every_flag_has_a_field_and_none_is_refused() -> None:
    names = {flag.name for flag in build_flags()}

    kaniko_only = {"cleanup", "ignore_path", "ignore_var_run", "preserve_context"}
    others = {"context_argument", *kaniko_only}
    assert names | others == {field.name for field in fields(BuildFlags)}
    assert not {option for flag in build_flags() for option in flag.opts} & set(FOREIGN)


def test_without_flags_the_current_directory_is_built() -> None:
    found = options()

    assert found.request.context == "."
    assert found.request.dockerfile == "Dockerfile"
    assert found.request.outputs == ()
    assert found.settings.registry == RegistryOptions(user_agent=AGENT)
    assert found.settings.retry == Retry()
    assert found.settings.state_dir == Path("/home/u/.local/state/asynckaniko")


def test_context_is_the_argument_or_the_flag() -> None:
    assert options(context_argument=("app",)).request.context == "app"
    assert options(context="dir:///w").request.context == "dir:///w"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"context_argument": ("a", "b")}, "one context, please: a b"),
        ({"context_argument": ("a",), "context": "b"}, "two contexts: a and --context b"),
    ],
)
def test_two_contexts_are_an_error(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        options(**flags)


def test_empty_value_means_not_set() -> None:
    found = options(
        context_argument=("",),
        context="",
        dockerfile="",
        target="",
        custom_platform="",
        destination=("",),
        build_arg=("",),
        label=("",),
        registry_mirror=("",),
        insecure_registry=("",),
        oci_layout_path="",
        tar_path="",
        digest_file="",
        state_dir="",
        timings="",
        metadata_file="",
        no_push=True,
    )

    assert found == options()


def test_request_carries_what_the_flags_say(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("x")

    request = options(
        {"FROM_ENV": "e"},
        dockerfile="docker/Dockerfile",
        target="test",
        custom_platform="linux/arm64/v8",
        build_arg=("A=1", "FROM_ENV"),
        label=("a=b",),
        build_context=("lib=../lib", "base=docker-image://alpine"),
        secret=(f"id=t,src={token}",),
        compression="zstd",
        compression_level=19,
        image_format="oci",
        reproducible=True,
        rewrite_timestamp=True,
        materialize=True,
        jobs=3,
    ).request

    assert request.dockerfile == "docker/Dockerfile"
    assert request.target == "test"
    assert request.platform == "linux/arm64"
    assert request.build_args == {"A": "1", "FROM_ENV": "e"}
    assert request.labels == {"a": "b"}
    assert request.build_contexts == {"lib": "../lib", "base": "docker-image://alpine"}
    assert request.secrets["t"].path == token
    assert (request.compression, request.compression_level) == ("zstd", 19)
    assert (request.image_format, request.jobs) == ("oci", 3)
    assert (request.reproducible, request.rewrite_timestamp, request.materialize) == (True,) * 3


def test_level_minus_one_is_the_compressions_own() -> None:
    assert options(compression_level=-1).request.compression_level is None


def test_each_destination_is_pushed_once() -> None:
    found = options(destination=("app", "registry.example.com/app:1", "app:latest"))

    assert found.request.outputs == (
        Push(reference="docker.io/library/app:latest"),
        Push(reference="registry.example.com/app:1"),
    )


def test_no_push_keeps_the_destinations_as_names_only() -> None:
    found = options(no_push=True, destination=("app:1",), tar_path="/out/app.tar")

    assert found.request.outputs == (
        DockerArchive(path=Path("/out/app.tar"), references=("docker.io/library/app:1",)),
    )


def test_all_outputs_at_once() -> None:
    found = options(
        destination=("app:1",),
        oci_layout_path="/out/layout",
        tar_path="/out/app.tar",
        digest_file="/out/digest",
        image_name_with_digest_file="/out/name",
        image_name_tag_with_digest_file="/out/tag",
    )

    assert found.request.outputs == (
        Push(reference="docker.io/library/app:1"),
        OciLayout(path=Path("/out/layout"), tags=("1",)),
        DockerArchive(path=Path("/out/app.tar"), references=("docker.io/library/app:1",)),
        DigestFile(path=Path("/out/digest")),
        NamesFile(path=Path("/out/name")),
        NamesFile(path=Path("/out/tag"), with_tag=True),
    )


def test_layout_lists_an_image_once_whatever_it_is_called() -> None:
    found = options(destination=("app:1", "app:2"), oci_layout_path="/out")

    assert found.request.outputs[-1] == OciLayout(path=Path("/out"), tags=())


def test_relative_output_is_below_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert options(oci_layout_path="out").request.outputs == (OciLayout(path=tmp_path / "out"),)


def test_image_that_goes_nowhere_is_an_error_that_lists_the_places() -> None:
    with pytest.raises(UsageError) as caught:
        options(destination=())

    assert caught.value.message == (
        "the image would go nowhere: give --destination, --oci-layout-path or --tar-path, "
        "or --no-push to build all the same"
    )


def test_variable_can_turn_pushing_off_and_the_flag_on_again() -> None:
    off = {"KANIKO_NO_PUSH": "true"}

    assert options(off, destination=("app",)).request.outputs == ()
    assert options(off, destination=("app",), no_push=False).request.outputs
    assert options({"KANIKO_NO_PUSH": "0"}, destination=("app",)).request.outputs


@pytest.mark.parametrize("flag", ["image_name_with_digest_file", "image_name_tag_with_digest_file"])
def test_file_of_names_needs_something_pushed(flag: str) -> None:
    flags: dict[str, Any] = {flag: "/out/names", "no_push": True}

    with pytest.raises(UsageError, match="it needs a --destination"):
        options(**flags)


def test_digest_may_be_sent_to_a_presigned_url() -> None:
    url = "https://bucket.example.com/digest?signature=x"

    found = options(digest_file=url)

    assert found.digest_url == url
    assert found.request.outputs == ()
    assert "signature" not in repr(found)


@pytest.mark.parametrize(
    "flags",
    [
        {"digest_file": "http://bucket.example.com/digest?signature=x"},
        {"image_name_with_digest_file": "https://b/x?signature=x", "destination": ("a",)},
    ],
)
def test_nothing_else_is_sent_to_urls(flags: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        options(**flags)

    assert "it cannot be sent to this URL; give a file" in caught.value.message
    assert "signature" not in caught.value.message


@pytest.mark.parametrize(
    ("destination", "message"),
    [
        ("App", "names are lower case"),
        (f"app@sha256:{'0' * 64}", "a push cannot choose the digest"),
    ],
)
def test_destination_must_be_a_reference(destination: str, message: str) -> None:
    with pytest.raises(InvalidReference, match=message):
        options(destination=(destination,))


def test_registry_flags_become_registry_options(tmp_path: Path) -> None:
    ca, cert, key = (tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem"))
    for file in (ca, cert, key):
        file.write_text("pem")

    found = options(
        insecure=True,
        insecure_pull=True,
        insecure_registry=("a:5000", "b"),
        skip_tls_verify=True,
        skip_tls_verify_pull=True,
        skip_tls_verify_registry=("c",),
        registry_certificate=(f"d:443={ca}",),
        registry_client_cert=(f"d:443={cert},{key}",),
        registry_mirror=("mirror.example.com/hub",),
    ).settings.registry

    assert found == RegistryOptions(
        insecure_push=True,
        insecure_pull=True,
        insecure_registries=frozenset({"a:5000", "b"}),
        skip_tls_verify_push=True,
        skip_tls_verify_pull=True,
        skip_tls_verify_registries=frozenset({"c"}),
        certificates={"d:443": ca},
        client_certificates={"d:443": (cert, key)},
        mirrors={"docker.io": ("mirror.example.com/hub",)},
        user_agent=AGENT,
    )


def test_mirror_of_the_environment_is_one_value_after_those_of_the_flags() -> None:
    found = options({"KANIKO_REGISTRY_MIRROR": "a,b"}, registry_mirror=("c", "d", "c"))

    assert found.settings.registry.mirrors == {"docker.io": ("c", "d", "a,b")}


def test_maps_name_mirrors_of_any_registry_in_order() -> None:
    found = options(
        {"KANIKO_REGISTRY_MAP": "quay.io=env.example.com"},
        registry_map=("quay.io=a.example.com/q;gcr.io=https://b.example.com", "quay.io=c"),
        registry_mirror=("hub.example.com",),
    )

    assert found.settings.registry.mirrors == {
        "quay.io": ("a.example.com/q", "c", "env.example.com"),
        "gcr.io": ("https://b.example.com",),
        "docker.io": ("hub.example.com",),
    }


@pytest.mark.parametrize("name", ["docker.io", "index.docker.io", "registry-1.docker.io"])
def test_map_of_docker_hub_works_under_all_its_names(name: str) -> None:
    found = options(registry_map=(f"{name}=m.example.com",))

    assert found.settings.registry.mirrors == {"docker.io": ("m.example.com",)}


@pytest.mark.parametrize("upper", [True, False])
def test_proxies_are_those_of_the_environment(*, upper: bool) -> None:
    names = ["HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"]
    environment = {name if upper else name.lower(): name[:4] for name in names}

    registry = options(environment).settings.registry

    assert (registry.https_proxy, registry.http_proxy, registry.no_proxy) == (
        "HTTP",
        "HTTP",
        "NO_P",
    )


def test_sign_ins_of_the_environment_are_passed_on_and_not_shown() -> None:
    environment = {
        "DOCKER_AUTH_CONFIG": "canary",
        "KANIKO_R_PASSWORD": "canary",
        "CI_REGISTRY_PASSWORD": "canary",
        "AZURE_CLIENT_SECRET": "canary",
        "GOOGLE_APPLICATION_CREDENTIALS": "/file",
        "OTHER": "canary",
    }

    settings = options(environment).settings

    assert settings.credentials.auth_text == "canary"
    assert set(settings.credentials.variables) == {
        "KANIKO_R_PASSWORD",
        "CI_REGISTRY_PASSWORD",
        "AZURE_CLIENT_SECRET",
        "GOOGLE_APPLICATION_CREDENTIALS",
    }
    assert "canary" not in repr(settings)


def test_fallback_to_the_registry_can_be_turned_off() -> None:
    assert options().settings.registry.fall_back_to_origin
    off = options(skip_default_registry_fallback=True)
    assert not off.settings.registry.fall_back_to_origin


def test_retry_flags_raise_the_number_of_attempts_and_never_lower_it() -> None:
    assert options(push_retry=20).settings.retry.attempts == 21
    assert options(image_download_retry=30, push_retry=2).settings.retry.attempts == 31
    assert options(push_retry=0).settings.retry.attempts == Retry().attempts


def test_layers_are_pushed_in_chunks_only_if_a_size_is_given() -> None:
    assert options().settings.registry.chunk_size == 0
    assert options(push_chunk_size=8 << 20).settings.registry.chunk_size == 8 << 20


def test_size_from_which_layers_are_pushed_early_is_64_mib_unless_it_is_given() -> None:
    assert options().settings.registry.early_size == 64 << 20
    assert options(push_early_size=1 << 30).settings.registry.early_size == 1 << 30
    assert options(push_early_size=0).settings.registry.early_size == 0


def test_refusal_of_an_immutable_tag_can_be_ignored() -> None:
    assert not options().settings.registry.ignore_immutable_tags
    ignoring = options(push_ignore_immutable_tag_errors=True)
    assert ignoring.settings.registry.ignore_immutable_tags


def test_right_to_push_is_checked_unless_that_is_skipped() -> None:
    assert options().request.check_push
    assert options(skip_push_permission_check=False).request.check_push
    assert not options(skip_push_permission_check=True).request.check_push


@pytest.mark.parametrize(
    ("given", "helpers"),
    [
        ((), CredentialOptions().helpers),
        (("",), ()),
        (("gitlab", "env", "gitlab"), ("gitlab", "env")),
        (("", "ecr"), ("ecr",)),
        (("ecr", "unknown"), ("ecr", "unknown")),
    ],
)
def test_credential_helpers_are_all_or_those_named_or_none(
    given: tuple[str, ...], helpers: tuple[str, ...]
) -> None:
    assert options(credential_helpers=given).settings.credentials.helpers == helpers


def test_client_type_is_added_to_the_user_agent() -> None:
    found = options({"UPSTREAM_CLIENT_TYPE": "skaffold"})

    assert found.settings.registry.user_agent == f"{AGENT},skaffold"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"registry_map": ("quay.io",)}, "it must be REGISTRY=HOST"),
        ({"registry_certificate": ("host",)}, "it must be HOST=FILE"),
        ({"registry_certificate": ("h=/no/such",)}, "there is no file /no/such"),
        ({"registry_client_cert": ("h=/etc/passwd",)}, "it must be HOST=CERT,KEY"),
        ({"registry_client_cert": ("h=/etc/passwd,/no",)}, "there is no file /no"),
        ({"custom_platform": "arm64"}, "not a platform"),
        ({"build_context": ("lib",)}, "it must be NAME=SOURCE"),
        ({"jobs": -1}, "--jobs -1"),
        ({"compression": "zstd", "image_format": "docker"}, "no type for zstd layers"),
        ({"timings": "t.csv"}, "the name must end with .html, .json or .trace"),
        ({"progress": "plain", "log_format": "text"}, "exclude each other"),
        ({"progress": "tty"}, "standard error is not a terminal"),
    ],
    ids=str,
)
def test_value_that_cannot_be_used_is_an_input_error(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        options(**flags)


def test_state_directory_is_the_flag_then_the_variable() -> None:
    variable = {"ASYNCKANIKO_STATE_DIR": "/env"}

    assert options(variable, state_dir="/flag").settings.state_dir == Path("/flag")
    assert options(variable).settings.state_dir == Path("/env")


def test_source_date_epoch_is_the_build_arg_then_the_variable() -> None:
    variable = {"SOURCE_DATE_EPOCH": "100"}

    assert options(variable).request.source_date_epoch == 100
    assert options(variable, build_arg=("SOURCE_DATE_EPOCH=7",)).request.source_date_epoch == 7
    assert options().request.source_date_epoch is None
    assert options({"SOURCE_DATE_EPOCH": ""}).request.source_date_epoch is None


@pytest.mark.parametrize("value", ["yesterday", "-1", "1.5", "\u0661"])
def test_source_date_epoch_must_be_seconds(value: str) -> None:
    with pytest.raises(UsageError, match="it must be seconds since 1970"):
        options({"SOURCE_DATE_EPOCH": value})


@pytest.mark.parametrize(
    ("flags", "environment", "terminal", "mode"),
    [
        ({}, {}, True, "tty"),
        ({}, {}, False, "plain"),
        ({}, {"TERM": "dumb"}, True, "plain"),
        ({"progress": "auto"}, {}, True, "tty"),
        ({"progress": "json"}, {}, True, "json"),
        ({}, {"BUILDKIT_PROGRESS": "quiet"}, True, "quiet"),
        ({"progress": "plain"}, {"BUILDKIT_PROGRESS": "json"}, True, "plain"),
        ({"log_format": "text"}, {}, True, "log"),
        ({"log_timestamp": True}, {"BUILDKIT_PROGRESS": "json"}, True, "log"),
        ({"log_timestamp": False}, {}, False, "plain"),
    ],
)
def test_display_is_chosen_by_flag_then_variable_then_terminal(
    flags: dict[str, Any], environment: Mapping[str, str], terminal: bool, mode: str
) -> None:
    assert options(environment, terminal=terminal, **flags).display.mode == mode


def test_unknown_progress_of_the_environment_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"BUILDKIT_PROGRESS=fancy: it must be one of auto"):
        options({"BUILDKIT_PROGRESS": "fancy"})


def test_log_flags_reach_the_display() -> None:
    display = options(log_format="json", log_timestamp=True, verbosity="debug").display

    assert (display.log_format, display.log_timestamp) == ("json", True)
    assert display.verbosity == "debug"
