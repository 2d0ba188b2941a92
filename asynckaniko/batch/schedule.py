"""The order of a batch: what is built when, what is tried again, and what is not built at all."""

from collections.abc import Callable, Sequence
from typing import Protocol

from anyio import (
    CancelScope,
    Event,
    create_task_group,
    current_time,
    get_cancelled_exc_class,
    move_on_after,
    sleep,
)

from asynckaniko.batch.admission import Admission
from asynckaniko.batch.outcome import Built, Outcome, Status, is_transient
from asynckaniko.batch.plan import PlannedImage, in_order
from asynckaniko.errors import StepFailed
from asynckaniko.records import dataclass


class ImageBuilder(Protocol):
    """Builds one image of the batch."""

    async def build(
        self, image: PlannedImage, *, attempt: int, exists: Callable[[], None]
    ) -> Built:
        """Build it; call `exists` as soon as others can use it, which may be before the end."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How much at once, and what a failure means for the others."""

    jobs: int
    memory: int
    fail_fast: bool = False
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0


class Schedule:
    """Runs the builds of a batch once. `outcomes` fills as images end."""

    def __init__(
        self,
        images: Sequence[PlannedImage],
        builder: ImageBuilder,
        rules: Rules,
        *,
        on_start: Callable[[PlannedImage, int], None] = lambda _, __: None,
        on_end: Callable[[Outcome], None] = lambda _: None,
    ) -> None:
        self._images = in_order(images)
        self._builder = builder
        self._rules = rules
        self._on_start = on_start
        self._on_end = on_end
        self._admission = Admission(jobs=rules.jobs, memory=rules.memory)
        self._settled = {image.name: Event() for image in images}
        self._exists: set[str] = set()
        self._ranks = ranks(self._images)
        self._stop = CancelScope()
        self._zero = 0.0
        self.outcomes: dict[str, Outcome] = {}

    async def run(self) -> None:
        """Build everything that can be built. Failures are in `outcomes`, and raise nothing."""
        self._zero = current_time()
        with self._stop:
            async with create_task_group() as tasks:
                for image in self._images:
                    tasks.start_soon(self._run, image)

    async def _run(self, image: PlannedImage) -> None:
        try:
            for need in image.needs:
                await self._settled[need].wait()
            missing = [need for need in image.needs if need not in self._exists]
            ends = [self.outcomes[need].status for need in missing if need in self.outcomes]
            if Status.CANCELLED in ends:
                # It may hear of that before it is cancelled itself.
                self._end(Outcome(name=image.name, status=Status.CANCELLED))
            elif missing:
                reason = f"needs {', '.join(missing)}"
                self._end(Outcome(name=image.name, status=Status.SKIPPED, reason=reason))
            else:
                await self._build(image)
        except get_cancelled_exc_class():
            if image.name not in self.outcomes:
                self._end(Outcome(name=image.name, status=Status.CANCELLED))
            raise
        finally:
            self._settled[image.name].set()

    async def _build(self, image: PlannedImage) -> None:
        attempt, started = 0, 0.0
        while True:
            attempt += 1
            try:
                async with self._admission.admit(
                    weight=image.weight,
                    memory=image.memory * max(1, len(image.platforms)),
                    rank=self._ranks[image.name],
                ):
                    started = started or current_time()
                    self._on_start(image, attempt)
                    built = await self._attempt(image, attempt)
            except Exception as error:
                if attempt <= image.retries and is_transient(error):
                    await sleep(self._wait_seconds(attempt))
                    continue
                self._end(self._outcome(image, Status.FAILED, started, attempt, error=error))
                if self._rules.fail_fast:
                    self._stop.cancel()
                return
            status = Status.BUILT if built.is_new else Status.KEPT
            self._announce(image)
            self._end(self._outcome(image, status, started, attempt, built=built))
            return

    async def _attempt(self, image: PlannedImage, attempt: int) -> Built:
        limit = image.timeout_seconds
        with move_on_after(limit):
            return await self._builder.build(
                image, attempt=attempt, exists=lambda: self._announce(image)
            )
        raise StepFailed(f"{image.name}: not done after its timeout of {limit:g} seconds")

    def _announce(self, image: PlannedImage) -> None:
        self._exists.add(image.name)
        self._settled[image.name].set()

    def _wait_seconds(self, attempt: int) -> float:
        wait = self._rules.first_wait_seconds * 2.0 ** (attempt - 1)
        return min(wait, self._rules.longest_wait_seconds)

    def _outcome(
        self,
        image: PlannedImage,
        status: Status,
        started: float,
        attempts: int,
        *,
        built: Built | None = None,
        error: Exception | None = None,
    ) -> Outcome:
        return Outcome(
            name=image.name,
            status=status,
            built=built,
            error=error,
            started_seconds=started - self._zero,
            seconds=current_time() - started,
            attempts=attempts,
        )

    def _end(self, outcome: Outcome) -> None:
        self.outcomes[outcome.name] = outcome
        self._on_end(outcome)


def ranks(images: Sequence[PlannedImage]) -> dict[str, tuple[float, ...]]:
    """Rank images that come after one another: those that most others wait for come first.

    `images` are in an order in which each comes after what it needs.
    """
    waiting: dict[str, int] = {}
    for image in reversed(images):
        waiting.setdefault(image.name, 0)
        for need in image.needs:
            waiting[need] = max(waiting.get(need, 0), waiting[image.name] + 1)
    return {
        image.name: (-float(waiting[image.name]), float(position))
        for position, image in enumerate(images)
    }
