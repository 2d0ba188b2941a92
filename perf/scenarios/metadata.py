"""A label, a variable and a small file on a base that is in the destination's registry already."""

from pathlib import Path

from perf.inputs import freeze

_DOCKERFILE = """\
FROM {base}
LABEL org.opencontainers.image.title=metadata maintainer=me
ENV A=1 B=2
COPY app.conf /etc/app.conf
CMD ["python3"]
"""


def metadata(directory: Path, base: str) -> None:
    """Protects: no layer of the base is downloaded or unpacked when no step needs its files."""
    (directory / "Dockerfile").write_text(_DOCKERFILE.format(base=base))
    (directory / "app.conf").write_text("answer=42\n" * 100)
    freeze(directory)
