"""A build that never happens: its events, with the moments at which they come."""

from collections.abc import Iterator

from asynckaniko.events import (
    BaseResolved,
    BlobProgress,
    BlobPushed,
    BlobRoute,
    BuildFinished,
    BuildStarted,
    BuildWarning,
    Event,
    ImagePushed,
    LayerPacked,
    LayerPulled,
    LayerPullStarted,
    LayerReused,
    OutputWritten,
    RequestRetried,
    StageFinished,
    StageStarted,
    Step,
    StepFinished,
    StepOutput,
    StepStarted,
)
from asynckaniko.oci.digest import DiffID, Digest

STAGES = ("build", "final")
WORKDIR = Step("build", 1, 3, "WORKDIR /src", 3)
COPY = Step("build", 2, 3, "COPY . .", 4)
MAKE = Step("build", 3, 3, "RUN make -j4 all", 5)
APT = Step("final", 1, 2, "RUN apt-get update && apt-get install -y curl", 8)
FROM = Step("final", 2, 2, "COPY --from=build /src/out /usr/bin/out", 9)
REPOSITORY = "registry.example.com/team/app"


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


def packed(step: Step, size: int) -> LayerPacked:
    blob = digest(step.instruction)
    return LayerPacked(step, blob, DiffID(digest("tar" + blob)), size, 3 * size, size // 9000, 0.2)


def whole_build() -> Iterator[tuple[float, Event]]:
    """Two stages side by side on one base, pushed to two tags."""
    yield 0.0, BuildStarted("Dockerfile", "final", STAGES)
    yield 0.4, BaseResolved("docker.io/library/debian:12", digest("base"), 2, 49_700_000, 0.38)
    yield 0.4, StageStarted("build")
    yield 0.4, StageStarted("final")
    yield 0.4, LayerReused(digest("small"), 1_200_000)
    yield 0.5, LayerPullStarted(digest("big"), 48_500_000)
    for tenth in range(1, 10):
        yield 0.5 + tenth / 4, BlobProgress("pull", digest("big"), tenth * 4_850_000, 48_500_000)
    reason = "HTTP 503 (UNAVAILABLE)"
    yield 1.6, RequestRetried("GET", "https://registry-1.docker.io/v2/", reason, 1, 0.2)
    yield 3.1, LayerPulled(digest("big"), 48_500_000, 2.6, True)
    yield 3.1, StepStarted(WORKDIR)
    yield 3.1, StepFinished(WORKDIR, 0.01)
    yield 3.2, StepStarted(COPY)
    yield 3.2, StepStarted(APT)
    yield 3.4, StepFinished(COPY, 0.24)
    yield 3.5, packed(COPY, 812_000)
    yield 3.5, StepStarted(MAKE)
    for number in range(12):
        now = 3.6 + number / 5
        source = f"src/component_{number:02}/implementation_of_the_thing_{number:02}.c"
        yield (
            now,
            StepOutput(
                MAKE, f"cc -O2 -Wall -Wextra -c {source} -o {source}.o", "stdout", now - 3.5
            ),
        )
        url = "http://deb.debian.org/debian bookworm/main amd64"
        line = f"Get:{number} {url} libsomething{number} amd64 1.2.{number}-1 [{number * 31} kB]"
        yield now + 0.05, StepOutput(APT, line, "stdout", now - 3.2)
    yield (
        6.0,
        StepOutput(MAKE, "\x1b[33mwarning:\x1b[0m naïve façade 警告 ends here", "stderr", 2.5),
    )
    warning = "Legacy key/value format with whitespace separator should not be used"
    yield 6.0, BuildWarning(warning, "LegacyKeyValueFormat", "Dockerfile", 6)
    yield 6.1, StepFinished(MAKE, 2.6)
    yield 6.1, StageFinished("build", 5.7)
    yield 6.4, packed(MAKE, 4_100_000)
    yield 8.0, StepFinished(APT, 4.8)
    yield 8.1, StepStarted(FROM)
    yield 8.2, StepFinished(FROM, 0.08)
    yield 8.3, packed(APT, 31_000_000)
    yield 8.4, packed(FROM, 1_900_000)
    yield 8.4, StageFinished("final", 8.0)
    apt = digest(APT.instruction)
    for tenth in range(0, 10, 2):
        yield 8.5 + tenth / 10, BlobProgress("push", apt, tenth * 3_100_000, 31_000_000)
    yield 8.6, BlobPushed(REPOSITORY, digest("big"), 48_500_000, BlobRoute.MOUNTED, 0.03)
    yield 8.6, BlobPushed(REPOSITORY, digest("small"), 1_200_000, BlobRoute.EXISTED, 0.01)
    yield 9.5, BlobPushed(REPOSITORY, apt, 31_000_000, BlobRoute.UPLOADED, 1.1)
    for tag in ("latest", "1.4"):
        yield 9.7, ImagePushed(f"{REPOSITORY}:{tag}", digest("manifest"))
    yield 9.8, OutputWritten("DigestFile", "/tmp/digest", digest("manifest"))
    yield 9.8, BuildFinished(digest("manifest"), 9.8, 4, 82_600_000)
