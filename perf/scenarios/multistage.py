"""Four stages that need nothing of each other, and one that needs them all."""

from pathlib import Path

_COMPUTE = "i=0; while [ $i -lt 150000 ]; do i=$((i+1)); done"
_WAIT = "sleep 2"
_WRITE = "mkdir -p /out; i=0; while [ $i -lt 200 ]; do echo $i > /out/f$i; i=$((i+1)); done"
_STAGES = {"a": _COMPUTE, "b": _WAIT, "c": _COMPUTE, "d": _WAIT}


def multistage(directory: Path, base: str) -> None:
    """Protects: independent stages overlap; two compute and two wait."""
    lines: list[str] = []
    for name, work in _STAGES.items():
        lines += [f"FROM {base} AS {name}", f"RUN {work}; {_WRITE}"]
    lines += [f"FROM {base}", *(f"COPY --from={name} /out /out/{name}" for name in _STAGES)]
    (directory / "Dockerfile").write_text("\n".join(lines) + '\nCMD ["sh"]\n')
