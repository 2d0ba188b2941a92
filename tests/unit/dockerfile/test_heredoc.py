import pytest

from asynckaniko.dockerfile.heredoc import is_only_heredoc, openings, read_opening, with_bodies
from asynckaniko.dockerfile.instructions import Heredoc
from asynckaniko.errors import DockerfileError


@pytest.mark.parametrize(
    ("word", "name", "expand", "chomp", "descriptor"),
    [
        ("<<END", "END", True, False, 0),
        ("<<-END", "END", True, True, 0),
        ("<< END", "END", True, False, 0),
        ("<<- END", "END", True, True, 0),
        ("<< -END", "-END", True, False, 0),
        ("3<<END", "END", True, False, 3),
        ("<<'END'", "END", False, False, 0),
        ('<<-"END"', "END", False, True, 0),
        ("<<E'N'D", "END", False, False, 0),
        ("<<E\\'D", "E'D", True, False, 0),
        ("<<'a b'", "a b", False, False, 0),
        ("<<$END", "$END", True, False, 0),
        ("<<file.txt", "file.txt", True, False, 0),
    ],
)
def test_opening_word_gives_name_and_manner(
    word: str, name: str, expand: bool, chomp: bool, descriptor: int
) -> None:
    opening = read_opening(word)

    assert opening is not None
    found = (opening.name, opening.expand, opening.chomp, opening.file_descriptor)
    assert found == (name, expand, chomp, descriptor)


@pytest.mark.parametrize("word", ["", "END", "<END", "<<", "<<-", "<<<END", "<<END sh", "x<<END"])
def test_other_words_open_nothing(word: str) -> None:
    assert read_opening(word) is None


@pytest.mark.parametrize("word", ["<<'END", '<<"END', "<<END'"])
def test_quote_without_its_end_is_an_error(word: str) -> None:
    with pytest.raises(DockerfileError, match="quote"):
        read_opening(word)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("RUN <<A <<B", ["A", "B"]),
        ("RUN <<A | cat > x; cat <<-'B' 2<<C", ["A", "B", "C"]),
        ("RUN <<- A", ["A"]),
        ("RUN '<<A' \"<<B\"", []),
        ("RUN cat <<A > ${x:-y}", ["A"]),
        ("RUN cat <<A > ${x#p}${y/a/b}${z//a/b}$v${w}", ["A"]),
        ("RUN cat <<A > ${x^^}", []),
        ("COPY --chmod=755 <<A /x", ["A"]),
        ("copy <<A /x", ["A"]),
        ("LABEL a=<<A", []),
        ("ONBUILD COPY <<A /x", ["A"]),
        ("ONBUILD", []),
    ],
)
def test_line_opens_heredocs_where_a_shell_would(line: str, names: list[str]) -> None:
    assert [opening.name for opening in openings(line, "\\")] == names


def test_shell_gets_the_line_with_bodies_as_written() -> None:
    heredocs = (
        Heredoc(name="A", content="x\n", expand=True, chomp=True, raw="\tx\n"),
        Heredoc(name="B", content="", expand=False, raw=""),
    )

    assert with_bodies("cat <<-A <<'B'", heredocs) == "cat <<-A <<'B'\n\tx\nA\nB"


@pytest.mark.parametrize(
    ("command", "expected"), [("<<A", True), ("3<<'A'", True), ("cat <<A", False), ("<<A'", False)]
)
def test_command_that_is_nothing_but_a_heredoc_is_a_script(command: str, expected: bool) -> None:
    assert is_only_heredoc(command) is expected
