import pytest

from asynckaniko.dockerfile import lexer
from asynckaniko.dockerfile.lexer import LogicalLine, Source, logical_lines
from asynckaniko.errors import DockerfileError


def lines(text: str | bytes) -> list[LogicalLine]:
    content = text if isinstance(text, bytes) else text.encode()
    return list(logical_lines(Source(content, name="Dockerfile")))


def texts(text: str | bytes) -> list[str]:
    return [line.text for line in lines(text)]


def error(text: str | bytes) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        lines(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN a\n", ["RUN a"]),
        ("RUN a", ["RUN a"]),
        ("  RUN a  \n", ["RUN a  "]),
        ("RUN a \\\n  b\n", ["RUN a   b"]),
        ("RUN a \\ \t\n b\n", ["RUN a  b"]),
        ("RUN a\\", ["RUN a"]),
        ("RUN a\\\n", ["RUN a"]),
        ("RUN a\\\\\nRUN b\n", ["RUN a\\\\", "RUN b"]),
        ("RUN a \\\n\n\n b\n", ["RUN a  b"]),
        ("RUN a \\\n# no\n  # no either\n b # yes\n", ["RUN a  b # yes"]),
        ("\\\nRUN a\n", ["RUN a"]),
        ("# c\n\n\t\nRUN a\n", ["RUN a"]),
        ("RUN a\r\nRUN b \\\r\n c\r\n", ["RUN a", "RUN b  c"]),
        (b"\xef\xbb\xbfRUN a\n", ["RUN a"]),
        ("RUN caf\u00e9\n", ["RUN caf\u00e9"]),
    ],
)
def test_physical_lines_join_into_logical_ones(text: str | bytes, expected: list[str]) -> None:
    assert texts(text) == expected


def test_span_covers_continuations_and_heredoc_bodies() -> None:
    found = lines("\nRUN a \\\n# c\n b\n\nCOPY <<A <<B /d\n1\nA\n2\nB\nRUN c\n")

    assert [(line.span.first, line.span.last) for line in found] == [(2, 4), (6, 10), (11, 11)]


def test_comments_directly_above_belong_to_the_instruction() -> None:
    found = lines("# one\n#two \nRUN a\n# far\n#\n# near\nRUN b\nRUN c\n")

    assert [line.comments for line in found] == [("one", "two"), ("near",), ()]


@pytest.mark.parametrize(
    ("text", "line"), [("RUN a \\\n\n b\n", 3), ("RUN a \\\n b\n", 0), ("RUN a \\\n# c\n b\n", 0)]
)
def test_empty_line_inside_an_instruction_is_noted(text: str, line: int) -> None:
    assert lines(text)[0].empty_continuation == line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# escape=`\nRUN a", ("", "`", "")),
        ("#ESCAPE = ` \nRUN a", ("", "`", "")),
        ("  # escape=`\nRUN a", ("", "`", "")),
        ("# syntax=docker/dockerfile:1\n# check=skip=all\n# escape=\\\nRUN a", None),
        ("# hello\n# escape=`\nRUN a", ("", "\\", "")),
        ("\n# escape=`\nRUN a", ("", "\\", "")),
        ("# unknown=1\n# escape=`\nRUN a", ("", "\\", "")),
        ("RUN a\n# escape=`\n", ("", "\\", "")),
        ("#!/usr/bin/env x\n# syntax=a/b\n# check=error=true\nRUN a", ("a/b", "\\", "error=true")),
        ("#!/usr/bin/env x\n# escape=`\nRUN a", ("", "\\", "")),
    ],
)
def test_directives_are_the_known_keys_at_the_top(
    text: str, expected: tuple[str, str, str] | None
) -> None:
    directives = Source(text.encode(), name="Dockerfile").directives

    found = (directives.syntax, directives.escape, directives.check)
    assert found == (expected or ("docker/dockerfile:1", "\\", "skip=all"))


def test_directive_is_no_comment_of_the_first_instruction() -> None:
    assert lines("# check=skip=all\n# about\nRUN a\n")[0].comments == ("about",)


def test_backtick_continues_lines_where_it_is_the_escape() -> None:
    assert texts("# escape=`\nRUN a `\n b\nCOPY x c:\\\n") == ["RUN a  b", "COPY x c:\\"]


@pytest.mark.parametrize(
    ("text", "fragment", "line"),
    [
        ("# escape=x\nRUN a", "escape", 1),
        ("# escape=`\n# syntax=a\n# Escape=`\nRUN a", "only one escape", 3),
        ("", "empty", 1),
        (b"\xef\xbb\xbf", "empty", 1),
        ("RUN a\nCOPY <<X /y\nbody\n", "unterminated heredoc", 2),
        ("RUN a\nRUN <<${x:-\\'}\nE\n", "quote", 2),
        (b"RUN a\nRUN \xff\n", "UTF-8", 2),
        (b"COPY <<X /y\n\xff\nX\n", "UTF-8", 2),
        ("RUN a\0b\n", "NUL", 1),
        ("RUN a\nRUN " + "b" * (lexer.LONGEST_LINE - 3), "greater than max", 2),
        ("\n" * (lexer.MOST_LINES + 1), "lines", 1),
        ("a" * (lexer.LARGEST_FILE + 1), "larger than 16 MiB", 1),
        ("RUN a\n" * (lexer.MOST_INSTRUCTIONS + 1), "instructions", lexer.MOST_INSTRUCTIONS + 1),
        ("RUN " + ("a" * 60000 + "\\\n") * 40, "MiB of them", 1),
    ],
)
def test_what_cannot_be_read_is_an_error_at_its_line(
    text: str | bytes, fragment: str, line: int
) -> None:
    found = error(text)

    assert fragment in str(found)
    assert found.span is not None
    assert (found.span.file, found.span.first) == ("Dockerfile", line)


def test_line_may_be_as_long_as_in_buildkit() -> None:
    assert len(texts("RUN " + "b" * (lexer.LONGEST_LINE - 4))[0]) == lexer.LONGEST_LINE


def test_bytes_that_are_no_text_do_no_harm_in_comments() -> None:
    assert texts(b"# Andr\xe9\nRUN a\n") == ["RUN a"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN <<A\none\n\ntwo \\\n# no comment\nA\n", [("A", "one\n\ntwo \\\n# no comment\n")]),
        ("RUN <<A\nA\n", [("A", "")]),
        ("RUN <<A\n A\nA \nA\n", [("A", " A\nA \n")]),
        ("RUN <<-A\n\t\tx\n\t y\n z\n\tA\n", [("A", "x\n y\n z\n")]),
        ("COPY <<A <<B /\n1\nA\n2\nB\n", [("A", "1\n"), ("B", "2\n")]),
        ("COPY <<A <<B /\nB\nA\nA\nB\n", [("A", "B\n"), ("B", "A\n")]),
        ("ADD <<A /x\nq\nA\n", [("A", "q\n")]),
        ("ONBUILD RUN <<A\nq\nA\n", [("A", "q\n")]),
        ("run --mount=type=tmpfs,target=/t <<A sh\nq\nA\n", [("A", "q\n")]),
        ("RUN a \\\n <<A\nq\nA\n", [("A", "q\n")]),
        ("RUN <<A\r\nq\r\nA\r\n", [("A", "q\r\n")]),
        ('RUN ["<<A"]\n', []),
        ("RUN '<<A'\n", []),
        ("RUN echo it's <<A\n", []),
        ("USER <<A\n", []),
        ("ENV a=<<A\n", []),
        ("ONBUILD ENV a=<<A\n", []),
        ("RUN echo $((1<<2))\n", []),
    ],
)
def test_heredoc_bodies_are_taken_as_they_are(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(doc.name, doc.content) for doc in lines(text)[0].heredocs] == expected
