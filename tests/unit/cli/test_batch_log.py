from asynckaniko.cli.batch_log import BatchLog


def written(*lines: tuple[str, str], color: bool = False) -> str:
    parts: list[str] = []
    log = BatchLog(parts.append, color=color)
    for image, line in lines:
        log.add(image, line)
    return "".join(parts)


def test_each_line_stands_behind_its_image() -> None:
    lines = [("worker", "one"), ("api", "two"), ("api", "")]

    assert written(*lines) == "worker | one\napi    | two\napi    |\n"


def test_image_keeps_its_color_and_another_has_another() -> None:
    first, second, again = written(("a", "x"), ("b", "x"), ("a", "x"), color=True).splitlines()

    assert first == again
    assert first.replace("a", "b", 1) != second


def test_nothing_that_a_pod_prints_has_effects_on_the_terminal() -> None:
    shown = written(("a", "\x1b[2Jcleared\x1b]0;title\x07 \x9b1mbold"), color=True)

    assert [part for part in shown.split("\x1b")[1:] if not part.startswith(("[36m", "[0m"))] == []
    assert shown.isascii()
