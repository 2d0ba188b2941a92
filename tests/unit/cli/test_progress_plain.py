"""Plain progress: numbered lines that stay together."""

from collections.abc import Iterable

from asynckaniko.cli.progress import LogMessage, Moment, OutputDropped
from asynckaniko.cli.progress_plain import PlainDisplay
from asynckaniko.events import (
    BaseResolved,
    BlobProgress,
    BlobPushed,
    BuildFinished,
    BuildStarted,
    BuildWarning,
    CacheMissed,
    ImagePushed,
    LayerPulled,
    LayerPullStarted,
    LayerReused,
    OutputWritten,
    RequestRetried,
    StepFailedEvent,
    StepFinished,
    StepOutput,
    StepStarted,
)
from tests.unit.cli.script import APT, COPY, MAKE, REPOSITORY, STAGES, digest, packed

START = BuildStarted("Dockerfile", "final", STAGES)


class Screen:
    """A display and what it has written."""

    def __init__(self) -> None:
        self.text = ""
        self.display = PlainDisplay(self._write)

    def _write(self, text: str) -> None:
        self.text += text

    def show(self, *moments: Moment) -> str:
        self.display.show(moments)
        return self.text


def shown(moments: Iterable[Moment]) -> str:
    """Show moments after the build has started, and return the text that follows."""
    screen = Screen()
    before = screen.show((0.0, START))
    return screen.show(*moments).removeprefix(before)


def test_build_begins_with_its_dockerfile() -> None:
    assert Screen().show((0.04, START)) == (
        "#1 [internal] load build definition from Dockerfile\n#1 DONE 0.0s\n\n"
    )


def test_step_prints_its_output_and_time() -> None:
    moments: list[Moment] = [
        (1.0, StepStarted(MAKE)),
        (1.4, StepOutput(MAKE, "cc -c a.c", "stdout", 0.412)),
        (4.1, StepFinished(MAKE, 3.1)),
    ]

    assert shown(moments) == (
        "#2 [build 3/3] RUN make -j4 all\n#2 0.412 cc -c a.c\n#2 DONE 3.1s\n\n"
    )


def test_cached_step_says_so() -> None:
    moments: list[Moment] = [(1.0, StepStarted(COPY)), (1.0, StepFinished(COPY, 0.0, cached=True))]

    assert shown(moments) == "#2 [build 2/3] COPY . .\n#2 CACHED\n\n"


def test_miss_of_the_cache_says_what_changed() -> None:
    missed = CacheMissed("build", "RUN make", 5, ("environment", "user"))
    first = CacheMissed("build", "RUN make", 5, ())

    assert shown([(1.0, missed)]) == "cache miss: RUN make: environment, user changed\n"
    assert shown([(1.0, first)]) == "cache miss: RUN make\n"


def test_failed_step_says_why() -> None:
    moments: list[Moment] = [
        (1.0, StepStarted(MAKE)),
        (2.0, StepFailedEvent(MAKE, 1.0, "exit status 2")),
    ]

    assert shown(moments) == "#2 [build 3/3] RUN make -j4 all\n#2 ERROR: exit status 2\n\n"


def test_size_of_a_layer_follows_without_a_new_heading() -> None:
    moments: list[Moment] = [
        (1.0, StepStarted(COPY)),
        (1.1, StepFinished(COPY, 0.1)),
        (1.4, packed(COPY, 812_000)),
    ]

    assert shown(moments).splitlines()[-1] == (
        f"#2 layer {digest(COPY.instruction)[:19]} 812.0 kB (2.4 MB unpacked, 90 entries) 0.2s"
    )


def test_base_image_is_resolved_pulled_or_kept() -> None:
    moments: list[Moment] = [
        (0.4, BaseResolved("docker.io/library/debian:12", digest("m"), 2, 49_700_000, 0.38)),
        (0.4, LayerReused(digest("small"), 1_200_000)),
        (0.5, LayerPullStarted(digest("big"), 48_500_000)),
        (3.1, LayerPulled(digest("big"), 48_500_000, 2.6, True)),
    ]

    assert shown(moments) == (
        "#2 [internal] load metadata for docker.io/library/debian:12\n"
        f"#2 {digest('m')} 2 layers, 49.7 MB\n"
        "#2 DONE 0.4s\n\n"
        f"#3 [base] {digest('small')} 1.2 MB\n"
        "#3 CACHED\n\n"
        f"#4 [base] {digest('big')} 48.5 MB\n"
        "#4 DONE 2.6s\n\n"
    )


def test_long_transfer_reports_every_five_seconds() -> None:
    moments: list[Moment] = [(0.0, LayerPullStarted(digest("big"), 10_000_000))]
    moments += [
        (half / 2, BlobProgress("pull", digest("big"), half * 400_000, 10_000_000))
        for half in range(1, 25)
    ]

    lines = shown(moments).splitlines()

    short = digest("big")[:19]
    assert lines[1:] == [
        f"#2 {short} 4.0 MB / 10.0 MB 5.0s",
        f"#2 {short} 8.0 MB / 10.0 MB 10.0s",
    ]


def test_push_names_blobs_routes_and_references() -> None:
    moments: list[Moment] = [
        (8.6, BlobPushed(REPOSITORY, digest("big"), 48_500_000, "mounted", 0.03)),
        (9.7, ImagePushed(f"{REPOSITORY}:1.4", digest("image"))),
        (9.8, BuildFinished(digest("image"), 9.8, 4, 82_600_000)),
    ]

    assert shown(moments) == (
        "#2 [push] upload image\n"
        f"#2 {REPOSITORY} {digest('big')[:19]} 48.5 MB mounted 0.0s\n"
        f"#2 pushed {REPOSITORY}:1.4@{digest('image')}\n"
        "#2 DONE 1.2s\n\n"
        f"built {digest('image')} in 9.8s: 4 layers, 82.6 MB\n"
    )


def test_output_that_is_written_is_named() -> None:
    written: Moment = (9.0, OutputWritten("OciLayout", "/out", digest("image")))

    assert shown([written]) == f"#2 [output] OCI layout /out\n#2 DONE {digest('image')}\n\n"


def test_two_talking_steps_do_not_mix_their_lines() -> None:
    screen = Screen()
    screen.show((0.0, START), (1.0, StepStarted(MAKE)), (1.0, StepStarted(APT)))
    for tenth in range(5):
        now = 1.1 + tenth / 10
        screen.show(
            (now, StepOutput(MAKE, f"make {tenth}", "stdout", now - 1)),
            (now, StepOutput(APT, f"apt {tenth}", "stdout", now - 1)),
        )
    screen.show((1.6, StepFinished(MAKE, 0.6)), (1.7, StepFinished(APT, 0.7)))

    words = [line.split()[-2:] for line in screen.text.splitlines() if line.startswith("#")]
    assert [pair[0] for pair in words if pair[0] in {"make", "apt"}] == ["make"] * 5 + ["apt"] * 5
    assert "..." not in screen.text


def test_silent_step_gives_the_floor_to_another_and_takes_it_back() -> None:
    screen = Screen()
    screen.show((0.0, START), (1.0, StepStarted(MAKE)), (1.1, StepStarted(APT)))
    before = screen.show((1.2, StepOutput(APT, "reading", "stdout", 0.1)))
    screen.display.tick(1.9)
    assert screen.text == before

    screen.display.tick(2.3)
    screen.show((2.4, StepOutput(MAKE, "linking", "stdout", 1.4)), (2.5, StepFinished(APT, 1.4)))
    screen.show((2.6, StepFinished(MAKE, 1.6)))

    assert screen.text.removeprefix(before) == (
        "#2 ...\n\n"
        "#3 [final 1/2] RUN apt-get update && apt-get install -y curl\n"
        "#3 0.100 reading\n"
        "#3 DONE 1.4s\n\n"
        "#2 [build 3/3] RUN make -j4 all\n"
        "#2 1.400 linking\n"
        "#2 DONE 1.6s\n\n"
    )


def test_talkative_step_cannot_keep_the_floor_for_ever() -> None:
    screen = Screen()
    screen.show((0.0, START), (1.0, StepStarted(MAKE)), (1.1, StepStarted(APT)))
    for tenth in range(70):
        now = 1.2 + tenth / 10
        screen.show((now, StepOutput(MAKE, "more", "stdout", now - 1)))

    assert "#3 [final 1/2]" in screen.text


def test_warnings_and_retries_appear_at_once() -> None:
    moments: list[Moment] = [
        (1.0, StepStarted(MAKE)),
        (1.1, BuildWarning("old form", "LegacyKeyValueFormat", "Dockerfile", 6)),
        (1.2, RequestRetried("GET", "https://r/v2/", "HTTP 503", 1, 0.2)),
        (1.3, LogMessage(30, "asynckaniko.store", "slow disk")),
        (1.4, OutputDropped(12)),
    ]

    assert shown(moments).splitlines()[1:] == [
        "warning: LegacyKeyValueFormat: old form (Dockerfile:6)",
        "retry: GET https://r/v2/: HTTP 503; attempt 2 in 0.2s",
        "warning: asynckaniko.store: slow disk",
        "warning: 12 lines of output not shown",
    ]


def test_interrupted_build_shows_what_was_held_back_and_no_false_end() -> None:
    screen = Screen()
    screen.show((0.0, START), (1.0, StepStarted(MAKE)), (1.1, StepStarted(APT)))
    before = screen.show((1.2, StepOutput(APT, "reading", "stdout", 0.1)))

    screen.display.close(1.3)

    assert screen.text.removeprefix(before) == (
        "#3 [final 1/2] RUN apt-get update && apt-get install -y curl\n#3 0.100 reading\n"
    )


def test_hostile_output_cannot_fake_another_line() -> None:
    output: Moment = (1.1, StepOutput(MAKE, "x\r#9 DONE\x1b[1A\x0b", "stdout", 0.1))

    assert shown([(1.0, StepStarted(MAKE)), output]).splitlines()[-1] == "#2 0.100 #9 DONE"
