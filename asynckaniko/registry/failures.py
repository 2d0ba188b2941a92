"""Say in our words what went wrong on the network.

aiohttp's own texts are not used: some of them contain whole URLs, and so secrets.
"""

import os
import ssl

import aiohttp
from yarl import URL

from asynckaniko.errors import RegistryError, RegistryUnavailable
from asynckaniko.registry.rejection import printable
from asynckaniko.registry.retry import Interrupted

_EAI_AGAIN = -3
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ConnectionTimeoutError, "cannot connect: timed out"),
    (aiohttp.ServerDisconnectedError, "the connection was closed before an answer"),
    (aiohttp.ClientPayloadError, "the connection was cut within the body"),
    (aiohttp.ClientResponseError, "the answer was not HTTP"),
    (TimeoutError, "timed out"),
    (aiohttp.ClientConnectionError, "the connection was closed"),
)


class UntrustedCertificate(RegistryUnavailable):
    """The server's certificate proves nothing to us."""


def translate(error: Exception, method: str, url: URL) -> RegistryError:
    """Return Interrupted for what may pass, another RegistryError for what will not."""
    where = f"{method} {printable(url)}"
    if isinstance(error, ssl.SSLCertVerificationError | aiohttp.ClientConnectorCertificateError):
        return UntrustedCertificate(f"{where}: {_certificate_problem(error)}")
    if lasting := _lasting_problem(error):
        return RegistryUnavailable(f"{where}: {lasting}")
    if isinstance(error, aiohttp.ClientError | OSError) and not isinstance(error, ValueError):
        return Interrupted(method, printable(url), _passing_problem(error))
    return RegistryError(f"{where}: not a usable request ({type(error).__name__})")


def _lasting_problem(error: Exception) -> str:
    tls = _tls_reason(error)
    if tls == "WRONG_VERSION_NUMBER":
        return "no TLS there; if it offers http, declare it insecure"
    if "ALERT" in tls or "PROTOCOL" in tls:
        return f"TLS refused by the server: {tls}"
    if isinstance(error, aiohttp.ClientConnectorDNSError) and error.os_error.errno != _EAI_AGAIN:
        return f"no such host: {error.host}"
    if isinstance(error, aiohttp.ClientHttpProxyError) and error.status < 500:
        return f"the proxy answered HTTP {error.status}"
    return ""


def _passing_problem(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return f"cannot resolve {error.host} now"
        case aiohttp.ClientProxyConnectionError():
            return f"cannot connect to the proxy {error.host}:{error.port}: {_said(error.os_error)}"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy answered HTTP {error.status}"
        case aiohttp.ClientConnectorError():
            return f"cannot connect: {_said(error.os_error)}"
    for kind, reason in _REASONS:
        if isinstance(error, kind) and not (isinstance(error, OSError) and error.errno):
            return reason
    if isinstance(error, OSError):
        return f"the connection failed: {_said(error)}"
    return f"the connection failed ({type(error).__name__})"


def _said(error: OSError) -> str:
    # The texts of asyncio's connection attempts differ with the number of addresses.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else "failed"


def _certificate_problem(error: Exception) -> str:
    inner = getattr(error, "certificate_error", error)
    said = getattr(inner, "verify_message", "") or "verification failed"
    return f"its certificate is not trusted: {said}; give its CA, or skip the verification"


def _tls_reason(error: Exception) -> str:
    for candidate in (getattr(error, "os_error", None), error.__cause__, error):
        if isinstance(candidate, ssl.SSLError):
            # aiohttp's own subclasses of it have none.
            return str(getattr(candidate, "reason", "") or "")
    return ""
