"""TLS contexts from certificate files, made once per identity."""

import ssl

from anyio import CapacityLimiter, to_thread

from asynckaniko.errors import UsageError
from asynckaniko.registry.endpoints import TlsIdentity


class TlsContexts:
    """Keeps one context per identity, so that connections of one identity share a pool."""

    def __init__(self) -> None:
        self._contexts: dict[TlsIdentity, ssl.SSLContext] = {}
        self._reading = CapacityLimiter(1)

    async def get(self, identity: TlsIdentity) -> ssl.SSLContext:
        """Return the context for `identity`.

        Raises:
            UsageError: a certificate file is missing or holds no certificate.
        """
        if identity not in self._contexts:
            made = await to_thread.run_sync(make_context, identity, limiter=self._reading)
            self._contexts.setdefault(identity, made)
        return self._contexts[identity]


def make_context(identity: TlsIdentity) -> ssl.SSLContext:
    """Read the files of `identity`; blocks."""
    context = ssl.create_default_context()
    # Distributions leave this to a configuration file of the system, and minimal ones lack it.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for path in identity.ca_files:
        try:
            context.load_verify_locations(cafile=path)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"CA certificate file {path}: {_reason(error)}") from error
    if identity.client:
        certificate, key = identity.client
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"client certificate {certificate} with key {key}: {_reason(error)}"
            ) from error
    if not identity.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _reason(error: OSError | ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"not usable as PEM ({error.reason or 'no certificate found'})"
    return error.strerror or str(error)
