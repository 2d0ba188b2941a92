import pytest

from asynckaniko.dockerfile.chmod import parse_chmod
from asynckaniko.errors import DockerfileError


@pytest.mark.parametrize("text", ["0", "755", "0755", "4755", "7777", "000644"])
def test_octal_mode_holds_for_everything(text: str) -> None:
    chmod = parse_chmod(text)

    assert chmod.apply(0o600, False) == chmod.apply(0o1777, True) == int(text, 8)


@pytest.mark.parametrize(
    ("text", "before", "file", "directory"),
    [
        ("+x", 0o644, 0o755, 0o755),
        ("a+x", 0o644, 0o755, 0o755),
        ("u+x", 0o644, 0o744, 0o744),
        ("go-r", 0o644, 0o600, 0o600),
        ("-w", 0o666, 0o444, 0o444),
        ("u=rw", 0o755, 0o655, 0o655),
        ("u=", 0o755, 0o055, 0o055),
        ("=", 0o6755, 0o000, 0o000),
        ("=r", 0o7755, 0o1444, 0o1444),
        ("u=rwX,go=rX", 0o600, 0o644, 0o755),
        ("u=rwX,go=rX", 0o700, 0o755, 0o755),
        ("u=rwX,go=rX", 0o601, 0o755, 0o755),
        ("a+X", 0o644, 0o644, 0o755),
        ("a-x,a+X", 0o755, 0o755, 0o755),
        ("a+X,a-x", 0o755, 0o644, 0o644),
        ("a-X", 0o755, 0o644, 0o644),
        ("g=u", 0o740, 0o770, 0o770),
        ("go=u-w", 0o740, 0o755, 0o755),
        ("o+g", 0o750, 0o755, 0o755),
        ("a-u", 0o754, 0o000, 0o000),
        ("o-u", 0o657, 0o651, 0o651),
        ("g=", 0o2770, 0o700, 0o700),
        ("u+s", 0o755, 0o4755, 0o4755),
        ("g+s", 0o755, 0o2755, 0o2755),
        ("+s", 0o755, 0o6755, 0o6755),
        ("o+s", 0o755, 0o755, 0o755),
        ("+t", 0o755, 0o1755, 0o1755),
        ("u+t", 0o755, 0o1755, 0o1755),
        ("o+t", 0o755, 0o755, 0o755),
        ("a=rwxt", 0o000, 0o1777, 0o1777),
        ("a=rwx", 0o1000, 0o1777, 0o1777),
        ("+rt", 0o000, 0o1000, 0o1000),
        ("u+r-w+x", 0o200, 0o500, 0o500),
        ("ug+rw,o-rwx", 0o007, 0o660, 0o660),
        ("ua+r", 0o000, 0o444, 0o444),
        ("+", 0o123, 0o123, 0o123),
    ],
)
def test_symbolic_mode_changes_the_mode_there_is(
    text: str, before: int, file: int, directory: int
) -> None:
    chmod = parse_chmod(text)

    assert oct(chmod.apply(before, False)) == oct(file)
    assert oct(chmod.apply(before, True)) == oct(directory)


@pytest.mark.parametrize(
    "text",
    ["", "8", "0o755", "10000", "u", "u+q", "x", "u+r,", ",u+r", "u+r g+r", "7 5", "u+755"],
)
def test_other_texts_are_errors(text: str) -> None:
    with pytest.raises(DockerfileError, match="invalid chmod parameter"):
        parse_chmod(text)
