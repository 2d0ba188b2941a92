"""`asynckaniko login`: keep credentials where docker keeps them.

They go to the credential helper that the config file names, else into the file itself.
"""

import base64
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from asynckaniko.build.result_files import write_result
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.errors import HostError, UsageError
from asynckaniko.oci.reference import DOCKER_HUB

_HUB_KEY = "https://index.docker.io/v1/"
_HUB_NAMES = frozenset({"", DOCKER_HUB, "index.docker.io", "registry-1.docker.io", _HUB_KEY})
_HELPER_SECONDS = 60


def read_password(given: str, *, from_stdin: bool, read_stdin: Callable[[], str]) -> str:
    """Return the password from exactly one of the two places.

    Raises:
        UsageError: from none, from both, or an empty one.
    """
    if given and from_stdin:
        raise UsageError("--password and --password-stdin exclude each other")
    if not given and not from_stdin:
        raise UsageError("give the password with --password-stdin")
    password = read_stdin().removesuffix("\n").removesuffix("\r") if from_stdin else given
    if not password:
        raise UsageError("the password is empty")
    return password


def store_credentials(registry: str, username: str, password: str, around: Surroundings) -> str:
    """Keep the credentials and say where.

    Raises:
        UsageError: the config file is there but cannot be read as one.
        HostError: it cannot be written, or the helper fails.
    """
    path = around.login_file()
    config = _read(path)
    server = registry.removeprefix("https://").removeprefix("http://").rstrip("/")
    key = _HUB_KEY if registry in _HUB_NAMES or server in _HUB_NAMES else server
    helper = _section(config, path, "credHelpers").get(key) or config.get("credsStore")
    if helper:
        _store_with(str(helper), key, username, password)
        return f"docker-credential-{helper}"
    auth = base64.b64encode(f"{username}:{password}".encode()).decode()
    _section(config, path, "auths")[key] = {"auth": auth}
    text = orjson.dumps(config, option=orjson.OPT_INDENT_2).decode()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_result(path, f"{text}\n", mode=0o600)
    return str(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}") from error
    try:
        config = orjson.loads(content or b"{}")
    except orjson.JSONDecodeError:
        config = None
    if not isinstance(config, dict):
        raise UsageError(f"{path} is not a docker config.json; it is left as it is")
    return config


def _section(config: dict[str, Any], path: Path, name: str) -> dict[str, Any]:
    section = config.setdefault(name, {}) if name == "auths" else config.get(name, {})
    if not isinstance(section, dict):
        raise UsageError(f"{path} is not a docker config.json: {name} must be an object")
    return section


def _store_with(helper: str, server: str, username: str, password: str) -> None:
    program = f"docker-credential-{helper}"
    entry = orjson.dumps({"ServerURL": server, "Username": username, "Secret": password})
    try:
        done = subprocess.run(
            [program, "store"], input=entry, capture_output=True, timeout=_HELPER_SECONDS
        )
    except FileNotFoundError as error:
        raise HostError(f"{program}, which the config file names, is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise HostError(f"{program} store did not end within {_HELPER_SECONDS} s") from error
    if done.returncode:
        # What the helper prints may repeat what it was given.
        raise HostError(f"{program} store failed with exit status {done.returncode}")
