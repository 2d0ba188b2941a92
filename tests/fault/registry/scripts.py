"""Scripts of faults for pulls and pushes, generated from tables, and the oracle that judges them.

A script is one or two rules of FaultProxy. Whatever it plays, a pull or push ends with the right
bytes, or with one typed error and no half image; where the protocol lets it survive, it has to.
"""

import base64
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from asynckaniko.errors import AsynckanikoError, IntegrityError, RegistryError
from asynckaniko.oci.reference import Reference, Repository
from asynckaniko.registry.client import RegistryClient
from asynckaniko.settings import Retry
from tests.integration.registry.clients import PLATFORM, Image, connect, read
from tests.integration.registry.servers import (
    Answer,
    ChangeAnswer,
    ChangeRequest,
    CutAnswer,
    CutRequest,
    Fault,
    FaultProxy,
    LoseAnswer,
    Refuse,
    Rule,
    Script,
    StallAnswer,
    StallRequest,
)
from tests.support.registry import Registry

PASSWORD = "canary-5b1f0a"
USERS = {"u": PASSWORD}
CHUNK = 64 * 1024
LAYER = 3 * CHUNK + 17
SMALL = 1000
TRAP = "http://trap.invalid/"
"""Stands for the address of a host that must never see a credential."""

_PATIENT = Retry(attempts=5, connect_seconds=10.0, response_seconds=10.0, stall_seconds=10.0)
_IMPATIENT = Retry(
    attempts=5, connect_seconds=1.0, response_seconds=1.0, stall_seconds=1.0, stall_size=1024
)
"""For scripts in which something falls silent."""
_MOST_REQUESTS = 400
_NEVER_ENDING = ChangeAnswer({"Content-Length": "999999"})


class Operation(Enum):
    PULL = "pull"
    PUSH = "push"
    PUSH_CHUNKS = "push-chunks"


@dataclass(frozen=True)
class Step:
    """One kind of request of an operation. `size` is that of the body that matters."""

    name: str
    pattern: str
    size: int
    sends: bool = False
    """The body that matters is the request's."""


_LAYERS = "/blobs/sha256"
STEPS: dict[Operation, tuple[Step, ...]] = {
    Operation.PULL: (
        Step("manifest", "GET .*/manifests/", 500),
        Step("blob", f"GET .*{_LAYERS}", SMALL),
    ),
    Operation.PUSH: (
        Step("head", f"HEAD .*{_LAYERS}", 0),
        Step("post", "POST .*/uploads/", 0),
        Step("put", "PUT .*/uploads/", LAYER, sends=True),
        Step("manifest", "PUT .*/manifests/", 400, sends=True),
    ),
    Operation.PUSH_CHUNKS: (
        Step("post", "POST .*/uploads/", 0),
        Step("patch", "PATCH .*/uploads/", CHUNK, sends=True),
        Step("put", "PUT .*/uploads/", 0, sends=True),
    ),
}


@dataclass(frozen=True)
class FaultScript:
    """What is played against one operation."""

    operation: Operation
    rules: tuple[Rule, ...]
    survives: bool
    """It has to end well."""
    name: str = field(compare=False, default="")

    def __str__(self) -> str:
        return self.name

    @property
    def is_slow(self) -> bool:
        """Tell whether the client has to wait for what does not come."""
        return any(
            isinstance(rule.fault, StallAnswer | StallRequest) or rule.fault == _NEVER_ENDING
            for rule in self.rules
        )


class When(Enum):
    """Which of the requests of one kind meet a fault: how many are spared, how many are hit."""

    FIRST = (0, 1)
    SECOND = (1, 1)
    TWICE = (0, 2)
    ALWAYS = (0, 9999)


def single_faults(*whens: When) -> Iterator[FaultScript]:
    """Cross every step with every fault that fits it.

    What is not survived even once is not played more often.
    """
    for operation, steps in STEPS.items():
        for step in steps:
            for label, fault, passes in _faults(step):
                for when in whens:
                    if not passes and when not in (When.FIRST, When.SECOND):
                        continue
                    skip, times = when.value
                    yield FaultScript(
                        operation,
                        (Rule(step.pattern, fault, times, skip),),
                        survives=passes and when is not When.ALWAYS,
                        name=f"{operation.value}-{step.name}-{label}-{when.name.lower()}",
                    )


def double_faults(count: int, *, seed: int) -> Iterator[FaultScript]:
    """Draw pairs of faults in one operation."""
    chance = random.Random(seed)
    for number in range(count):
        operation = chance.choice(list(STEPS))
        rules = []
        survives = True
        for _ in range(2):
            step = chance.choice(STEPS[operation])
            _, fault, passes = chance.choice(list(_faults(step)))
            rules.append(Rule(step.pattern, fault, chance.randint(1, 2), chance.randint(0, 3)))
            survives = survives and passes
        yield FaultScript(operation, tuple(rules), survives, name=f"pair-{seed}-{number}")


def _faults(step: Step) -> Iterator[tuple[str, Fault, bool]]:
    """List label, fault, and whether one or two of it are survived."""
    for status in (408, 429, 500, 502, 503, 504):
        yield f"{status}", Refuse(Answer(status)), True
    yield "429-later", Refuse(Answer(429, {"Retry-After": "20"})), True
    yield "503-early", Refuse(Answer(503), early=True), True
    yield "503-html", Refuse(Answer(503, body=b"<html>\xff oops</html>")), True
    is_look = step.name == "head"
    is_upload = step.name in ("put", "patch")
    for status in (400, 404):
        yield f"{status}", Refuse(Answer(status)), is_look or is_upload
    for status in (403, 405, 418):
        yield f"{status}", Refuse(Answer(status)), is_look
    yield "401", Refuse(Answer(401)), is_look
    yield "reset", CutRequest(0), True
    yield "lost", LoseAnswer(), True
    yield "silence", StallAnswer(-1), True
    yield "redirect-away", Refuse(Answer(307, {"Location": TRAP})), False
    yield "redirect-loop", Refuse(Answer(307, {"Location": "/v2/again"})), False
    yield "redirect-nowhere", Refuse(Answer(307, {"Location": "file:///etc/passwd"})), False
    if step.sends:
        yield from _request_faults(step)
    elif step.size:
        yield from _answer_faults(step)
    if step.name in ("post", "patch"):
        yield from _session_faults(step)


def _request_faults(step: Step) -> Iterator[tuple[str, Fault, bool]]:
    for at in sorted({1, step.size // 2, step.size - 1, step.size} - {-1}):
        if 0 < at <= step.size:
            yield f"cut-{at}", CutRequest(at), True
    yield "stall", StallRequest(step.size // 2), True
    other = "sha256:" + "0" * 64
    yield "other-digest", ChangeAnswer({"Docker-Content-Digest": other}), step.name == "patch"
    yield "no-digest", ChangeAnswer({"Docker-Content-Digest": None}), True
    yield "204", ChangeAnswer(status=204), True


def _answer_faults(step: Step) -> Iterator[tuple[str, Fault, bool]]:
    for at in (0, 1, step.size // 2, step.size - 1):
        yield f"cut-{at}", CutAnswer(at), True
        yield f"end-{at}", CutAnswer(at, cleanly=True), True
        yield f"stall-{at}", StallAnswer(at), True
        yield f"flip-{at}", ChangeAnswer(flip=at), False
        yield f"short-{at}", ChangeAnswer(keep=at), False
    yield "short-unsaid", ChangeAnswer({"Content-Length": None}, keep=10), step.name == "blob"
    yield "long", ChangeAnswer(extra=1), False
    yield "long-unsaid", ChangeAnswer({"Content-Length": None}, extra=1), False
    yield "never-ending", _NEVER_ENDING, False
    yield "gzip-label", ChangeAnswer({"Content-Encoding": "gzip"}), True
    yield "no-type", ChangeAnswer({"Content-Type": None}), True
    yield "html-type", ChangeAnswer({"Content-Type": "text/html"}), True
    yield "no-range", ChangeRequest({"range": None}), True


def _session_faults(step: Step) -> Iterator[tuple[str, Fault, bool]]:
    is_post = step.name == "post"
    yield "no-location", ChangeAnswer({"Location": None}), not is_post
    yield "bad-location", ChangeAnswer({"Location": "http://["}), False
    yield "far-location", ChangeAnswer({"Location": TRAP}), False
    yield "no-range", ChangeAnswer({"Range": None}), True
    yield "odd-range", ChangeAnswer({"Range": "5-1"}), True
    yield "stale-range", ChangeAnswer({"Range": "0-9"}), True
    yield "ahead-range", ChangeAnswer({"Range": "0-99999999"}), True
    yield "201", ChangeAnswer(status=201), not is_post


@dataclass
class Verdict:
    """How a script ended."""

    error: AsynckanikoError | None
    complaints: list[str]


class Stage:
    """Plays scripts against one registry with users."""

    def __init__(self, registry: Registry, directory: Path) -> None:
        self._registry = registry
        self._directory = directory
        self._count = 0
        self.image = Image.make(LAYER, SMALL)

    async def prepare(self) -> None:
        """Push the image that is pulled later."""
        host = self._registry.host
        async with connect(auths=_auths(host), directory=self._directory) as client:
            await self.image.push(client, Reference.parse(f"{host}/pull:1"))

    async def play(self, script: FaultScript) -> Verdict:
        self._count += 1
        name = "pull" if script.operation is Operation.PULL else f"push-{self._count}"
        trap = Script()
        async with trap.serve(host="127.0.0.2") as elsewhere:
            rules = tuple(_aim(rule, f"http://{elsewhere}/") for rule in script.rules)
            proxy = FaultProxy(self._registry.host, *rules)
            async with proxy.serve() as host:
                error, complaints = await self._run(script, host, name)
        complaints += self._judge(script, error, name, proxy, trap)
        return Verdict(error, complaints)

    async def _run(
        self, script: FaultScript, host: str, name: str
    ) -> tuple[AsynckanikoError | None, list[str]]:
        tag = Reference.parse(f"{host}/{name}:1")
        chunk_size = CHUNK if script.operation is Operation.PUSH_CHUNKS else 0
        client = connect(
            retry=_IMPATIENT if script.is_slow else _PATIENT,
            auths=_auths(host),
            directory=self._directory,
            chunk_size=chunk_size,
            insecure_registries=frozenset({host}),
        )
        try:
            async with client:
                if script.operation is Operation.PULL:
                    return None, await self._pull(client, tag)
                await self.image.push(client, tag)
        except (RegistryError, IntegrityError) as error:
            return error, []
        return None, []

    async def _pull(self, client: RegistryClient, tag: Reference) -> list[str]:
        resolved = await client.resolve(tag, PLATFORM)
        complaints = []
        if resolved.manifest.content != self.image.manifest.content:
            complaints.append("another manifest was taken for the right one")
        if resolved.config != self.image.config.content:
            complaints.append("another config was taken for the right one")
        for blob in self.image.layers:
            if await read(client, tag.repository, blob.descriptor) != blob.content:
                complaints.append("a layer has wrong bytes")
        return complaints

    def _judge(
        self,
        script: FaultScript,
        error: AsynckanikoError | None,
        name: str,
        proxy: FaultProxy,
        trap: Script,
    ) -> list[str]:
        complaints = []
        if error is not None and script.survives:
            complaints.append(f"it could have been survived: {error}")
        if error is not None and PASSWORD in repr(error):
            complaints.append("the error shows the password")
        if any("authorization" in request.headers for request in trap.requests):
            complaints.append("another host got the credentials")
        if len(proxy.requests) > _MOST_REQUESTS:
            complaints.append(f"{len(proxy.requests)} requests")
        if script.operation is not Operation.PULL:
            complaints += self._judge_push(error, Repository(self._registry.host, name))
        return complaints

    def _judge_push(self, error: AsynckanikoError | None, repository: Repository) -> list[str]:
        name = repository.name
        if error is not None and not self._registry.has(name, "1"):
            return []
        # The tag is there: then everything below it is, even if only the last answer was bad.
        document = self._registry.call("GET", f"/v2/{name}/manifests/1", Accept=_MANIFEST)[1]
        complaints = [] if document == self.image.manifest.content else ["a wrong manifest"]
        for blob in (*self.image.layers, self.image.config):
            if self._registry.blob(name, blob.descriptor.digest) != blob.content:
                complaints.append("a blob with wrong bytes")
        return complaints


def sign_in(registry: Registry) -> None:
    """Let the requests that a judge makes itself carry the password."""
    [(user, password)] = USERS.items()
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    registry.headers = {"Authorization": f"Basic {pair}"}


_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def _auths(host: str) -> dict[str, dict[str, str]]:
    return {host: {"username": "u", "password": PASSWORD}}


def _aim(rule: Rule, trap: str) -> Rule:
    """Put the trap's address where the rule has its stand-in."""
    fault = rule.fault
    if isinstance(fault, Refuse) and fault.answer.headers.get("Location") == TRAP:
        answer = Answer(fault.answer.status, {"Location": trap})
        return Rule(rule.pattern, Refuse(answer), rule.times, rule.skip)
    if isinstance(fault, ChangeAnswer) and fault.headers.get("Location") == TRAP:
        return Rule(rule.pattern, ChangeAnswer({"Location": trap}), rule.times, rule.skip)
    return rule
