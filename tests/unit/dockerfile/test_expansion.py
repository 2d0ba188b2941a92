"""Tables of single forms, and an independent model: random words are built as trees whose value
the model knows, then written as text and expanded."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asynckaniko.dockerfile.expansion import (
    LONGEST_VALUE,
    expand,
    expand_heredoc,
    expand_words,
    trace,
)
from asynckaniko.errors import DockerfileError

VARIABLES = {"v": "value", "empty": "", "two": "a  b", "path": "/a/b.tar.gz", "KO": "\ud55c\uad6d"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("plain text", "plain text"),
        ("$v", "value"),
        ("${v}s", "values"),
        ("a$v.b", "avalue.b"),
        ("$unset", ""),
        ("$empty", ""),
        ("$KO", "\ud55c\uad6d"),
        ("$v$v", "valuevalue"),
        ("$1x $12x $@x $* $# $? $- $$ $! $0", "x x x       "),
        ("$. $/ $", "$. $/ $"),
        ("\\$v \\${v} \\\\$v", "$v ${v} \\value"),
        ("\\a\\ b", "a b"),
        ("x\\", "x"),
        ("'$v \\a'", "$v \\a"),
        ('"$v \\a \\" \\$v \\\\"', 'value \\a " $v \\'),
        ('"it\'s" \'say "x"\'', 'it\'s say "x"'),
        ("a''b\"\"", "ab"),
        ("${v:-x} ${empty:-x} ${unset:-x}", "value x x"),
        ("${v-x} ${empty-x} ${unset-x}", "value  x"),
        ("${v:+x} ${empty:+x} ${unset:+x}", "x  "),
        ("${v+x} ${empty+x} ${unset+x}", "x x "),
        ("${v:?x} ${v?x} ${empty?x}", "value value "),
        ("${unset:-${empty:-$v}}", "value"),
        ("${unset:-a'}'b}", "a}b"),
        ("${unset:-a\\}b}", "a}b"),
        ("${unset:-}", ""),
        ("${v#va} ${v##*l} ${v%e} ${v%%l*}", "lue ue valu va"),
        ("${v#x} ${v%x} ${v#} ${v%} ${unset#x}", "value value value value "),
        ("${path##*/} ${path#*/} ${path%.*} ${path%%.*}", "b.tar.gz a/b.tar.gz /a/b.tar /a/b"),
        ("${v#?} ${v%??} ${v#\\v}", None),
        ("${v#?} ${v%??}", "alue val"),
        ("${two/ /_} ${two// /_}", "a_ b a__b"),
        ("${path/\\//:} ${path//\\//:}", ":a/b.tar.gz :a:b.tar.gz"),
        ("${v/l*/X} ${v//[al]/X} ${v/#/X}", "vaX value value"),
        ("${v//?/.} ${v///} ${v//x/y}", "..... value value"),
        ("${v//} ", None),
        ("${empty/*/x}", "x"),
        ("${v/$empty/x} ${v//*/x}", "xvalue x"),
        ("${v/lu/$v}", "vavaluee"),
    ],
)
def test_word_expands(word: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(DockerfileError):
            expand(word, VARIABLES.get)
    else:
        assert expand(word, VARIABLES.get) == expected


@pytest.mark.parametrize(
    ("word", "fragment"),
    [
        ("'a", "single quote"),
        ('"a', "double quote"),
        ('"a\\"', "double quote"),
        ("${", "missing '}'"),
        ("${v", "missing '}'"),
        ("${v:-x", "missing '}'"),
        ("${v/x", "missing '/'"),
        ("${v/x/y", "missing '}'"),
        ("${}", "bad substitution"),
        ("${{v}}", "bad substitution"),
        ("${:-x}", "bad substitution"),
        ("${.}", "unsupported modifier"),
        ("${v=x}", "unsupported modifier"),
        ("${v:=x}", "unsupported modifier"),
        ("${v:x}", "unsupported modifier"),
        ("${v:}", "unsupported modifier"),
        ("${v^^}", "unsupported modifier"),
        ("${v:#x}", "unsupported modifier"),
        ("${v:%x}", "unsupported modifier"),
        ("${v#\\x}", "invalid escape"),
        ("${unset?}", "unset: is not allowed to be unset"),
        ("${unset:?}", "unset: is not allowed to be unset"),
        ("${empty:?}", "empty: is not allowed to be empty"),
        ("${unset?'give it'}", "unset: give it"),
        ("${v:-${unset?no}}", "unset: no"),
        ("${a:-" * 60 + "}" * 60, "deep"),
    ],
)
def test_what_cannot_be_expanded_is_an_error(word: str, fragment: str) -> None:
    with pytest.raises(DockerfileError, match=re.escape(fragment)):
        expand(word, VARIABLES.get)


def test_backtick_escapes_where_the_file_says_so() -> None:
    assert expand('c:\\$v `$v "`" \\"', VARIABLES.get, escape="`") == 'c:\\value $v " \\'


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("a  b", ["a", "b"]),
        ("$two", ["a", "b"]),
        ('"$two"', ["a  b"]),
        ("x${two}y", ["xa", "by"]),
        ("a\\ b 'c d'e", ["a b", "c de"]),
        ("${unset:-1 2}", ["1", "2"]),
        ("'' $empty", []),
        ("", []),
    ],
)
def test_words_split_at_blanks_that_are_not_quoted(word: str, expected: list[str]) -> None:
    assert expand_words(word, VARIABLES.get) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("'$v' \"$v\"\n", "'value' \"value\"\n"),
        ("\\$v \\\\ \\a\n", "$v \\ a\n"),
        ("a \\\nb\n", "a \nb\n"),
        ("it's ${unset:-'x'}\n", "it's 'x'\n"),
        ("<<x\n", "<<x\n"),
    ],
)
def test_heredoc_expands_with_its_quotes_left(content: str, expected: str) -> None:
    assert expand_heredoc(content, VARIABLES.get) == expected


def test_lookups_are_reported_even_where_they_do_not_matter() -> None:
    found = trace("$v ${a:-$two} '$b' \\$c ${v+$d}", VARIABLES.get)

    assert found.text == "value a  b $b $c "
    assert sorted(found.found) == ["two", "v"]
    assert sorted(found.unset) == ["a", "d"]


@pytest.mark.parametrize(
    "word", ["$big$big", "${big//a/aaa}", "${big/?/$big$big}", "${big//*/$big}b$big"]
)
def test_value_cannot_grow_without_end(word: str) -> None:
    with pytest.raises(DockerfileError, match="longer than"):
        expand(word, {"big": "a" * (LONGEST_VALUE - 1)}.get)


def test_pattern_that_would_take_minutes_is_an_error() -> None:
    word = "${big##" + "*a" * 60000 + "}"

    with pytest.raises(DockerfileError, match="too much"):
        expand(word, {"big": "a" * LONGEST_VALUE}.get)


# The model.


@dataclass(frozen=True)
class Text:
    value: str


@dataclass(frozen=True)
class Single:
    value: str


@dataclass(frozen=True)
class Double:
    parts: tuple["Node", ...]


@dataclass(frozen=True)
class Plain:
    name: str


@dataclass(frozen=True)
class Conditional:
    name: str
    operator: str
    word: tuple["Node", ...]


@dataclass(frozen=True)
class Trim:
    name: str
    operator: str
    pattern: str


@dataclass(frozen=True)
class Replace:
    name: str
    every: bool
    pattern: str
    replacement: str


Node: TypeAlias = Text | Single | Double | Plain | Conditional | Trim | Replace


def written(nodes: tuple[Node, ...], escape: str, *, quoted: bool = False) -> str:
    def one(node: Node) -> str:
        match node:
            case Text(value):
                special = f'"${escape}' if quoted else f"$'\"}}<{escape}"
                return "".join(escape + c if c in special else c for c in value)
            case Single(value):
                return f"'{value}'"
            case Double(parts):
                return f'"{written(parts, escape, quoted=True)}"'
            case Plain(name):
                return f"${{{name}}}"
            case Conditional(name, operator, word):
                return f"${{{name}{operator}{written(word, escape)}}}"
            case Trim(name, operator, pattern):
                return f"${{{name}{operator}{pattern}}}"
            case Replace(name, every, pattern, replacement):
                return f"${{{name}/{'/' if every else ''}{pattern}/{replacement}}}"

    return "".join(map(one, nodes))


def expression(pattern: str, *, lazy: bool) -> str:
    star = ".*?" if lazy else ".*"
    return "".join({"*": star, "?": "."}.get(c) or re.escape(c) for c in pattern)


def trimmed(value: str, operator: str, pattern: str) -> str:
    cuts = range(len(value) + 1)
    matches = re.compile(expression(pattern, lazy=False)).fullmatch
    if operator[0] == "#":
        found = [value[cut:] for cut in cuts if matches(value[:cut])]
    else:
        found = [value[:cut] for cut in reversed(cuts) if matches(value[cut:])]
    return (found[-1] if len(operator) == 2 else found[0]) if found else value


def replaced(value: str, node: Replace) -> str:
    done, position = "", 0
    matcher = re.compile(expression(node.pattern, lazy=False))
    while position <= len(value):
        match = matcher.search(value, position)
        if match is None:
            break
        done += value[position : match.start()]
        after_another = match.start() == match.end() == position and position > 0
        done += "" if after_another else node.replacement
        position = match.end()
        if match.start() == match.end():
            done += value[position : position + 1]
            position += 1
        if not node.every:
            break
    return done + value[position:]


def model(nodes: tuple[Node, ...], variables: Mapping[str, str]) -> str:
    def one(node: Node) -> str:
        match node:
            case Text(value) | Single(value):
                return value
            case Double(parts):
                return model(parts, variables)
            case Plain(name):
                return variables.get(name, "")
            case Conditional(name, operator, word):
                other = model(word, variables)
                known = variables.get(name)
                is_there = bool(known) if operator[0] == ":" else known is not None
                if operator[-1] == "+":
                    return other if is_there else ""
                if not is_there and operator[-1] == "?":
                    raise LookupError(name)
                return (known or "") if is_there else other
            case Trim(name, operator, pattern):
                return trimmed(variables.get(name, ""), operator, pattern)
            case Replace(name):
                return replaced(variables.get(name, ""), node)

    return "".join(map(one, nodes))


def fits_in_quotes(node: Node) -> bool:
    return not isinstance(node, Single | Double)


names = st.sampled_from(["a", "B_1", "unset", "empty", "\u00e9"])
letters = st.text("ab/ .\\$\"'}`<{-:", max_size=6)
simple = st.text("ab.", max_size=5)
operators = st.sampled_from(["-", ":-", "+", ":+", "?", ":?"])
leaves: st.SearchStrategy[Node] = st.one_of(
    letters.map(Text),
    letters.map(lambda text: Single(text.replace("'", ""))),
    names.map(Plain),
    st.builds(Trim, names, st.sampled_from(["#", "##", "%", "%%"]), st.text("ab*?.", max_size=5)),
    st.builds(Replace, names, st.booleans(), st.text("ab*?", min_size=1, max_size=4), simple),
)
nodes: st.SearchStrategy[Node] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Conditional, names, operators, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Double, st.lists(inner.filter(fits_in_quotes), max_size=3).map(tuple)),
    ),
    max_leaves=8,
)
variables = st.fixed_dictionaries(
    {"a": st.text("ab./", max_size=8), "B_1": simple, "empty": st.just(""), "\u00e9": simple}
)


@settings(max_examples=300)
@given(st.lists(nodes, max_size=4).map(tuple), variables, st.sampled_from("\\`"))
def test_expansion_agrees_with_the_model(
    tree: tuple[Node, ...], values: dict[str, str], escape: str
) -> None:
    word = written(tree, escape)
    try:
        expected = model(tree, values)
    except LookupError:
        with pytest.raises(DockerfileError):
            expand(word, values.get, escape=escape)
        return

    assert expand(word, values.get, escape=escape) == expected


# Whole beginnings of variables: single characters hardly ever come together as one.
PIECES = ["${a", "${", "$a", "$", *"a{}:-+?#%/*\\'\"`< \u00e9"]


@settings(max_examples=200)
@given(st.lists(st.sampled_from(PIECES), max_size=15).map("".join), st.sampled_from("\\`"))
def test_any_text_expands_or_is_a_dockerfile_error(word: str, escape: str) -> None:
    try:
        whole = expand(word, VARIABLES.get, escape=escape)
    except DockerfileError:
        with pytest.raises(DockerfileError):
            expand_words(word, VARIABLES.get, escape=escape)
        return

    words = expand_words(word, VARIABLES.get, escape=escape)

    assert re.sub(r"\s", "", "".join(words)) == re.sub(r"\s", "", whole)
