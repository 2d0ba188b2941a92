"""Layers, history and times."""

from collections.abc import Callable

from tests.conformance.case import Case, Is
from tests.support.images import Entry, ReadImage

EPOCH = 1_600_000_001
EPOCH_TEXT = "2020-09-13T12:26:41Z"


def is_of_the_epoch(image: ReadImage) -> bool:
    return {image.config["created"], *(e["created"] for e in image.config["history"])} == {
        EPOCH_TEXT
    }


def is_no_later_than(latest: int, created: str) -> Callable[[ReadImage], bool]:
    def look(image: ReadImage) -> bool:
        times = [entry.mtime for layer in image.layers for entry in layer.values()]
        return max(times) <= latest and image.config["created"] == created

    return look


def has_no_files(image: ReadImage) -> bool:
    return (image.layers, image.config["rootfs"]["type"]) == ([], "layers")


CASES = (
    Case(
        name="history tells of the last stage, and of each layer",
        dockerfile="""\
            FROM scratch AS other
            COPY f /g
            FROM scratch
            ARG x=1
            ENV e=$x
            COPY --from=other g h
            WORKDIR /
            WORKDIR /w
            EXPOSE 2375 5000 1234/udp
            CMD ["a"]
        """,
        context={"f": "f"},
        history=(
            ("ARG x=1", False),
            ("ENV e=1", False),
            ("COPY g h", True),
            ("WORKDIR /", False),
            ("WORKDIR /w", True),
            ("EXPOSE", False),
            ("CMD", False),
        ),
    ),
    Case(
        name="an image may have no layers",
        dockerfile="""\
            FROM scratch
            ENV a=b
        """,
        env={"a": "b"},
        config={"WorkingDir": "/"},
        history=(("ENV a=b", False),),
        also=has_no_files,
    ),
    Case(
        name="an epoch dates the config and leaves files alone",
        dockerfile="""\
            FROM scratch
            ENTRYPOINT run this
            COPY f .
        """,
        request={"source_date_epoch": EPOCH},
        context={"f": Entry(content=b"f", mtime=1_700_000_000)},
        tree={"f": Is(content="f", mtime=1_700_000_000)},
        also=is_of_the_epoch,
    ),
    Case(
        name="rewritten times are those that were later",
        dockerfile="""\
            FROM scratch
            COPY old new /d/
        """,
        request={"source_date_epoch": EPOCH, "rewrite_timestamp": True},
        context={
            "old": Entry(content=b"o", mtime=1_500_000_000),
            "new": Entry(content=b"n", mtime=1_700_000_000),
        },
        tree={
            "d/old": Is(content="o", mtime=1_500_000_000),
            "d/new": Is(content="n", mtime=EPOCH),
        },
        also=is_no_later_than(EPOCH, EPOCH_TEXT),
    ),
    Case(
        name="the file may say which epoch",
        dockerfile="""\
            ARG SOURCE_DATE_EPOCH=1445412480
            FROM scratch
            ARG SOURCE_DATE_EPOCH
            LABEL e=$SOURCE_DATE_EPOCH
            WORKDIR /made
        """,
        request={"rewrite_timestamp": True},
        config={"Labels": {"e": "1445412480"}},
        also=is_no_later_than(1_445_412_480, "2015-10-21T07:28:00Z"),
    ),
)
