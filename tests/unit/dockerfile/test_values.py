import pytest

from asynckaniko.dockerfile.values import check_signal, parse_duration, parse_port, parse_ports
from asynckaniko.errors import DockerfileError


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("1ns", 1),
        ("1us", 10**3),
        ("1\u00b5s", 10**3),
        ("1ms", 10**6),
        ("1.5s", 1_500_000_000),
        (".5s", 500_000_000),
        ("2m", 120 * 10**9),
        ("1h2m3s4ms", 3723_004_000_000),
        ("-1s", -(10**9)),
        ("+1s", 10**9),
    ],
)
def test_duration_is_read_as_go_does(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "1", "s", "1 s", "1d", "1s2", ".s", "--1s", "9999999h"])
def test_text_that_is_no_duration_is_an_error(text: str) -> None:
    with pytest.raises(DockerfileError, match="invalid duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    "text", ["SIGTERM", "term", "sigkill", "9", "RTMIN+3", "SIGRTMAX-14", "64"]
)
def test_signal_is_a_name_or_a_number_and_stays_as_written(text: str) -> None:
    assert check_signal(text) == text


@pytest.mark.parametrize(
    ("text", "fragment"),
    [("0", "0"), ("SIGTREM", "did you mean TERM"), ("", "invalid"), ("RTMIN+16", "invalid")],
)
def test_other_signals_are_errors(text: str, fragment: str) -> None:
    with pytest.raises(DockerfileError, match=fragment):
        check_signal(text)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["80"], ["80/tcp"]),
        (["80/UDP", "81/sctp"], ["80/udp", "81/sctp"]),
        (["80/"], ["80/tcp"]),
        (["1-3/udp"], ["1/udp", "2/udp", "3/udp"]),
        (["0-0", "65535"], ["0/tcp", "65535/tcp"]),
        (["5000:80"], ["80/tcp"]),
        (["1-2:8-9"], ["8/tcp", "9/tcp"]),
        (["1-9:80"], ["80/tcp"]),
        (["127.0.0.1:1:2/udp"], ["2/udp"]),
        (["127.0.0.1::2"], ["2/tcp"]),
        (["[::1]:1:2"], ["2/tcp"]),
        (["::1:1:2"], ["2/tcp"]),
        ([], []),
    ],
)
def test_exposed_ports_are_the_container_side_spelt_out(
    words: list[str], expected: list[str]
) -> None:
    assert parse_ports(words) == expected


@pytest.mark.parametrize(
    ("word", "fragment"),
    [
        ("", "no port"),
        ("/tcp", "no port"),
        ("80/http", "invalid proto"),
        ("80/tpc", "did you mean tcp"),
        ("http", "not a port number"),
        ("-1", "not a port number"),
        ("1-", "not a port number"),
        ("65536", "out of range"),
        ("3-1", "ends before"),
        ("localhost:1:2", "invalid IP address"),
        ("[::1:1:2", "invalid IP address"),
        ("1-2:8-10", "differ in length"),
        ("x:80", "not a port number"),
        ("9" * 5000, "not a port number"),
    ],
)
def test_words_that_are_no_ports_are_errors(word: str, fragment: str) -> None:
    with pytest.raises(DockerfileError, match=fragment):
        parse_ports([word])


def test_port_tells_what_lint_asks_for() -> None:
    plain, mapped = parse_port("80/TcP"), parse_port("1:80")

    assert (plain.protocol, plain.is_mapping) == ("TcP", False)
    assert (mapped.protocol, mapped.is_mapping) == ("", True)


def test_more_ports_than_there_are_is_an_error() -> None:
    with pytest.raises(DockerfileError, match="more than"):
        parse_ports(["0-65535"] * 4)
