"""How Go writes values: BuildKit prints them into the history of an image."""

_ESCAPES = {
    character: f"\\{letter}"
    for character, letter in zip('\a\b\f\n\r\t\v\\"', 'abfnrtv\\"', strict=True)
}
_FRACTIONS = (("ns", 1), ("\u00b5s", 10**3), ("ms", 10**6))
_SECOND = 10**9


def quote(text: str) -> str:
    """Write text as strconv.Quote does."""
    return f'"{"".join(_ESCAPES.get(character) or _shown(character) for character in text)}"'


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    number = ord(character)
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def format_duration(nanoseconds: int) -> str:
    """Write a duration as time.Duration.String does: `1m30s`, `1.5s`, `500ms`, `0s`."""
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if 0 < rest < _SECOND:
        unit, size = next(u for u in reversed(_FRACTIONS) if rest >= u[1])
        return f"{sign}{_decimal(rest, size)}{unit}"
    minutes, rest = divmod(rest, 60 * _SECOND)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, _SECOND)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else f"{sign}{text}"


def _decimal(number: int, unit: int) -> str:
    """Divide without rounding: `unit` is a power of ten."""
    whole, rest = divmod(number, unit)
    digits = str(unit + rest)[1:].rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)
