"""Read --build-arg, --label, --secret, --ssh and --build-context as Docker and kaniko do."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from asynckaniko.build.request import Secret
from asynckaniko.errors import UsageError


def given(values: Iterable[str]) -> tuple[str, ...]:
    """Drop empty values: pipelines pass `--flag ''` for what is not set."""
    return tuple(value for value in values if value)


def read_build_args(values: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Read KEY=VALUE, and KEY from the environment; a variable that is not set sets nothing."""
    found: dict[str, str] = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not key:
            raise UsageError(f'invalid --build-arg "{value}": it must be KEY=VALUE or KEY')
        if equals:
            found[key] = text
        elif key in environment:
            found[key] = environment[key]
    return found


def read_pairs(values: Iterable[str], *, flag: str, form: str) -> dict[str, str]:
    """Read KEY=VALUE words; the last of one key wins. `form` says how the flag wants it."""
    found: dict[str, str] = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not key or not equals:
            raise UsageError(f'invalid {flag} "{value}": it must be {form}')
        found[key] = text
    return found


def read_secrets(values: Iterable[str], environment: Mapping[str, str]) -> dict[str, Secret]:
    """Read `id=ID[,src=PATH|,env=VARIABLE][,type=file|env]`.

    Without src, env and type, a variable named like the id is taken, else a file.
    """
    found: dict[str, Secret] = {}
    for value in values:
        name, secret = _secret(value, environment)
        if name in found:
            raise UsageError(f'--secret: id "{name}" is given twice')
        found[name] = secret
    return found


def _secret(value: str, environment: Mapping[str, str]) -> tuple[str, Secret]:
    fields = _fields("--secret", value, known=("id", "type", "src", "source", "env"))
    name, kind, variable = (fields.get(key, "") for key in ("id", "type", "env"))
    path = fields.get("src", "") or fields.get("source", "")
    if not name:
        raise UsageError(f'invalid --secret "{value}": it needs id=ID')
    if kind not in {"", "file", "env"}:
        raise UsageError(f'--secret id={name}: type "{kind}" must be file or env')
    if path and variable:
        raise UsageError(f"--secret id={name}: src and env exclude each other")
    if kind == "file" and variable:
        raise UsageError(f"--secret id={name}: a secret of type file has src, not env")
    if kind == "env":
        variable, path = variable or path or name, ""
    if not path and not variable:
        variable = name if kind != "file" and name in environment else ""
        path = "" if variable else name
    if variable:
        if variable not in environment:
            raise UsageError(f"--secret id={name}: the variable {variable} is not set")
        return name, Secret(value=environment[variable].encode(errors="surrogateescape"))
    if not Path(path).is_file():
        raise UsageError(f"--secret id={name}: there is no file {path}")
    return name, Secret(path=Path(path).absolute())


def read_ssh(values: Iterable[str], environment: Mapping[str, str]) -> dict[str, Path]:
    """Read `default` or `ID[=SOCKET]`; without a socket it is the one of SSH_AUTH_SOCK."""
    found: dict[str, Path] = {}
    for value in values:
        name, _, text = value.partition("=")
        text = text or environment.get("SSH_AUTH_SOCK", "")
        if not text:
            raise UsageError(f"--ssh {value}: no agent is running (SSH_AUTH_SOCK is not set)")
        path = Path(text)
        if path.is_file():
            raise UsageError(
                f"--ssh {value}: {path} is a file, and only agents can be offered; "
                f"start one (ssh-agent), add the key (ssh-add {path}) and give --ssh {name}"
            )
        if not path.is_socket():
            raise UsageError(f"--ssh {value}: there is no socket {path}")
        if name in found:
            raise UsageError(f'--ssh: id "{name}" is given twice')
        found[name or "default"] = path.absolute()
    return found


def _fields(flag: str, value: str, *, known: tuple[str, ...]) -> dict[str, str]:
    """Split comma-separated key=value fields; a field in double quotes may hold a comma."""
    fields: dict[str, str] = {}
    for field in next(csv.reader([value]), []):
        key, equals, text = field.partition("=")
        key = key.strip().lower()
        if not equals or key not in known:
            # Not the field itself: a misplaced word here is often the secret.
            raise UsageError(f"invalid field in {flag}: its fields are {', '.join(known)}")
        fields[key] = text
    return fields
