import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from asynckaniko.errors import UsageError
from asynckaniko.registry.proxies import Proxies
from asynckaniko.settings import RegistryOptions

PROXY = "http://proxy.example:3128"


def is_proxied(url: str, no_proxy: str = "") -> bool:
    options = RegistryOptions(https_proxy=PROXY, http_proxy=PROXY, no_proxy=no_proxy)
    return Proxies.of(options).choose(URL(url)) is not None


def test_each_scheme_has_its_own_proxy() -> None:
    options = RegistryOptions(https_proxy="tls.example", http_proxy="http://u:p@plain.example:8080")
    proxies = Proxies.of(options)

    assert proxies.choose(URL("https://r.example/v2/")) == URL("http://tls.example")
    assert proxies.choose(URL("http://r.example/v2/")) == URL("http://u:p@plain.example:8080")


def test_without_settings_everything_is_direct() -> None:
    assert Proxies.of(RegistryOptions()).choose(URL("https://r.example")) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:5000/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://a.localhost/",
        "http://169.254.169.254/latest",
        "http://metadata.google.internal/computeMetadata",
    ],
)
def test_this_machine_and_its_cloud_are_always_direct(url: str) -> None:
    assert not is_proxied(url)


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("*", "https://r.example/"),
        ("r.example", "https://r.example/"),
        ("R.EXAMPLE", "https://r.example/"),
        ("r.example", "https://a.r.example/"),
        (".r.example", "https://a.r.example/"),
        ("*.r.example", "https://a.b.r.example/"),
        ("x, r.example ,y", "https://r.example/"),
        ("r.example:8443", "https://r.example:8443/"),
        ("r.example:443", "https://r.example/"),
        ("10.0.0.1", "https://10.0.0.1/"),
        ("10.0.0.1:5000", "http://10.0.0.1:5000/"),
        ("10.0.0.0/8", "https://10.200.3.4/"),
        ("fd00::/8", "https://[fd00::5]/"),
        ("[fd00::5]", "https://[fd00::5]/"),
        ("[fd00::5]:5000", "http://[fd00::5]:5000/"),
    ],
)
def test_exception_is_reached_directly(no_proxy: str, url: str) -> None:
    assert not is_proxied(url, no_proxy)


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("", "https://r.example/"),
        (",, ,", "https://r.example/"),
        (".", "https://r.example/"),
        (".r.example", "https://r.example/"),
        ("r.example", "https://notr.example/"),
        ("r.example:8443", "https://r.example/"),
        ("10.0.0.0/8", "https://11.0.0.1/"),
        ("10.0.0.1:5000", "https://10.0.0.1/"),
        ("10.0.0.0/8", "https://r.example/"),
    ],
)
def test_other_hosts_go_through_the_proxy(no_proxy: str, url: str) -> None:
    assert is_proxied(url, no_proxy)


@pytest.mark.parametrize(
    "proxy", ["socks5://u:canary@p:1080", "http://u:canary@", "http://[canary"]
)
def test_proxy_of_another_kind_is_refused_without_showing_it(proxy: str) -> None:
    with pytest.raises(UsageError, match="HTTPS_PROXY must be") as caught:
        Proxies.of(RegistryOptions(https_proxy=proxy))

    assert "canary" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_no_proxy_is_understood_somehow(no_proxy: str) -> None:
    is_proxied("https://r.example:8443/", no_proxy)
    is_proxied("https://10.0.0.1/", no_proxy)


def test_proxys_password_is_not_in_the_representation_of_the_options() -> None:
    options = RegistryOptions(https_proxy="http://u:canary@p", http_proxy="http://u:canary@p")

    assert "canary" not in repr(options)
