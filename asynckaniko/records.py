"""A `dataclass` that writes a class's methods when they are first called, not when it is defined.

The standard decorator compiles the text of each method of each class while the module that holds
it is imported. A build defines two hundred classes and makes instances of a few dozen. Here a
class starts with stand-ins: the first call of `__init__`, `__eq__` or `__hash__` compiles the
method, puts it in the place of its stand-in and runs it. Everything else is as with `dataclasses`:
`fields`, `replace`, `asdict`, patterns, `copy` and `pickle` work. `field` and the rest come from
there.

Where a class needs more than this takes (`order`, `InitVar`), use `dataclasses.dataclass`.
"""

import dataclasses
from collections.abc import Callable
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, TypeAlias

__all__ = ["dataclass"]

_Class: TypeAlias = type[Any]
_Method: TypeAlias = Callable[..., Any]
_Names: TypeAlias = dict[str, Any]

_MISSING = dataclasses.MISSING


def _define(
    cls: _Class | None = None,
    /,
    *,
    frozen: bool = False,
    slots: bool = False,
    kw_only: bool = False,
    eq: bool = True,
) -> Any:
    """Make a class a dataclass. The parameters mean what they mean in `dataclasses`."""

    def decorate(cls: _Class) -> _Class:
        return _record(cls, frozen=frozen, slots=slots, kw_only=kw_only, eq=eq)

    return decorate if cls is None else decorate(cls)


if TYPE_CHECKING:
    # What a type checker knows of the standard decorator holds for this one.
    from dataclasses import dataclass
else:
    dataclass = _define


def _record(cls: _Class, *, frozen: bool, slots: bool, kw_only: bool, eq: bool) -> _Class:
    if not cls.__doc__:
        # The standard decorator would inspect the signature of the class to make one.
        cls.__doc__ = cls.__name__
    own = set(vars(cls))
    if "__eq__" in own and vars(cls).get("__hash__") is None:
        # The language put None there; nobody wrote it.
        own.discard("__hash__")
    # Without these three it defines no method, so it compiles none.
    made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)(
        cls
    )

    methods: dict[str, Any] = {"__repr__": _repr}
    methods["__init__"] = _postponed(made, "__init__", _Init(frozen))
    if eq:
        methods["__eq__"] = _postponed(made, "__eq__", _write_eq)
        methods["__hash__"] = _postponed(made, "__hash__", _write_hash) if frozen else None
    if frozen:
        methods["__setattr__"] = _refuse_to_set
        methods["__delattr__"] = _refuse_to_delete
        if slots:
            # Copies are otherwise made by setting one attribute after the other.
            methods["__getstate__"] = _state
            methods["__setstate__"] = _restore
    for name, method in methods.items():
        if name not in own:
            setattr(made, name, method)
    return made


@recursive_repr()
def _repr(self: Any) -> str:
    shown = [f"{each.name}={getattr(self, each.name)!r}" for each in _shown(self)]
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _shown(record: Any) -> list[dataclasses.Field[Any]]:
    return [each for each in dataclasses.fields(record) if each.repr]


def _refuse_to_set(self: Any, name: str, value: Any) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in dataclasses.fields(self)]


def _restore(self: Any, state: list[Any]) -> None:
    for each, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)


def _postponed(owner: _Class, name: str, write: Callable[[_Class], _Method]) -> _Method:
    def stand_in(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        method = write(owner)
        # Two threads may both get here; what they write is the same.
        setattr(owner, name, method)
        return method(self, *args, **kwargs)

    stand_in.__name__ = name
    stand_in.__qualname__ = f"{owner.__qualname__}.{name}"
    return stand_in


def _written(
    owner: _Class, name: str, parameters: list[str], body: list[str], known: _Names
) -> _Method:
    """Compile a method. `known` are the names, beside the parameters, that its text uses."""
    text = "\n ".join([f"def {name}({', '.join(parameters)}):", *(body or ["pass"])])
    found: _Names = {}
    # The text is made of names of fields, which are identifiers, and of nothing else.
    exec(text, {"__name__": owner.__module__, **known}, found)  # noqa: S102
    method: _Method = found[name]
    method.__qualname__ = f"{owner.__qualname__}.{name}"
    return method


class _Init:
    """Writes the `__init__` of a class."""

    def __init__(self, frozen: bool) -> None:
        self._assign = "_set(self, {0!r}, {1})" if frozen else "self.{0} = {1}"

    def __call__(self, owner: _Class) -> _Method:
        known: _Names = {"_set": object.__setattr__, "_missing": _MISSING}
        by_place, by_name, body = ["self"], list[str](), list[str]()
        for each in dataclasses.fields(owner):
            name = value = each.name
            default = ""
            if each.default_factory is not _MISSING:
                known[f"_make_{name}"] = each.default_factory
                default = "=_missing"
                value = f"_make_{name}()"
                if each.init:
                    value += f" if {name} is _missing else {name}"
            elif each.default is not _MISSING:
                known[f"_default_{name}"] = each.default
                default = f"=_default_{name}"
                value = name if each.init else f"_default_{name}"
            elif not each.init:
                continue
            if each.init:
                (by_name if each.kw_only else by_place).append(name + default)
            body.append(self._assign.format(name, value))
        if hasattr(owner, "__post_init__"):
            body.append("self.__post_init__()")
        parameters = [*by_place, "*", *by_name] if by_name else by_place
        return _written(owner, "__init__", parameters, body, known)


def _write_eq(owner: _Class) -> _Method:
    names = [each.name for each in dataclasses.fields(owner) if each.compare]
    mine, theirs = (_tuple_of(side, names) for side in ("self", "other"))
    body = [f"return {mine} == {theirs} if self.__class__ is other.__class__ else NotImplemented"]
    return _written(owner, "__eq__", ["self", "other"], body, {})


def _write_hash(owner: _Class) -> _Method:
    names = [
        each.name
        for each in dataclasses.fields(owner)
        if (each.compare if each.hash is None else each.hash)
    ]
    body = [f"return hash({_tuple_of('self', names)})"]
    return _written(owner, "__hash__", ["self"], body, {})


def _tuple_of(side: str, names: list[str]) -> str:
    return f"({''.join(f'{side}.{name}, ' for name in names)})"
