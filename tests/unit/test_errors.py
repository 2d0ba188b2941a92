import json

from asynckaniko import errors
from asynckaniko.errors import CommandFailed, RegistryRejected, SourceSpan, from_wire, to_wire


def test_error_survives_the_way_through_json() -> None:
    error = CommandFailed("exit code: 7", exit_status=7, output=("a", "b"))
    error.at(SourceSpan("Dockerfile", 3, 4))

    restored = from_wire(json.loads(json.dumps(to_wire(error))))

    assert isinstance(restored, CommandFailed)
    assert str(restored) == "exit code: 7"
    assert (restored.exit_status, restored.output) == (7, ("a", "b"))
    assert restored.span == SourceSpan("Dockerfile", 3, 4)


def test_positional_fields_survive_too() -> None:
    error = RegistryRejected("PUT", "https://r/v2/", 403, ("DENIED",))

    restored = from_wire(json.loads(json.dumps(to_wire(error))))

    assert isinstance(restored, RegistryRejected)
    assert (restored.status, restored.codes) == (403, ("DENIED",))
    assert str(restored) == str(error)


def test_first_recorded_place_is_kept() -> None:
    error = errors.StepFailed("x").at(SourceSpan("Dockerfile", 1, 1))

    error.at(SourceSpan("Dockerfile", 9, 9))

    assert str(error.span) == "Dockerfile:1"


def test_every_class_is_drawn_in_the_tree_with_its_exit_code() -> None:
    drawn = errors.__doc__ or ""
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.AsynckanikoError):
            assert name in drawn
