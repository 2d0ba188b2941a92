import pytest

from asynckaniko.dockerfile.statements import (
    Statement,
    blank_separated,
    json_array,
    pairs,
    quoted_words,
    split_statement,
)
from asynckaniko.errors import DockerfileError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN a b", ("RUN", (), "a b")),
        ("run", ("run", (), "")),
        ("RUN\t a  b ", ("RUN", (), "a  b")),
        ("COPY --from=x --link a b", ("COPY", ("--from=x", "--link"), "a b")),
        ("COPY a --link b", ("COPY", (), "a --link b")),
        ("COPY -- --odd b", ("COPY", (), "--odd b")),
        ("COPY --link -- --odd b", ("COPY", ("--link",), "--odd b")),
        ("COPY --link --", ("COPY", ("--link",), "")),
        ("RUN --x='a b' y", ("RUN", ("--x=a b",), "y")),
        ('RUN --x="a \\" b" y', ("RUN", ('--x=a " b',), "y")),
        ("RUN --x=a\\ b y", ("RUN", ("--x=a b",), "y")),
        ("RUN --x='a\\'b' y", ("RUN", ("--x=a'b",), "y")),
        ('RUN --x="it\'s" y', ("RUN", ("--x=it's",), "y")),
        ('RUN --x="a b', ("RUN", ("--x=a b",), "")),
        ("RUN --x=a\\", ("RUN", ("--x=a",), "")),
        ("RUN --x=\u00e9 y", ("RUN", ("--x=\u00e9",), "y")),
        ("RUN -x y", ("RUN", (), "-x y")),
    ],
)
def test_statement_splits_into_keyword_flags_and_arguments(
    text: str, expected: tuple[str, tuple[str, ...], str]
) -> None:
    assert split_statement(text, "\\") == Statement(*expected)


def test_flag_uses_the_escape_of_the_file() -> None:
    assert split_statement("COPY --x=c:\\d`  a b", "`").flags == ("--x=c:\\d ",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", []),
        ('["a"]', ["a"]),
        ('[ "a" ,\t"b" ]', ["a", "b"]),
        ('["a\\"\\\\\\u00e9\\n"]', ['a"\\\u00e9\n']),
        ('["\u2603"]', ["\u2603"]),
        ("['a']", None),
        ('["a" "b"]', None),
        ('["a"', None),
        ('["a"] b', None),
        ('["a",]', None),
        ('x ["a"]', None),
        ("[" * 5000, None),
        ("", None),
    ],
)
def test_json_form_is_a_whole_array_else_it_is_shell_form(
    text: str, expected: list[str] | None
) -> None:
    assert json_array(text) == expected


@pytest.mark.parametrize("element", ["1", "1.5", "true", "null", "{}", '["b"]'])
def test_json_array_of_other_things_is_an_error(element: str) -> None:
    with pytest.raises(DockerfileError, match="strings only"):
        json_array(f'["a", {element}]')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b", ["a", "b"]),
        (" a\t b ", ["a", "b"]),
        ("'a b' c", ["'a b'", "c"]),
        ('"a b"c', ['"a b"c']),
        ("a\\ b c", ["a\\ b", "c"]),
        ('"a\\" b" c', ['"a\\" b"', "c"]),
        ("'a\\' b", ["'a\\'", "b"]),
        ("a 'b c", ["a", "'b c"]),
        ("a b\\", ["a", "b"]),
        ("a \\", ["a"]),
        ("a '' b", ["a", "''", "b"]),
        ("", []),
    ],
)
def test_words_hold_together_by_quotes_and_escapes(text: str, expected: list[str]) -> None:
    assert quoted_words(text, "\\") == expected


def test_blanks_separate_whatever_the_quotes() -> None:
    assert blank_separated('"a b"\tc\\ d') == ['"a', 'b"', "c\\", "d"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1", [("a", "1", False)]),
        ("a=1 b='x y' c=", [("a", "1", False), ("b", "'x y'", False), ("c", "", False)]),
        ("a=b=c", [("a", "b=c", False)]),
        ('"a b"=c', [('"a b"', "c", False)]),
        ("a 1", [("a", "1", True)]),
        ("a  x   y=z ", [("a", "x   y=z ", True)]),
        ("a 'x", [("a", "'x", True)]),
        ("", []),
    ],
)
def test_pairs_are_new_or_legacy_by_their_first_word(
    text: str, expected: list[tuple[str, str, bool]]
) -> None:
    assert pairs("ENV", text, "\\") == expected


@pytest.mark.parametrize(
    ("text", "fragment"), [("a", "ENV must have two arguments"), ("a=1 b", "must be of the form")]
)
def test_pair_without_a_value_is_an_error(text: str, fragment: str) -> None:
    with pytest.raises(DockerfileError, match=f"(?i){fragment}"):
        pairs("ENV", text, "\\")
