"""Records behave as the standard dataclasses do, except that a class costs little to define."""

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, astuple, field, fields, replace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynckaniko.records import dataclass

VALUES = st.one_of(st.integers(0, 2), st.sampled_from(["", "a"]))


@dataclass(frozen=True, slots=True)
class Point:
    x: Any
    y: Any = 0
    label: str = field(default="", compare=False)
    secret: str = field(default="", repr=False)
    seen: list[Any] = field(default_factory=list, hash=False)
    kind: ClassVar[str] = "point"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    name: str
    size: int = 1


@dataclass(frozen=True, slots=True)
class Place(Point):
    name: str = field(default="here", kw_only=True)
    code: int = 7


@dataclass(slots=True)
class Counter:
    start: int
    steps: list[int] = field(default_factory=list)
    total: int = field(init=False)
    fixed: int = field(default=5, init=False)
    made: dict[str, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.total = self.start + sum(self.steps)


@dataclass(slots=True, eq=False)
class Identity:
    value: int = 0


@dataclass
class Open:
    value: int = 0


@dataclass(frozen=True, slots=True)
class Own:
    value: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own)

    def __hash__(self) -> int:
        return 12

    def __repr__(self) -> str:
        return "mine"


@dataclass(frozen=True, slots=True)
class Tree:
    children: list[Any] = field(default_factory=list)


def standard(cls: type, **parameters: Any) -> Any:
    """The same class as the standard library makes it, to compare with."""
    namespace: dict[str, Any] = {"__annotations__": dict(cls.__annotations__)}
    for each in fields(cls):
        if each.name not in cls.__annotations__:
            continue
        namespace[each.name] = field(
            default=each.default,
            default_factory=each.default_factory,
            init=each.init,
            repr=each.repr,
            hash=each.hash,
            compare=each.compare,
            kw_only=each.kw_only,
        )
    if hasattr(cls, "__post_init__"):
        namespace["__post_init__"] = cls.__post_init__
    made = type(cls.__name__, (), namespace)
    made.__qualname__ = cls.__qualname__
    return dataclasses.dataclass(made, **parameters)


FROZEN = {"frozen": True, "slots": True}
POINT = standard(Point, **FROZEN)
NAMED = standard(Named, **FROZEN, kw_only=True)
COUNTER = standard(Counter, slots=True)
PAIRS = [(Point, POINT), (Named, NAMED), (Counter, COUNTER)]


@given(VALUES, VALUES, VALUES, VALUES, st.booleans())
def test_equality_and_hash_are_the_standard_ones(
    a: Any, b: Any, c: Any, d: Any, labelled: bool
) -> None:
    label = "other" if labelled else ""
    ours, our_other = Point(a, b), Point(c, d, label)
    theirs, their_other = POINT(a, b), POINT(c, d, label)

    assert (ours == our_other) == (theirs == their_other)
    assert (ours != our_other) == (theirs != their_other)
    assert hash(ours) == hash(theirs)
    assert repr(ours) == repr(theirs)
    assert asdict(ours) == asdict(theirs)


CALLS = [
    ((), {}),
    ((1,), {}),
    ((1, 2), {}),
    ((1,), {"y": 3}),
    ((1, 2, "l", "s", [9]), {}),
    ((1, 2, "l", "s", [9], 4), {}),
    ((1,), {"x": 1}),
    ((1,), {"unknown": 1}),
    (("n",), {}),
    ((), {"name": "n"}),
    ((), {"name": "n", "size": 3}),
    ((), {"size": 3}),
    ((1, [2, 3]), {}),
    ((1,), {"steps": [4]}),
    ((1,), {"total": 4}),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=["point", "named", "counter"])
@pytest.mark.parametrize(("places", "names"), CALLS)
def test_arguments_are_taken_and_refused_as_by_the_standard(
    ours: Any, theirs: Any, places: tuple[Any, ...], names: dict[str, Any]
) -> None:
    assert outcome(lambda: ours(*places, **names)) == outcome(lambda: theirs(*places, **names))


def outcome(make: Callable[[], Any]) -> Any:
    try:
        made = make()
    except TypeError as error:
        return str(error)
    return repr(made), astuple(made)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=["point", "named", "counter"])
def test_what_is_known_of_the_class_is_the_same(ours: Any, theirs: Any) -> None:
    assert [each.name for each in fields(ours)] == [each.name for each in fields(theirs)]
    assert ours.__match_args__ == theirs.__match_args__
    assert ours.__slots__ == theirs.__slots__
    assert (ours.__hash__ is None) == (theirs.__hash__ is None)


def test_a_class_has_no_written_method_before_its_first_use() -> None:
    @dataclass(frozen=True, slots=True)
    class Fresh:
        value: int

    stand_ins = {name: vars(Fresh)[name] for name in ("__init__", "__eq__", "__hash__")}
    assert list(inspect.signature(Fresh.__init__).parameters) == ["self", "args", "kwargs"]

    assert hash(Fresh(1)) == hash((1,))
    assert Fresh(1) == Fresh(1)

    assert all(vars(Fresh)[name] is not method for name, method in stand_ins.items())
    assert list(inspect.signature(Fresh.__init__).parameters) == ["self", "value"]


def test_a_subclass_takes_the_fields_of_its_base_first() -> None:
    place = Place(1, 2, name="there", code=8)

    assert [each.name for each in fields(Place)][:2] == ["x", "y"]
    assert (place.x, place.y, place.name, place.code) == (1, 2, "there", 8)
    assert place != Point(1, 2)
    assert Point(1, 2) != place


def test_a_plain_subclass_uses_the_methods_of_its_base() -> None:
    class Special(Named):
        pass

    @dataclass(frozen=True, slots=True)
    class Base:
        value: int

    class First(Base):
        """Made before any instance of its base."""

    assert repr(Special(name="n")).endswith("Special(name='n', size=1)")
    assert First(3).value == 3
    assert Base(4).value == 4
    assert First(3) == First(3)
    assert First(3) != Base(3)


def test_each_instance_has_defaults_of_its_own() -> None:
    first, second = Counter(1), Counter(1)
    first.steps.append(2)
    first.made["a"] = 1

    assert (second.steps, second.made, second.fixed) == ([], {}, 5)


def test_a_frozen_record_refuses_changes() -> None:
    point = Point(1)

    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'x'"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'y'"):
        del point.y
    with pytest.raises(AttributeError):
        point.unknown = 1  # type: ignore[attr-defined]
    assert (point.x, point.y) == (1, 0)


def test_a_record_that_is_not_frozen_changes_and_has_no_hash() -> None:
    counter = Counter(1)
    counter.start = 2

    assert counter.start == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(counter)
    assert Counter(1, [2]) == Counter(1, [2])
    assert Counter(1, [2]) != Counter(1, [3])


def test_without_eq_each_instance_is_itself() -> None:
    first = Identity()

    assert first != Identity()
    assert {first} == {first}


def test_without_slots_other_attributes_can_be_set() -> None:
    thing = Open()
    vars(thing)["more"] = 1

    assert thing == Open()


def test_what_a_class_defines_itself_stays() -> None:
    assert Own(1) == Own(2)
    assert hash(Own(1)) == 12
    assert repr(Own(1)) == "mine"


def test_a_secret_is_not_shown() -> None:
    assert "hunter2" not in repr(Point(1, secret="hunter2"))
    assert "hunter2" not in str([Point(1, secret="hunter2")])


def test_a_record_that_holds_itself_can_be_shown() -> None:
    tree = Tree()
    tree.children.append(tree)

    assert repr(tree) == "Tree(children=[...])"


@pytest.mark.parametrize("record", [Point(1, [2], "l", "s"), Named(name="n"), Place(1, code=2)])
def test_copies_are_equal(record: Any) -> None:
    for made in (
        replace(record),
        copy.copy(record),
        copy.deepcopy(record),
        pickle.loads(pickle.dumps(record)),
    ):
        assert made is not record
        assert astuple(made) == astuple(record)
        with pytest.raises(FrozenInstanceError):
            made.extra = 1


def test_a_changed_copy_differs_in_what_was_named() -> None:
    assert replace(Point(1, 2, seen=[3]), y=5) == Point(1, 5, seen=[3])


def test_patterns_see_the_fields_in_order() -> None:
    match Point(1, 2):
        case Point(x, y, label):
            assert (x, y, label) == (1, 2, "")
        case _:
            pytest.fail("a Point is no Point")


def test_other_records_with_equal_values_are_not_equal() -> None:
    others: list[object] = [Identity(0), (0,), 0]

    assert all(Open(0) != other for other in others)
