"""An archive of 50,000 small files in S3, beside the two programs that fetch and unpack it too."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perf.contenders import Contender
from perf.inputs import freeze, packages
from perf.scenarios.source import Place, Source
from tests.support.daemons import moto, put_object

_ARCHIVE = "s3://contexts/context.tar.gz"
_DOCKERFILE = """\
FROM scratch
COPY Dockerfile /
CMD ["node"]
"""
_PEERS = {
    "aws-then-tar": "aws s3 cp --only-show-errors {context} {state}/archive"
    " && tar -xzf {state}/archive -C {state}/context",
    "aws-into-tar": "aws s3 cp --only-show-errors {context} - | tar -xzf - -C {state}/context",
}


def context(directory: Path, base: str) -> None:
    """Protects: an archive is unpacked while it arrives. No base image, one small COPY."""
    (directory / "Dockerfile").write_text(_DOCKERFILE)


@contextmanager
def bucket(place: Place) -> Iterator[Source]:
    """Put the context, with so many files more, as an archive into a bucket on loopback."""
    directory = place.directory
    packages(directory / "node_modules", files=place.files, seed=2)
    freeze(directory)
    archive = directory.with_suffix(".tar.gz")
    order = ("--sort=name", "--owner=0", "--group=0", "--numeric-owner")
    command = ["tar", *order, "-czf", str(archive), "-C", str(directory), "."]
    subprocess.run(command, check=True)
    shutil.rmtree(directory)
    with moto() as url:
        put_object(f"{url}/contexts", b"")
        put_object(f"{url}/contexts/context.tar.gz", archive.read_bytes())
        archive.unlink()
        yield Source(
            _ARCHIVE,
            {
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_CONFIG_FILE": "/dev/null",
            },
            tuple(map(_peer, _PEERS)),
        )


def _peer(name: str) -> Contender:
    program = Path(sys.executable).with_name("aws")
    if not program.exists():
        raise FileNotFoundError(f"{program}: make perf installs it (the group perf of pyproject)")
    script = f"set -e; mkdir -p {{state}}/context; {_PEERS[name].replace('aws', str(program), 1)}"
    return Contender(name, ("sh", "-c", script))
