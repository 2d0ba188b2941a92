"""Flags and environment about registries become RegistryOptions and Retry."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import asynckaniko
from asynckaniko.cli.build_flags import BuildFlags
from asynckaniko.cli.inputs import given, read_pairs
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.errors import UsageError
from asynckaniko.oci.reference import DOCKER_HUB
from asynckaniko.registry.endpoints import canonical_host
from asynckaniko.settings import CredentialOptions, RegistryOptions, Retry

_CREDENTIAL_VARIABLES = ("KANIKO_", "CI_REGISTRY", "AZURE_", "GOOGLE_APPLICATION_")


def read_registry_options(flags: BuildFlags, around: Surroundings) -> RegistryOptions:
    """Say which hosts to talk to, and how.

    Raises:
        UsageError: a value of another form, or a file that does not exist.
    """
    client = around.get("UPSTREAM_CLIENT_TYPE")
    agent = f"asynckaniko/{asynckaniko.__version__}"
    return RegistryOptions(
        insecure_push=bool(flags.insecure),
        insecure_pull=bool(flags.insecure_pull),
        insecure_registries=frozenset(given(flags.insecure_registry)),
        skip_tls_verify_push=bool(flags.skip_tls_verify),
        skip_tls_verify_pull=bool(flags.skip_tls_verify_pull),
        skip_tls_verify_registries=frozenset(given(flags.skip_tls_verify_registry)),
        certificates=_certificates(flags.registry_certificate),
        client_certificates=_client_certificates(flags.registry_client_cert),
        ca_files=around.ca_files(),
        mirrors=_mirrors(flags, around),
        fall_back_to_origin=not flags.skip_default_registry_fallback,
        chunk_size=flags.push_chunk_size or 0,
        early_size=(
            RegistryOptions().early_size if flags.push_early_size is None else flags.push_early_size
        ),
        ignore_immutable_tags=bool(flags.push_ignore_immutable_tag_errors),
        user_agent=f"{agent},{client}" if client else agent,
        https_proxy=_either(around, "HTTPS_PROXY"),
        http_proxy=_either(around, "HTTP_PROXY"),
        no_proxy=_either(around, "NO_PROXY"),
    )


def read_credentials(flags: BuildFlags, around: Surroundings) -> CredentialOptions:
    """Choose the helpers; collect the sign-ins of variables, and what the clouds' own need.

    A name that is no helper's stays: the registry client knows them, and warns.
    """
    helpers = CredentialOptions().helpers
    if flags.credential_helpers:
        helpers = tuple(dict.fromkeys(given(flags.credential_helpers)))
    return CredentialOptions(
        helpers=helpers,
        auth_text=around.get("DOCKER_AUTH_CONFIG"),
        variables={
            name: value
            for name, value in around.environment.items()
            if name.startswith(_CREDENTIAL_VARIABLES)
        },
    )


def read_retry(flags: BuildFlags) -> Retry:
    """Raise the number of attempts to what the retry flags ask for; they never lower it."""
    usual = Retry()
    asked = [flags.push_retry or 0, flags.image_download_retry or 0]
    return replace(usual, attempts=max(usual.attempts, *(retries + 1 for retries in asked)))


def _either(around: Surroundings, name: str) -> str:
    """Return a proxy variable; both spellings are in use, and Go prefers the upper case."""
    return around.get(name) or around.get(name.lower())


def _mirrors(flags: BuildFlags, around: Surroundings) -> dict[str, tuple[str, ...]]:
    """List mirrors by registry, those of the flags before those of the environment."""
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    maps = (*given(flags.registry_map), around.get("KANIKO_REGISTRY_MAP"))
    for registry, mirror in _map_entries(maps):
        found[canonical_host(registry)][mirror] = None
    mirrors = (*given(flags.registry_mirror), around.get("KANIKO_REGISTRY_MIRROR"))
    for mirror in given(mirrors):
        found[DOCKER_HUB][mirror] = None
    return {registry: tuple(mirrors) for registry, mirrors in found.items()}


def _map_entries(values: Iterable[str]) -> Iterator[tuple[str, str]]:
    for value in values:
        for entry in given(part.strip() for part in value.split(";")):
            registry, equals, mirror = entry.partition("=")
            if not equals or not registry or not mirror:
                raise UsageError(
                    f'invalid --registry-map "{entry}": it must be REGISTRY=HOST[/PREFIX]'
                )
            yield registry, mirror


def _certificates(values: Iterable[str]) -> dict[str, Path]:
    flag, form = "--registry-certificate", "HOST=FILE"
    pairs = read_pairs(given(values), flag=flag, form=form)
    return {host: _existing(path, flag) for host, path in pairs.items()}


def _client_certificates(values: Iterable[str]) -> dict[str, tuple[Path, Path]]:
    flag, form = "--registry-client-cert", "HOST=CERT,KEY"
    found = {}
    for host, files in read_pairs(given(values), flag=flag, form=form).items():
        certificate, comma, key = files.partition(",")
        if not comma:
            raise UsageError(f'invalid {flag} "{host}={files}": it must be {form}')
        found[host] = (_existing(certificate, flag), _existing(key, flag))
    return found


def _existing(text: str, flag: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"{flag}: there is no file {text}")
    return path.absolute()
