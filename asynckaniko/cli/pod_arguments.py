"""What the Pods of a batch are told: the flags about registries and git that were given here."""

from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Any

from asynckaniko.batch.kubernetes import PLAN_DIRECTORY
from asynckaniko.cli.build_flags import BuildFlags
from asynckaniko.cli.flags import Flag
from asynckaniko.cli.inputs import given, read_pairs
from asynckaniko.cli.registry_flags import registries
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.errors import UsageError
from asynckaniko.records import dataclass

_CERTIFICATES = "registry_certificate"
_CERTIFICATES_SIZE = 1 << 18


@dataclass(frozen=True, slots=True)
class PodArguments:
    """Words for the command line of a Pod, and the files that they name, by their name there."""

    words: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)


def pod_arguments(flags: BuildFlags, around: Surroundings) -> PodArguments:
    """Repeat the flags about registries and git, and the variables that stand in for them.

    Certificates to trust are public and travel with the plan. The files of --registry-client-cert
    are secret: their paths are those in the Pods, where a podTemplate has to mount them.

    Raises:
        UsageError: a certificate cannot be read.
    """
    words = [f"--git={value}" for value in given(flags.git)]
    for flag in registries(partial(Flag, group="")):
        if flag.name == _CERTIFICATES:
            continue
        values = _values(getattr(flags, str(flag.name)))
        if flag.variable and around.get(flag.variable):
            values.append(around.get(flag.variable))
        words += [f"{flag.opts[0]}={value}" for value in values]
    files: dict[str, str] = {}
    pairs = read_pairs(
        given(flags.registry_certificate), flag="--registry-certificate", form="HOST=FILE"
    )
    for number, (host, path) in enumerate(pairs.items()):
        name = f"certificate-{number}.pem"
        files[name] = _certificate(path)
        words.append(f"--registry-certificate={host}={PLAN_DIRECTORY}/{name}")
    return PodArguments(tuple(words), files)


def _values(value: Any) -> list[str]:
    match value:
        case None:
            return []
        case bool():
            return [str(value).lower()]
        case tuple():
            # An empty word matters: --credential-helpers= asks none of them.
            return [str(each) for each in value]
        case _:
            return [str(value)]


def _certificate(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(_CERTIFICATES_SIZE + 1)
    except OSError as error:
        raise UsageError(f"--registry-certificate {path}: {error.strerror}") from error
    if len(content) > _CERTIFICATES_SIZE:
        raise UsageError(f"--registry-certificate {path}: larger than {_CERTIFICATES_SIZE} bytes")
    if b"PRIVATE KEY" in content:
        raise UsageError(
            f"--registry-certificate {path}: there is a private key in it, and a batch's plan can "
            "be read by whoever reads ConfigMaps; give a file of certificates only"
        )
    try:
        return content.decode("ascii")
    except UnicodeDecodeError as error:
        raise UsageError(f"--registry-certificate {path}: it is no PEM file") from error
