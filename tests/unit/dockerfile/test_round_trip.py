"""Parse, print, parse: the second parse gives what the first gave. And nothing crashes the parser:
whatever the bytes, there is a Dockerfile or a DockerfileError."""

import os
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asynckaniko.dockerfile.instructions import Dockerfile, Stage
from asynckaniko.dockerfile.lint import Surroundings, check
from asynckaniko.dockerfile.parser import parse, parse_until_error
from asynckaniko.dockerfile.patterns import PatternMatcher
from asynckaniko.errors import SourceSpan
from tests.unit.dockerfile.printer import print_dockerfile
from tests.unit.dockerfile.seeds import SEEDS

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "250"))
"""`.ci/run` sets more, and whoever looks for something may set many more."""
NOWHERE = SourceSpan("", 0, 0)
# A minute each where `.ci/run` asks for many examples, and several on a machine that is busy.
pytestmark = pytest.mark.timeout(900)


def bare(instruction: Any) -> Any:
    """Forget where an instruction stood and how it was written."""
    return replace(instruction, span=NOWHERE, original="", comments=())


def meaning(dockerfile: Dockerfile) -> tuple[object, ...]:
    def of(stage: Stage) -> tuple[object, ...]:
        return bare(stage.base), tuple(map(bare, stage.instructions))

    return tuple(map(bare, dockerfile.args)), tuple(map(of, dockerfile.stages))


@pytest.mark.parametrize("seed", SEEDS)
def test_seed_parses_to_the_same_when_printed(seed: str) -> None:
    first = parse(seed.encode())

    printed = print_dockerfile(first)
    second = parse(printed.encode())

    assert meaning(second) == meaning(first)
    assert print_dockerfile(second) == printed


PIECES = [
    *("FROM ", "RUN ", "COPY ", "ADD ", "ENV ", "ARG ", "LABEL ", "ONBUILD ", "HEALTHCHECK CMD "),
    *("SHELL ", "VOLUME ", "EXPOSE ", "WORKDIR ", "USER ", "CMD ", "ENTRYPOINT ", "from a as b\n"),
    *("\n", "\n", " ", "\t", "\r\n", " \\\n", "`\n", "\\", "`", "#", "# c\n", "# escape=`\n"),
    *("<<E", "<<-E", "<<'E'", "E\n", "\tE\n", "3<<", '["a", "b"]', "[", "]", '"', "'", "=", ","),
    *("--from=0 ", "--chmod=u+x ", "--link ", "--", "--mount=type=cache,target=/c ", "-- "),
    *("a=b ", "a b", "$a", "${a", ":-", ":?", "##", "%%", "//", "/", "}", "}", "*", "?", "\0"),
    *("80/tcp ", "1-2 ", "scratch\n", "\u00e9", "\u2028", "\ufeff", "NONE", "AS x\n", "true\n"),
]
lines = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    """Cut, repeat and insert in a seed."""
    content = draw(st.sampled_from(SEEDS)).encode()
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 40)))
        middle = draw(
            st.one_of(
                st.just(b""),
                st.just(content[start:end] * 2),
                st.sampled_from(PIECES).map(str.encode),
                st.binary(max_size=4),
            )
        )
        content = content[:start] + middle + content[end:]
    return content


def exercise(content: bytes) -> None:
    """Do with a file all that can be done without building it. Errors are values here."""
    report = check(
        content, surroundings=Surroundings(all_stages=True, ignored=PatternMatcher(["a", "!b"]))
    )
    if report.error is not None:
        assert report.error.span is not None
        assert str(report.error)
    dockerfile, error = parse_until_error(content)
    assert error is None or report.error is not None, "what cannot be parsed is reported"
    printed = print_dockerfile(dockerfile)
    # An escape that ends the last line of a file continues nothing; printed elsewhere it would.
    _directive, _, below = printed.partition("\n")
    if dockerfile.stages and not re.search(r"[\\`][ \t]*$", below, re.MULTILINE):
        assert meaning(parse(printed.encode())) == meaning(dockerfile)


@settings(max_examples=EXAMPLES)
@given(mutants())
def test_mutated_file_parses_or_is_a_dockerfile_error(content: bytes) -> None:
    exercise(content)


@settings(max_examples=EXAMPLES)
@given(lines.map(lambda text: f"FROM a AS b\n{text}\n".encode()))
def test_pieces_of_the_language_in_any_order_do_no_harm(content: bytes) -> None:
    exercise(content)


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=300))
def test_any_bytes_do_no_harm(content: bytes) -> None:
    exercise(content)
