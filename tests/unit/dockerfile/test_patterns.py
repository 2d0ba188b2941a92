"""Tables, and a naive matcher that follows the rules word by word without any speed."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asynckaniko.dockerfile.patterns import (
    PatternMatcher,
    has_wildcard,
    match_path,
    parse_ignore_file,
)
from asynckaniko.errors import DockerfileError


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a\n/b\nc/d/\n", ["a", "b", "c/d"]),
        (b"\n  \n# c\n #d\n", ["#d"]),
        (b"  a  \r\n\tb\r\n", ["a", "b"]),
        (b"a//b/../c\n./d\n", ["a/c", "d"]),
        (b"!a\n! /b\n!\n", ["!a", "!b", "!"]),
        (b"\xef\xbb\xbf# c\na\n", ["a"]),
        (b"/\n//\n.\n", ["/", "/", "."]),
        (b"", []),
        (b"a\xff\n", ["a\udcff"]),
    ],
)
def test_ignore_file_is_a_list_of_clean_patterns(content: bytes, expected: list[str]) -> None:
    assert parse_ignore_file(content) == expected


def test_ignore_file_with_an_endless_line_is_an_error() -> None:
    with pytest.raises(DockerfileError, match="line 2"):
        parse_ignore_file(b"a\n" + b"b" * 70000)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("a", ["a", "a/", "a/b", "a/b/c"], ["ab", "b/a", "."]),
        ("a/b", ["a/b", "a/b/c"], ["a", "b", "x/a/b"]),
        ("*", ["a", "a/b", ".x"], []),
        ("*.o", ["x.o", ".o", "x.o/y"], ["a/x.o", "x.oo", "xo"]),
        ("a/*", ["a/b", "a/b/c"], ["a", "b/a"]),
        ("a?c", ["abc", "a\u2603c"], ["ac", "a/c", "abbc"]),
        ("**", ["a", "a/b"], ["."]),
        ("**/a", ["a", "x/a", "x/y/a/z"], ["xa", "a.b"]),
        ("**/a/b", ["a/b", "x/a/b"], ["a/x/b", "xa/b"]),
        ("**/*.o", ["x.o", "a/b/x.o"], ["x.c", "a/o"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "ab"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a", "ab", "b"]),
        ("a/**/*.o", ["a/x.o", "a/b/c/x.o"], ["x.o"]),
        ("**/**/a", ["a", "x/y/a"], ["xa"]),
        ("**a", ["a", "x/a", "xa"], ["ab"]),
        ("a**", ["a", "abc", "a/b"], ["ba"]),
        ("a**b*", ["ab", "abx", "a/b", "ax/y/b"], ["axb", "b"]),
        ("x*y*z", ["xyz", "x.y.y.z", "xyyzz"], ["xzy", "xy/z"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "x", "a-x"]),
        ("[^a-c]x", ["dx", "-x"], ["ax", "x"]),
        ("[a\\]]x", ["]x", "ax"], ["bx"]),
        ("\\*x", ["*x"], ["ax", "x"]),
        ("a\\b", ["ab"], ["a\\b"]),
        ("a.b+(c)|$", ["a.b+(c)|$"], ["axb+(c)|$"]),
        ("a/../b/.", ["b"], ["a"]),
        ("/a", [], ["a"]),
    ],
)
def test_pattern_matches_paths_and_what_is_below(
    pattern: str, matching: list[str], other: list[str]
) -> None:
    matcher = PatternMatcher([pattern])

    assert [path for path in matching + other if matcher.excludes(path)] == matching


@pytest.mark.parametrize(
    ("patterns", "excluded", "included"),
    [
        (["*", "!a"], ["b", "b/a"], ["a", "a/b"]),
        (["docs", "!docs/keep"], ["docs", "docs/x"], ["docs/keep", "docs/keep/y"]),
        (["**", "!a/b", "a/b/c"], ["a", "a/x", "a/b/c", "a/b/c/d"], ["a/b", "a/b/x"]),
        (["!a", "*"], ["a", "b"], []),
        (["*.md", "!README*.md", "README-secret.md"], ["x.md", "README-secret.md"], ["README.md"]),
        (["**/*.log", "!src"], ["a.log", "src/a.log"], ["src", "src/b"]),
        (["src", "!src"], [], ["src", "src/a"]),
        ([], [], ["a"]),
        (["", "  "], [], ["a"]),
    ],
)
def test_last_pattern_that_matches_decides(
    patterns: list[str], excluded: list[str], included: list[str]
) -> None:
    matcher = PatternMatcher(patterns)

    assert [path for path in excluded + included if matcher.excludes(path)] == excluded


@pytest.mark.parametrize(
    ("patterns", "directory", "expected"),
    [
        (["docs", "!docs/keep"], "docs", True),
        (["docs", "!docs/keep"], "docs/other", False),
        (["docs", "!docs/*/keep"], "docs/other", True),
        (["*", "!**/keep"], "a/b/c", True),
        (["*", "!src/**"], "src", True),
        (["*", "!src/**"], "srcx", False),
        (["*", "!src*"], "src", False),
        (["*"], "a", False),
    ],
)
def test_excluded_directory_is_walked_for_exceptions_below(
    patterns: list[str], directory: str, expected: bool
) -> None:
    assert PatternMatcher(patterns).may_include_below(directory) is expected


@pytest.mark.parametrize(
    "pattern",
    ["!", "[", "[^", "[]a]", "[-]", "[a-", "[x-]", "[-x]", "[a-b-c]", "[b-a]", "a[", "\\"],
)
def test_pattern_that_cannot_be_read_is_an_error(pattern: str) -> None:
    with pytest.raises(DockerfileError, match="pattern"):
        PatternMatcher([pattern])


def test_matcher_remembers_directories_within_reason() -> None:
    matcher = PatternMatcher(["d7/*", "!d7/keep"])

    found = [n for n in range(5000) if matcher.excludes(f"d{n}/a/b")]

    assert found == [7]
    assert not matcher.excludes("d7/keep/b")


def test_matcher_knows_whether_it_has_exceptions_and_excludes_all() -> None:
    assert PatternMatcher(["a", "!b"]).has_exceptions
    assert not PatternMatcher(["a"]).has_exceptions
    assert PatternMatcher(["a", "**/*"]).excludes_all
    assert not PatternMatcher(["!*", "a*"]).excludes_all


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("a*", ["a", "ab"], ["a/b", "ba"]),
        ("*/b?", ["a/bc"], ["a/b", "a/c/bx"]),
        ("**/c", ["a/c"], ["c", "a/b/c"]),
        ("[ab]/\\*", ["a/*"], ["a/x"]),
    ],
)
def test_glob_of_copy_matches_a_whole_path(
    pattern: str, matching: list[str], other: list[str]
) -> None:
    assert [path for path in matching + other if match_path(pattern, path)] == matching


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a*", True), ("?", True), ("[a]", True), ("a\\*", False), ("a]", False), ("\\\\*", True)],
)
def test_wildcards_count_where_they_are_not_escaped(text: str, expected: bool) -> None:
    assert has_wildcard(text) is expected


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("**/" * 50 + "x", "a/" * 500 + "y"),
        ("**/a" * 50 + "b", "a/" * 200),
        ("*a" * 100 + "b", "a" * 250),
        ("[ab]*" * 100 + "c", "ab" * 100),
        ("a**" * 40 + "b", "a/" * 100 + "c"),
    ],
)
def test_pattern_made_to_explode_does_not(pattern: str, path: str) -> None:
    # With backtracking this would not end before the end of the universe.
    assert not PatternMatcher([pattern]).excludes(path)
    assert not match_path(pattern, path)


def naive_match(pattern: str, path: str) -> bool:
    """Match by trying everything."""
    if not pattern:
        return not path
    if pattern == "**":
        return True
    if pattern.startswith("**"):
        rest = pattern[2:].removeprefix("/")
        ends = [i + 1 for i, character in enumerate(path) if character == "/"]
        return any(naive_match(rest, path[end:]) for end in [0, *ends])
    if pattern.startswith("*"):
        length = len(path.split("/", 1)[0])
        return any(naive_match(pattern[1:], path[end:]) for end in range(length + 1))
    head, rest = (pattern[:2], pattern[2:]) if pattern[0] == "\\" else (pattern[0], pattern[1:])
    if not path or (head == "?" and path[0] == "/"):
        return False
    return (head == "?" or head[-1] == path[0]) and naive_match(rest, path[1:])


def naive_one(pattern: str, path: str) -> bool:
    rest = pattern.removeprefix("**")
    if rest != pattern and not set(rest) & set("*?\\"):
        return path.endswith(rest) or path == rest.removeprefix("/")
    return naive_match(pattern, path)


def naive_excludes(patterns: Sequence[str], path: str) -> bool:
    inherited = [False] * len(patterns)
    is_excluded = False
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        here = "/".join(parts[:depth])
        matched = []
        is_excluded = False
        for pattern, from_parent in zip(patterns, inherited, strict=True):
            matters = pattern.startswith("!") == is_excluded
            matches = from_parent or (matters and naive_one(pattern.removeprefix("!"), here))
            matched.append(matches)
            if matches:
                is_excluded = not pattern.startswith("!")
        inherited = matched
    return is_excluded


segments = st.lists(st.sampled_from(["a", "b", "*", "?", "**", "\\*", "."]), min_size=1, max_size=4)
one_pattern = st.lists(segments.map("".join), min_size=1, max_size=3).map("/".join)
clean = one_pattern.filter(lambda pattern: not {".", "..", ""} & set(pattern.split("/")))
signed = st.builds(str.__add__, st.sampled_from(["", "", "!"]), clean)
names = st.text("ab*.", min_size=1, max_size=4).filter(lambda name: name.strip("."))
paths = st.lists(names, min_size=1, max_size=4).map("/".join)


@settings(max_examples=400)
@given(st.lists(signed, max_size=4), st.lists(paths, min_size=1, max_size=4))
def test_matcher_agrees_with_the_naive_one(patterns: list[str], some: list[str]) -> None:
    matcher = PatternMatcher(patterns)

    for path in some:
        assert matcher.excludes(path) == naive_excludes(patterns, path)


@settings(max_examples=200)
@given(st.lists(signed, min_size=1, max_size=4), paths, paths)
def test_directory_that_need_not_be_walked_holds_nothing_included(
    patterns: list[str], directory: str, name: str
) -> None:
    matcher = PatternMatcher(patterns)

    if matcher.excludes(directory) and not matcher.may_include_below(directory):
        assert matcher.excludes(f"{directory}/{name}")


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_ignore_file_can_be_used_or_is_a_dockerfile_error(content: bytes) -> None:
    try:
        matcher = PatternMatcher(parse_ignore_file(content))
    except DockerfileError:
        return

    assert not matcher.excludes(".")
    assert matcher.excludes("a/b") or not matcher.excludes("a") or matcher.has_exceptions
