"""Read what reaching build contexts takes: --git, --context-sub-path, --bucket, and variables."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from asynckaniko.cli.flag_values import parse_bool
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.context.options import (
    PULL_SCHEMES,
    ContextOptions,
    GitOptions,
    ObjectStoreOptions,
)
from asynckaniko.errors import UsageError

_GIT_SEES = (
    "PATH",
    "TMPDIR",
    "USER",
    "LOGNAME",
    "SSH_AUTH_SOCK",
    "GIT_SSH_COMMAND",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
)
_AZURE_IDENTITY = (
    "AZURE_CLIENT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_TENANT_ID",
    "AZURE_MSI_ENDPOINT",
    "IDENTITY_ENDPOINT",
)
_AWS_OWN_CHAIN = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_AWS_KEYS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
}


def read_context_options(
    around: Surroundings, *, sub_path: str | None, git: Iterable[str], uses_s3: bool
) -> ContextOptions:
    """Gather how contexts are reached; files of AWS profiles are read only where `uses_s3`.

    Raises:
        UsageError: a value that cannot be used.
    """
    if sub_path and ".." in sub_path.split("/"):
        raise UsageError(f"--context-sub-path {sub_path}: it must be a path below the context")
    return ContextOptions(
        sub_path=(sub_path or "").strip("/"),
        git=_git(around, git),
        object_store=_object_store(around, uses_s3=uses_s3),
    )


def bucket_context(bucket: str) -> str:
    """Turn the value of --bucket into a context, as kaniko does."""
    return bucket if "://" in bucket else f"gs://{bucket}"


def _git(around: Surroundings, values: Iterable[str]) -> GitOptions:
    found: dict[str, Any] = {}
    for value in (part for given in values for part in given.split(",") if part):
        key, _, text = value.partition("=")
        match key:
            case "branch":
                found["branch"] = text
            case "single-branch":
                found["single_branch"] = _switch(key, text)
            case "recurse-submodules":
                found["recurse_submodules"] = _switch(key, text)
            case "insecure-skip-tls":
                found["skip_tls_verify"] = _switch(key, text)
            case "depth" if text.isascii() and text.isdigit():
                found["depth"] = int(text)
            case "depth":
                raise UsageError(f"--git depth={text}: it must be 0 (all) or more")
            case _:
                raise UsageError(
                    f"--git {key}: unknown; its keys are branch, single-branch, depth,"
                    " recurse-submodules and insecure-skip-tls"
                )
    method = around.get("GIT_PULL_METHOD") or "https"
    if method not in PULL_SCHEMES:
        raise UsageError(f"GIT_PULL_METHOD={method}: it must be one of {', '.join(PULL_SCHEMES)}")
    return GitOptions(
        **found,
        pull_scheme=method,
        skip_large_files=bool(around.boolean("GIT_LFS_SKIP_SMUDGE")),
        username=around.get("GIT_USERNAME"),
        password=around.get("GIT_PASSWORD"),
        token=around.get("GIT_TOKEN"),
        environment={name: around.get(name) for name in _GIT_SEES if around.get(name)},
    )


def _switch(key: str, text: str) -> bool:
    found = parse_bool(text or "true")
    if found is None:
        raise UsageError(f"--git {key}={text}: it must be true or false")
    return found


def _object_store(around: Surroundings, *, uses_s3: bool) -> ObjectStoreOptions:
    profile = _aws_profile(around) if uses_s3 else {}
    key_file = around.get("GOOGLE_APPLICATION_CREDENTIALS")
    emulator = around.get("STORAGE_EMULATOR_HOST")
    if emulator and "://" not in emulator:
        emulator = f"http://{emulator}"
    return ObjectStoreOptions(
        s3_endpoint=around.get("S3_ENDPOINT")
        or around.get("AWS_ENDPOINT_URL_S3")
        or around.get("AWS_ENDPOINT_URL"),
        s3_force_path_style=bool(around.boolean("S3_FORCE_PATH_STYLE")),
        s3_region=around.get("AWS_REGION")
        or around.get("AWS_DEFAULT_REGION")
        or profile.get("region", ""),
        s3_credentials={name: profile[key] for key, name in _AWS_KEYS.items() if profile.get(key)},
        gcs_endpoint=emulator or around.get("GOOGLE_BASE_URL"),
        gcs_unsigned=bool(emulator),
        gcs_credentials_file=Path(key_file) if key_file else None,
        azure_endpoint=around.get("AZURE_STORAGE_ENDPOINT"),
        azure_key=around.get("AZURE_STORAGE_ACCESS_KEY"),
        azure_identity=any(around.get(name) for name in _AZURE_IDENTITY),
    )


def _aws_profile(around: Surroundings) -> Mapping[str, str]:
    """Read the profile of ~/.aws, unless the variables say where credentials come from."""
    if around.home is None or any(around.get(name) for name in _AWS_OWN_CHAIN):
        return {}
    name = around.get("AWS_PROFILE") or around.get("AWS_DEFAULT_PROFILE") or "default"
    directory = around.home / ".aws"
    config = Path(around.get("AWS_CONFIG_FILE") or directory / "config")
    keys = Path(around.get("AWS_SHARED_CREDENTIALS_FILE") or directory / "credentials")
    found: dict[str, str] = {}
    for path, section in (
        (config, name if name == "default" else f"profile {name}"),
        (keys, name),
    ):
        found |= _section(path, section)
    return found


def _section(path: Path, name: str) -> Mapping[str, str]:
    import configparser

    parser = configparser.RawConfigParser()
    try:
        parser.read(path)
    except (configparser.Error, OSError, UnicodeDecodeError) as error:
        # Not its text: the line it quotes may be a key.
        raise UsageError(f"{path}: not a profile file ({type(error).__name__})") from error
    return dict(parser[name]) if parser.has_section(name) else {}
