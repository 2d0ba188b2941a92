"""The timeline of a batch: a bar for each image, then the steps of each."""

from asynckaniko.batch.outcome import Outcome, Status
from asynckaniko.batch.report import first_line, summary
from asynckaniko.cli.timeline import Group, Row, Span, Timeline

_STAGE = "Stage "


class BatchTimeline(Timeline):
    """Takes the relabelled events of all images, and their outcomes."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._outcomes: dict[str, Outcome] = {}
        self._starts: dict[str, float] = {}

    def ended(self, outcome: Outcome) -> None:
        """Take the end of an image, now."""
        self._outcomes[outcome.name] = outcome
        if outcome.attempts:
            self._starts[outcome.name] = max(0.0, self.now() - outcome.seconds)

    @property
    def title(self) -> str:
        return self._name

    @property
    def outcome(self) -> str:
        """Count the images; the first word is a number only where all is well."""
        outcomes = list(self._outcomes.values())
        bad = [outcome.name for outcome in outcomes if not outcome.is_good]
        text = summary(outcomes)
        return f"not built: {', '.join(bad)} ({text})" if bad else text

    def groups(self) -> list[Group]:
        """Put the images before what they are made of."""
        steps = super().groups()
        for group in steps:
            group.title = group.title.removeprefix(_STAGE)
        names = sorted(self._starts, key=self._starts.__getitem__)
        order = {name: position for position, name in enumerate(names)}
        steps.sort(key=lambda group: order.get(group.title.split(" ")[0], len(order)))
        rows = [_row(self._outcomes[name], self._starts[name]) for name in names]
        return [Group("Images", rows), *steps] if rows else steps


def _row(outcome: Outcome, start: float) -> Row:
    state = {Status.FAILED: "failed", Status.KEPT: "cached"}.get(outcome.status, "")
    detail = first_line(outcome.error) if outcome.error else ""
    if outcome.built is not None:
        detail = outcome.built.digest
    span = Span("image", outcome.name, start, outcome.seconds, detail, state)
    return Row(outcome.name, [span])
