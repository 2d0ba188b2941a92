"""Requests for tokens to the clouds' own servers: forms out, small JSON objects in."""

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import anyio
import orjson
from yarl import URL

from asynckaniko.errors import RegistryError
from asynckaniko.registry.bodies import Body
from asynckaniko.registry.endpoints import Direction
from asynckaniko.registry.rejection import printable
from asynckaniko.registry.wire import Call, Wire
from asynckaniko.settings import Retry

NEAR = Retry(connect_seconds=1.0, response_seconds=3.0)
"""For servers that are on this machine's own network, or not there at all."""
FAR = Retry(connect_seconds=10.0, response_seconds=30.0)
LARGEST_ANSWER = 1 << 20
_log = logging.getLogger(__name__)


class NoAnswerError(Exception):
    """Why a cloud did not answer; without secrets."""


def post(
    url: URL, form: Mapping[str, str], patience: Retry, *, authorization: str | None = None
) -> Call:
    """Make the request that sends a form, whose fields are secret."""
    return Call(
        "POST",
        url,
        Direction.PULL,
        patience,
        {"Content-Type": "application/x-www-form-urlencoded"},
        authorization=authorization,
        body=Body.of(urlencode(form).encode()),
        redirects=0,  # the body is a secret
    )


async def ask_json(wire: Wire, call: Call) -> Mapping[str, Any]:
    """Return the JSON object of a 200; nothing at all in any other case.

    A cloud that does not answer is no error: mostly we do not run there.
    """
    try:
        return await request_json(wire, call)
    except NoAnswerError as error:
        _log.info("no credentials from %s: %s", printable(call.url), error)
        return {}


async def request_json(wire: Wire, call: Call) -> Mapping[str, Any]:
    """Return the JSON object of a 200. Raises NoAnswerError in any other case."""
    try:
        with anyio.fail_after(call.patience.response_seconds):
            async with wire.exchange(call) as incoming:
                content = await incoming.read(LARGEST_ANSWER)
                if incoming.status == 200 and isinstance(answer := orjson.loads(content), dict):
                    return answer
                problem = f"HTTP {incoming.status}"
    except (RegistryError, TimeoutError) as error:
        problem = str(error) or "timed out"
    except orjson.JSONDecodeError:
        problem = "not JSON"
    raise NoAnswerError(problem)


def life_seconds(value: object, *, default: float) -> float:
    """Read an `expires_in`."""
    return float(value) if isinstance(value, int | float) and value > 0 else default
