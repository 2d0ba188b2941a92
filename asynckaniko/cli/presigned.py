"""Send a result to a presigned https URL, as kaniko does where `--digest-file` is one."""

import ssl

import aiohttp
from anyio import to_thread
from yarl import URL

from asynckaniko.errors import RegistryRejected, RegistryUnavailable

_SECONDS = 60.0


async def put_text(url: str, text: str) -> None:
    """PUT `text` as text/plain.

    Raises:
        RegistryRejected: another answer than success.
        RegistryUnavailable: no answer. Neither tells the URL's query, which is its signature.
    """
    target = URL(url, encoded=True)
    shown = str(target.with_query(None).with_fragment(None).with_user(None))
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    tls = await to_thread.run_sync(ssl.create_default_context)
    try:
        async with (
            aiohttp.ClientSession(
                timeout=timeout, trust_env=True, connector=aiohttp.TCPConnector(ssl=tls)
            ) as session,
            session.put(
                target, data=text.encode(), headers={"Content-Type": "text/plain"}
            ) as response,
        ):
            status = response.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise RegistryUnavailable(f"PUT {shown}: {type(error).__name__}") from error
    if status >= 300:
        raise RegistryRejected("PUT", shown, status)
