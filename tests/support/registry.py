"""A real docker-registry on loopback, its access log, and the few requests a test makes itself."""

import json
import os
import re
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import wait_until

_ACCESS = re.compile(
    r'"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/[0-9.]+" (?P<status>\d+) (?P<size>\d+)'
)
_ACCEPT = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.manifest.v1",
        "oci.image.index.v1",
        "docker.distribution.manifest.v2",
        "docker.distribution.manifest.list.v2",
    )
)
_START_SECONDS = 60.0
# States of sockets: Linux, include/net/tcp_states.h.
_ESTABLISHED, _LISTENING, _CLOSED_HERE = "01", "0A", {"04", "05"}


@dataclass(frozen=True)
class Request:
    """One line of the access log. `path` is without the query."""

    method: str
    path: str
    status: int
    size: int
    """Bytes of the response's body."""

    @property
    def is_blob_download(self) -> bool:
        return self.method == "GET" and bool(re.search(r"/blobs/sha256:", self.path))


@dataclass
class Registry:
    """A running registry. `host` is what stands before the first slash of a reference."""

    host: str
    log: Path
    tls: ssl.SSLContext | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with each request that the test makes itself."""
    process: int = 0

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}"

    def call(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Send one request; `path` may be absolute. Return status, body and headers."""
        url = path if path.startswith("http") else self.url + path
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            url, data=body, method=method, headers=dict(self.headers) | sent
        )
        try:
            with urllib.request.urlopen(request, timeout=30, context=self.tls) as response:
                return response.status, response.read(), dict(response.headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), dict(error.headers)

    def put_blob(self, repository: str, digest: str, content: bytes) -> None:
        status, _, headers = self.call("POST", f"/v2/{repository}/blobs/uploads/", b"")
        assert status == 202, status
        where = headers["Location"]
        where += ("&" if "?" in where else "?") + f"digest={digest}"
        status, body, _ = self.call("PUT", where, content, Content_Type="application/octet-stream")
        assert status == 201, (status, body)

    def put_manifest(self, repository: str, tag: str, media_type: str, content: bytes) -> None:
        status, body, _ = self.call(
            "PUT", f"/v2/{repository}/manifests/{tag}", content, Content_Type=media_type
        )
        assert status == 201, (status, body)

    def manifest(self, repository: str, tag: str) -> dict[str, Any]:
        """Return the manifest or index; AssertionError where there is none."""
        status, body, _ = self.call("GET", f"/v2/{repository}/manifests/{tag}", Accept=_ACCEPT)
        assert status == 200, (status, body)
        document: dict[str, Any] = json.loads(body)
        return document

    def blob(self, repository: str, digest: str) -> bytes:
        status, body, _ = self.call("GET", f"/v2/{repository}/blobs/{digest}")
        assert status == 200, (status, body)
        return body

    def has(self, repository: str, tag: str) -> bool:
        return self.call("GET", f"/v2/{repository}/manifests/{tag}", Accept=_ACCEPT)[0] == 200

    def requests(self, since: int = 0) -> list[Request]:
        """List the finished requests, oldest first, without those before the mark `since`.

        Finished are those whose clients have closed their connections, by the end or before. Of
        others the answer may be there, and its line not yet.
        """
        self._settle()
        return self._parsed()[since:]

    def mark(self) -> int:
        """Return the place in the log that later `requests(since=...)` calls start from."""
        self._settle()
        return len(self._parsed())

    def _parsed(self) -> list[Request]:
        matches = map(_ACCESS.search, self.log.read_text(errors="replace").splitlines())
        return [
            Request(m["method"], m["path"].partition("?")[0], int(m["status"]), int(m["size"]))
            for m in matches
            if m and "settle=" not in m["path"]
        ]

    def unfinished(self) -> dict[Path, int]:
        """Map the files that it keeps of uploads that have not ended to their sizes, in bytes."""
        found = {}
        # Not glob: a directory that vanishes meanwhile is none of its errors.
        for directory, _, names in os.walk(self.log.parent / "data"):
            if "_uploads" in Path(directory).parts:
                for path in (Path(directory, name) for name in names):
                    with suppress(FileNotFoundError):
                        found[path] = path.stat().st_size
        return found

    def received(self) -> int:
        """Count the bytes that it has written of uploads that have not ended."""
        return sum(size for path, size in self.unfinished().items() if path.name == "data")

    def _settle(self) -> None:
        """Wait until the log holds what has been answered: a line is written after its answer."""
        wait_until(lambda: not self._is_left(), "the registry serves clients that are gone")
        token = f"settle={time.monotonic_ns()}"
        self.call("GET", f"/v2/?{token}")
        wait_until(
            lambda: token in self.log.read_text(errors="replace"),
            "the registry writes no access log",
        )

    def _is_left(self) -> bool:
        """Tell whether the registry holds a connection that its client has closed or reset.

        It closes one when what it does there is done, the line in the log too.
        """
        held = set()
        for file in Path(f"/proc/{self.process}/fd").iterdir():
            with suppress(FileNotFoundError):
                held.add(file.readlink().name)
        table = Path(f"/proc/{self.process}/net/tcp").read_text().splitlines()[1:]
        sockets = [line.split() for line in table]
        # What it has not read yet is before the client's end, which only the client's side shows.
        port = f":{int(self.host.rpartition(':')[2]):04X}"
        if any(row[2].endswith(port) and row[3] in _CLOSED_HERE for row in sockets):
            return True
        at_work = {_ESTABLISHED, _LISTENING, *_CLOSED_HERE}
        fine = {f"socket:[{row[9]}]" for row in sockets if row[3] in at_work}
        return any(name.startswith("socket:") and name not in fine for name in held)


@dataclass(frozen=True)
class Certificates:
    """PEM files for TLS: the server's certificate and key, and the authority to trust."""

    certificate: Path
    key: Path
    authority: Path
    client_authority: Path | None = None
    """Demand client certificates signed by this authority."""


@contextmanager
def run_registry(
    directory: Path,
    *,
    certificates: Certificates | None = None,
    users: Mapping[str, str] | None = None,
    token: Mapping[str, str] | None = None,
    mirror_of: str = "",
    notify: str = "",
    read_only: bool = False,
) -> Iterator[Registry]:
    """Run docker-registry with its data below `directory` until the block ends.

    `users` maps names to passwords (Basic); `token` is the `auth.token` section (Bearer);
    `mirror_of` is a registry's URL to cache; `notify` is a URL that gets its events.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for _ in range(5):
        port = free_port()
        config = _configuration(directory, port, certificates, users, token)
        if mirror_of:
            config["proxy"] = {"remoteurl": mirror_of}
        if notify:
            endpoint = {"name": "test", "url": notify, "timeout": "1s", "threshold": 1}
            config["notifications"] = {"endpoints": [endpoint | {"backoff": "100ms"}]}
        if read_only:
            config["storage"]["maintenance"] = {"readonly": {"enabled": True}}
        file = directory / "config.yml"
        file.write_text(json.dumps(config))  # JSON is YAML
        log = directory / "access.log"
        with (
            log.open("wb") as access,
            (directory / "error.log").open("wb") as errors,
            subprocess.Popen(
                ["docker-registry", "serve", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=access,
                stderr=errors,
                cwd=directory,
            ) as process,
        ):
            try:
                if _listens(process, port):
                    yield Registry(
                        f"127.0.0.1:{port}",
                        log,
                        _client_context(certificates),
                        process=process.pid,
                    )
                    return
            finally:
                process.terminate()
    raise AssertionError((directory / "error.log").read_text())


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _configuration(
    directory: Path,
    port: int,
    certificates: Certificates | None,
    users: Mapping[str, str] | None,
    token: Mapping[str, str] | None,
) -> dict[str, Any]:
    listen: dict[str, Any] = {"addr": f"127.0.0.1:{port}", "secret": "for-tests"}
    if certificates:
        listen["tls"] = {
            "certificate": str(certificates.certificate),
            "key": str(certificates.key),
        }
        if certificates.client_authority:
            listen["tls"]["clientcas"] = [str(certificates.client_authority)]
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": False}},
        "storage": {
            "filesystem": {"rootdirectory": str(directory / "data")},
            "delete": {"enabled": True},
        },
        "http": listen,
        "health": {"storagedriver": {"enabled": False}},
    }
    if users is not None:
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(_htpasswd(directory, users))}}
    if token is not None:
        config["auth"] = {"token": dict(token)}
    return config


def _htpasswd(directory: Path, users: Mapping[str, str]) -> Path:
    import bcrypt

    file = directory / "htpasswd"
    lines = [
        f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}"
        for name, password in users.items()
    ]
    file.write_text("\n".join(lines) + "\n")
    return file


def _client_context(certificates: Certificates | None) -> ssl.SSLContext | None:
    if certificates is None:
        return None
    return ssl.create_default_context(cafile=str(certificates.authority))


def _listens(process: "subprocess.Popen[bytes]", port: int) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
        except OSError:
            time.sleep(0.02)
    return False


def make_certificates(directory: Path, *hosts: str) -> Certificates:
    """Write a new authority and a server certificate for `hosts`, or for 127.0.0.1."""
    import trustme

    directory.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    server = authority.issue_cert(*(hosts or ("127.0.0.1",)))
    files = Certificates(
        directory / "server.pem", directory / "server.key", directory / "authority.pem"
    )
    files.certificate.write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    files.key.write_bytes(server.private_key_pem.bytes())
    authority.cert_pem.write_to_path(str(files.authority))
    return files


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A new, empty registry: plain http, no credentials."""
    with run_registry(tmp_path / "registry") as server:
        yield server


@pytest.fixture
def tls_registry(tmp_path: Path) -> Iterator[Registry]:
    """A new registry over https, with a certificate that no system trusts."""
    certificates = make_certificates(tmp_path / "certificates")
    with run_registry(tmp_path / "tls-registry", certificates=certificates) as server:
        yield server


@pytest.fixture(scope="session")
def shared_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One registry for the session; holds the base images. Push to repositories of your own."""
    with run_registry(tmp_path_factory.mktemp("registry")) as server:
        yield server
