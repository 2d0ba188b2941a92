import os
from collections.abc import Iterator
from itertools import pairwise

import pytest
from anyio import create_task_group
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from asynckaniko.isolation.output import LineSplitter, relay


def split(chunks: list[bytes], limit: int = 100) -> list[str]:
    splitter = LineSplitter(limit)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return [*lines, *splitter.end()]


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"on", b"e\nt", b"wo"], ["one", "two"]),
        ([b"\n\na\n"], ["", "", "a"]),
        ([b"dos\r\nbar\rbar\n"], ["dos", "bar\rbar"]),
        ([b"half\r", b"\nnext\n"], ["half", "next"]),
        ([b"\xc3", b"\xa9\n"], ["é"]),
        ([b"\xff\x00\n"], ["\ufffd\x00"]),
        ([], []),
        ([b""], []),
    ],
)
def test_chunks_become_lines(chunks: list[bytes], lines: list[str]) -> None:
    assert split(chunks) == lines


def test_long_line_is_passed_in_parts() -> None:
    assert split([b"abcdefghij\nk\n"], limit=4) == ["abcd", "efgh", "ij", "k"]


def test_line_of_exactly_the_limit_is_one_line() -> None:
    assert split([b"abcd\nefgh\n"], limit=4) == ["abcd", "efgh"]
    assert split([b"abcd", b"\n"], limit=4) == ["abcd"]


def test_line_end_after_the_last_part_adds_no_empty_line() -> None:
    assert split([b"abcdefgh", b"\n", b"x\n"], limit=4) == ["abcd", "efgh", "x"]


def test_part_does_not_end_within_a_character() -> None:
    assert split(["ééééé\n".encode()], limit=5) == ["éé", "éé", "é"]


@given(st.lists(st.binary(max_size=40)), st.integers(min_value=4, max_value=12))
def test_nothing_is_lost_and_no_part_is_too_long(chunks: list[bytes], limit: int) -> None:
    text = b"".join(chunks).replace(b"\r", b"").decode("latin-1").encode("utf-8")
    cut = [text[start : start + 7] for start in range(0, len(text), 7)]

    lines = split(cut, limit)

    assert "".join(lines) == text.decode().replace("\n", "")
    assert all(len(line.encode()) <= limit for line in lines)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)


async def test_relay_ends_when_the_last_writer_closes(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    second = os.dup(writer)
    lines: list[str] = []

    async with create_task_group() as tasks:
        tasks.start_soon(relay, reader, lines.append, 100)
        os.write(writer, b"first\nsec")
        os.close(writer)
        os.write(second, b"ond\nno end")
        os.close(second)

    assert lines == ["first", "second", "no end"]


async def test_other_tasks_have_turns_among_many_lines(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.write(writer, b"\n" * 60_000)
    os.close(writer)
    lines: list[str] = []
    seen = [0]

    async with create_task_group() as tasks:
        tasks.start_soon(relay, reader, lines.append, 100)
        while len(lines) < 60_000:
            await checkpoint()
            seen.append(len(lines))

    assert max(later - earlier for earlier, later in pairwise(seen)) < 1000


async def test_relay_lets_every_user_open_the_pipe(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.close(writer)

    await relay(reader, lambda _: None, 100)

    assert os.fstat(reader).st_mode & 0o777 == 0o666
