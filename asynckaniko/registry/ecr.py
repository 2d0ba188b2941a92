"""Sign in to Amazon ECR with whatever credentials AWS's own chain finds.

That chain (roles of service accounts, pod identity, SSO, profiles) is botocore's, an extra.
"""

import base64
import binascii
import logging
import re
from datetime import UTC, datetime
from typing import Any

from anyio import CapacityLimiter, to_thread

from asynckaniko.registry.credentials import Credential, Lease, Secret

_PRIVATE = re.compile(
    r"(?P<account>\d{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\."
    r"(?:amazonaws\.com(?:\.cn)?|on\.aws|amazonwebservices\.com\.cn|sc2s\.sgov\.gov|c2s\.ic\.gov)"
)
_PUBLIC_REGION = "us-east-1"
HOSTS = rf"{_PRIVATE.pattern}|public\.ecr\.aws"
_SHORTEST_SECONDS = 60.0
_log = logging.getLogger(__name__)


class Amazon:
    """AWS as seen by botocore, which reads environment and files by itself."""

    def __init__(self) -> None:
        self._asking = CapacityLimiter(1)

    async def ask(self, registry: str) -> Lease | None:
        """Get an authorization token; None where AWS knows nobody here."""
        return await to_thread.run_sync(_token, registry, limiter=self._asking)


def _token(registry: str) -> Lease | None:
    try:
        import botocore.exceptions
        import botocore.session
    except ImportError:
        _log.warning("%s: to sign in by itself asynckaniko needs its extra `aws`", registry)
        return None
    try:
        data = _authorization(botocore.session.get_session(), registry)
        pair = base64.b64decode(data["authorizationToken"]).decode()
        expires = data["expiresAt"]
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        _log.warning("%s: AWS gives no credentials: %s", registry, error)
        return None
    except (KeyError, IndexError, binascii.Error, UnicodeDecodeError) as error:
        _log.warning("%s: AWS gave something else: %s", registry, type(error).__name__)
        return None
    username, _, password = pair.partition(":")
    credential = Credential(username, Secret(password), source="Amazon ECR")
    left = (expires - datetime.now(UTC)).total_seconds()
    return Lease(credential, max(left, _SHORTEST_SECONDS))


def _authorization(session: Any, registry: str) -> Any:
    match = _PRIVATE.fullmatch(registry)
    if match is None:
        client = session.create_client("ecr-public", region_name=_PUBLIC_REGION)
        return client.get_authorization_token()["authorizationData"]
    client = session.create_client("ecr", region_name=match["region"])
    answer = client.get_authorization_token(registryIds=[match["account"]])
    return answer["authorizationData"][0]
