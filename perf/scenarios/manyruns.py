"""Twenty commands that change two files each."""

from pathlib import Path

_RUN = "RUN mkdir -p /opt/s{n} && echo {n} > /opt/s{n}/a && echo {n}b > /etc/s{n}.conf"


def manyruns(directory: Path, base: str) -> None:
    """Protects: what a RUN costs beside its command, with a large base below it."""
    lines = [f"FROM {base}", *(_RUN.format(n=n) for n in range(20)), 'CMD ["sh"]']
    (directory / "Dockerfile").write_text("\n".join(lines) + "\n")
