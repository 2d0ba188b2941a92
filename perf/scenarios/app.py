"""An application on a language's base image: the build that most people run most often."""

from pathlib import Path

from perf.inputs import freeze, sources

_DOCKERFILE = """\
FROM {base}
WORKDIR /app
COPY requirements.txt /app/requirements.txt
RUN mkdir -p /usr/local/lib/fake && i=0 && while [ $i -lt 200 ]; do \\
      seq 1 200 > /usr/local/lib/fake/m$i.py; i=$((i+1)); done
COPY src /app/src
ENV PYTHONUNBUFFERED=1 APP_ENV=production
CMD ["python3", "-m", "app"]
"""


def app(directory: Path, base: str) -> None:
    """Protects: pull, unpack, a RUN of 200 files, a COPY of 2,000 and the push overlap."""
    (directory / "Dockerfile").write_text(_DOCKERFILE.format(base=base))
    (directory / "requirements.txt").write_text("".join(f"pkg{n}==1.{n}\n" for n in range(40)))
    sources(directory / "src", files=2000, seed=1)
    freeze(directory)
