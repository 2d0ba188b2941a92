import hashlib

from hypothesis import given
from hypothesis import strategies as st

from asynckaniko.cache.key import Ingredients
from asynckaniko.cache.last_build import explain

NAMES = st.text("abc", min_size=1, max_size=3)
TEXTS = st.text(max_size=6)
VALUES = st.dictionaries(NAMES, TEXTS | st.lists(TEXTS, max_size=3).map(tuple), max_size=4)


def without_empty(values: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value}


@given(VALUES, VALUES)
def test_two_different_lists_of_ingredients_have_two_keys(
    one: dict[str, str | tuple[str, ...]], other: dict[str, str | tuple[str, ...]]
) -> None:
    same = without_empty(dict(one)) == without_empty(dict(other))

    assert (Ingredients.of(**one).key() == Ingredients.of(**other).key()) == same


def test_borders_between_ingredients_count() -> None:
    keys = {
        Ingredients.of(a=["x", "yz"]).key(),
        Ingredients.of(a=["xy", "z"]).key(),
        Ingredients.of(a="xyz").key(),
        Ingredients.of(a=["xyz"]).key(),
        Ingredients.of(a="x", b="yz").key(),
        Ingredients.of(a="", b="xyz").key(),
    }

    assert len(keys) == 6


def test_order_of_naming_does_not_count_and_that_of_a_list_does() -> None:
    assert Ingredients.of(a="1", b="2").key() == Ingredients.of(b="2", a="1").key()
    assert Ingredients.of(a=["1", "2"]).key() != Ingredients.of(a=["2", "1"]).key()


def test_key_is_a_tag_and_a_file_name() -> None:
    key = Ingredients.of(a="\udcff/..").key()

    assert len(key) == 64
    assert set(key) <= set("0123456789abcdef")


def test_miss_is_explained_by_the_names_that_differ() -> None:
    before = Ingredients.of(parent="p", environment=["A=1"], user="bob").fingerprints()
    after = Ingredients.of(parent="q", environment=["A=2"], network="none").fingerprints()

    assert explain(before, after) == ["environment", "network", "user"]
    assert explain(before, {**before, "parent": "other"}) == ["parent"]
    assert explain(None, after) == explain(before, before) == []


def test_fingerprints_do_not_show_what_they_are_of() -> None:
    assert "hunter2" not in str(Ingredients.of(environment=["PASSWORD=hunter2"]).fingerprints())


def test_key_is_the_digest_of_these_very_bytes() -> None:
    """Spelled out by hand: if this fails, all caches of the world miss. Then VERSION goes up."""
    ingredients = Ingredients.of(
        parent="p" * 64,
        kind="RUN",
        command=["/bin/sh", "-c", "echo é"],
        environment=["A=1", "B="],
        workdir="/",
        user="",
        network="",
    )

    content = (
        b"1:1"
        b"7:command" b"l3:" b"7:/bin/sh" b"2:-c" b"7:echo \xc3\xa9"
        b"11:environment" b"l2:" b"3:A=1" b"2:B="
        b"4:kind" b"t" b"3:RUN"
        b"6:parent" b"t" b"64:" + b"p" * 64 +
        b"7:workdir" b"t" b"1:/"
    )  # fmt: skip
    assert ingredients.key() == hashlib.sha256(content).hexdigest()
    assert ingredients.key() == "b8b424f2cca9b2f458e21992bfeb2eeb22aa3cda9927dec1638d7cd083e45916"


def test_key_of_copied_files_is_the_digest_of_these_very_bytes() -> None:
    ingredients = Ingredients.of(
        parent="0" * 64,
        kind="COPY",
        content="sha256:" + "c" * 64,
        items=["File a", "Directory d"],
        destination="/x/",
    )

    content = (
        b"1:1"
        b"7:content" b"t" b"71:sha256:" + b"c" * 64 +
        b"11:destination" b"t" b"3:/x/"
        b"5:items" b"l2:" b"6:File a" b"11:Directory d"
        b"4:kind" b"t" b"4:COPY"
        b"6:parent" b"t" b"64:" + b"0" * 64
    )  # fmt: skip
    assert ingredients.key() == hashlib.sha256(content).hexdigest()
