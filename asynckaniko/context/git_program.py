"""The git program, run so that nothing in a repository, its name or its server can run anything.

What is hostile: the URL, the ref, the server, and every file of the repository. So options end
before anything of theirs (`--end-of-options`), refs are checked, the protocols are listed, hooks
and filters come from nowhere but here, and no configuration of this machine's users is read. The
credentials are in git's environment, for the one host they are meant for.
"""

import os
import re
import shutil
import signal
import ssl
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE

from anyio import CancelScope, CapacityLimiter, create_task_group, open_process, to_thread
from anyio.abc import ByteReceiveStream, Process

from asynckaniko.context.attempts import Attempts, Transient
from asynckaniko.context.git_url import GitRepository
from asynckaniko.context.options import GitOptions
from asynckaniko.errors import ContextError
from asynckaniko.events import EventSink
from asynckaniko.settings import Retry

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROTOCOLS = "https:http:ssh:git"
_OUTPUT_SIZE = 8 << 20
_TAIL_SIZE = 4000
_USERNAME, _PASSWORD = "ASYNCKANIKO_GIT_USERNAME", "ASYNCKANIKO_GIT_PASSWORD"
_HELPER = (
    '!f() { test "$1" = get && '
    f'printf "username=%s\\npassword=%s\\n" "${_USERNAME}" "${_PASSWORD}"; }}; f'
)
_SHELL = "/bin/sh"
_ASKPASS = """#!{python} -IS
import os, re, sys
asked = re.fullmatch(r"(Username|Password) for '(https?://)(?:[^/]*@)?([^'/]*)': ", sys.argv[1])
if not asked or asked[2] + asked[3] != {origin!r}:
    sys.exit(1)
print(os.environ["ASYNCKANIKO_GIT_" + asked[1].upper()])
"""
"""What _HELPER does, where there is no shell: git runs this program itself."""
_CONFIG = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.askPass": "",
    "core.autocrlf": "false",
    "core.symlinks": "true",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "protocol.allow": "never",
    "protocol.https.allow": "always",
    "protocol.http.allow": "always",
    "protocol.ssh.allow": "always",
    "protocol.git.allow": "always",
    "protocol.file.allow": "never",
    "protocol.ext.allow": "never",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "advice.detachedHead": "false",
    "init.defaultBranch": "main",
    # Bundles are fetched from wherever the server says.
    "transfer.bundleURI": "false",
}
_REFUSED = re.compile(
    r"authentication failed|could not read (?:username|password)|terminal prompts disabled"
    r"|permission denied|access denied|returned error: 40[13]",
    re.IGNORECASE,
)
_PASSING = re.compile(
    r"could not resolve host|timed out|connection (?:refused|reset)|early eof|rpc failed"
    r"|returned error: (?:408|429|5\d\d)|hung up unexpectedly|unable to connect|gnutls|ssl_read"
    r"|unexpected disconnect|operation too slow|temporary failure",
    re.IGNORECASE,
)


class GitFailed(ContextError):
    """git ended with an error; `said` is what it printed."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said


class GitProgram:
    """Runs git in one new directory, with an empty home of its own beside it."""

    def __init__(
        self,
        repository: GitRepository,
        directory: Path,
        *,
        options: GitOptions,
        ca_files: Sequence[Path],
        retry: Retry,
        emit: EventSink,
    ) -> None:
        self._repository = repository
        self._directory = directory
        self._home = directory.with_name(directory.name + ".git-home")
        self._options = options
        self._ca_files = tuple(ca_files)
        self._retry = retry
        self._emit = emit
        self._git = ""
        self._environment: dict[str, str] = {}
        self.has_lfs = False

    async def prepare(self, disk: CapacityLimiter) -> None:
        """Find git and make the directories. Raises ContextError: there is no git."""
        await to_thread.run_sync(self._prepare, limiter=disk)

    def _prepare(self) -> None:
        options, environment = self._options, dict(self._options.environment)
        environment.setdefault("PATH", _PATH)
        self._git = shutil.which("git", path=environment["PATH"]) or ""
        if not self._git:
            raise ContextError(
                f"git repository {self._repository.shown}: there is no git program on"
                f" {environment['PATH']}; install git, or give an archive as context"
            )
        self._directory.mkdir()
        self._home.mkdir(mode=0o700)
        environment |= {
            "HOME": str(self._home),
            "XDG_CONFIG_HOME": str(self._home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_SYSTEM": "/dev/null",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": _PROTOCOLS,
            "GIT_CEILING_DIRECTORIES": str(self._directory.parent),
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "LC_ALL": "C",
        }
        environment.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=20")
        config = {**_CONFIG, "http.lowSpeedLimit": "1000"}
        config["http.lowSpeedTime"] = str(max(1, int(self._retry.stall_seconds)))
        if options.skip_tls_verify:
            config["http.sslVerify"] = "false"
        if self._ca_files:
            config["http.sslCAInfo"] = str(self._write_ca_bundle())
        self.has_lfs = shutil.which("git-lfs", path=environment["PATH"]) is not None
        username, password = self._credentials()
        origin = self._repository.origin
        if origin and (username or password):
            if os.access(_SHELL, os.X_OK):
                config[f"credential.{origin}.helper"] = _HELPER
            else:
                environment["GIT_ASKPASS"] = str(self._write_askpass(origin))
            environment |= {_USERNAME: username, _PASSWORD: password}
        environment |= _as_environment(config)
        self._environment = environment

    def _credentials(self) -> tuple[str, str]:
        repository, options = self._repository, self._options
        if repository.username or repository.password:
            return repository.username, repository.password
        if options.token:
            return options.token, ""
        return options.username, options.password

    def _write_askpass(self, origin: str) -> Path:
        program = self._home / "askpass"
        program.write_text(_ASKPASS.format(python=sys.executable, origin=origin))
        program.chmod(0o700)
        return program

    def _write_ca_bundle(self) -> Path:
        """Git takes one file, instead of the system's: write those together."""
        bundle = self._home / "ca.pem"
        system = ssl.get_default_verify_paths().cafile
        files = [*([Path(system)] if system else []), *self._ca_files]
        bundle.write_bytes(b"\n".join(path.read_bytes() for path in files))
        return bundle

    async def repeat(self, *words: str, config: Mapping[str, str] | None = None) -> str:
        """Run a command that talks to the server, again where that may help."""
        attempts = Attempts(self._retry, method="GIT", url=self._repository.shown, emit=self._emit)
        while True:
            try:
                return await self.run(*words, config=config)
            except GitFailed as error:
                if not _PASSING.search(error.said) or _REFUSED.search(error.said):
                    raise
                await attempts.after(Transient(error.message, _last_line(error.said)))

    async def run(self, *words: str, config: Mapping[str, str] | None = None) -> str:
        """Run git in the checkout and return what it prints, without the end of the line.

        `config` holds for this command beside what holds for all; it is in the arguments: no
        secrets.
        """
        settings = [
            part for key, value in (config or {}).items() for part in ("-c", f"{key}={value}")
        ]
        process = await open_process(
            [self._git, *settings, *words],
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            cwd=self._directory,
            env=self._environment,
            start_new_session=True,
        )
        output, said = bytearray(), bytearray()
        try:
            async with create_task_group() as reading:
                assert process.stdout is not None
                assert process.stderr is not None
                reading.start_soon(_collect, process.stdout, output, _OUTPUT_SIZE)
                reading.start_soon(_collect, process.stderr, said, _OUTPUT_SIZE)
            code = await process.wait()
        finally:
            await _end(process)
        if code:
            raise self._failure(words[0], code, said.decode(errors="replace"))
        return output.decode(errors="surrogateescape").rstrip("\n")

    def _failure(self, command: str, code: int, said: str) -> GitFailed:
        for secret in {*self._credentials()} - {""}:
            said = said.replace(secret, "***")
        said = said.strip()[-_TAIL_SIZE:]
        hint = ""
        if _REFUSED.search(said):
            hint = "; set GIT_TOKEN, or GIT_USERNAME and GIT_PASSWORD"
            if not self._repository.origin:
                hint = "; ssh needs an agent (SSH_AUTH_SOCK) or a key, and a known host"
        said = said or f"it ended with {code}"
        return GitFailed(
            f"git repository {self._repository.shown}: git {command}: {said}{hint}", said
        )


async def _collect(stream: ByteReceiveStream, into: bytearray, limit: int) -> None:
    async for data in stream:
        if len(into) < limit:
            into += data


async def _end(process: Process) -> None:
    """Kill git and its helpers, unless they have ended; reap it."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    with CancelScope(shield=True):
        await process.aclose()


def _as_environment(config: Mapping[str, str]) -> dict[str, str]:
    found = {"GIT_CONFIG_COUNT": str(len(config))}
    for number, (key, value) in enumerate(config.items()):
        found[f"GIT_CONFIG_KEY_{number}"] = key
        found[f"GIT_CONFIG_VALUE_{number}"] = value
    return found


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
