import os
from pathlib import Path

import pytest

from asynckaniko.linux.accounts import Accounts, Identity, UnknownAccount, lookup_owner

PASSWD = b"""\
root:x:0:0:root:/root:/bin/sh
app:x:1000:1001:An App:/srv/app:/bin/sh

mail:x:8:12
app:x:7000:7000:shadowed:/nowhere:/bin/sh
twin:x:1000:5:second of one id:/twin:/bin/sh
odd:x:nonsense:9999999999999:/:
"""
GROUP = b"""\
root:x:0:
staff:x:50:app,other
wheel:x:10:other,app
app:x:1001:
"""


@pytest.fixture
def accounts() -> Accounts:
    return Accounts(PASSWD, GROUP)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("", Identity(0, 0, (0,)), id="empty is root"),
        pytest.param("0", Identity(0, 0, (0,)), id="number with an entry"),
        pytest.param("app", Identity(1000, 1001, (1001, 50, 10)), id="name: primary and other"),
        pytest.param("1000", Identity(1000, 1001, (1001, 50, 10)), id="number finds the first"),
        pytest.param("4711", Identity(4711, 0, (0,)), id="unlisted number has group 0"),
        pytest.param("4711:4712", Identity(4711, 4712, (4712,)), id="two numbers: no look-up"),
        pytest.param("1000:50", Identity(1000, 50, (50,)), id="numbers take no other groups"),
        pytest.param("app:staff", Identity(1000, 50, (50,)), id="named group alone"),
        pytest.param("app:77", Identity(1000, 77, (77,)), id="unlisted group number"),
        pytest.param("root:root", Identity(0, 0, (0,)), id="root by name"),
        pytest.param(":staff", Identity(0, 50, (50,)), id="group only"),
        pytest.param("app:", Identity(1000, 1001, (1001, 50, 10)), id="empty group is none"),
        pytest.param("mail", Identity(8, 12, (12,)), id="short line"),
        pytest.param("odd", Identity(0, 0, (0,)), id="ids that are no numbers count as 0"),
        pytest.param("4294967295:1", Identity(2**32 - 1, 1, (1,)), id="a pair goes to 32 bits"),
    ],
)
def test_user_is_resolved_as_docker_does(accounts: Accounts, spec: str, expected: Identity) -> None:
    assert accounts.identify(spec) == expected


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nosuch", "unable to find user nosuch: no matching entries in passwd file"),
        ("nosuch:staff", "unable to find user nosuch: no matching entries in passwd file"),
        ("app:nosuch", "unable to find group nosuch: no matching entries in group file"),
        ("-1", "unable to find user -1: no matching entries in passwd file"),
        ("3000000000", "must be in range 0-2147483647, not 3000000000"),
        ("app:3000000000", "must be in range 0-2147483647, not 3000000000"),
        ("4294967296:0", "must be in range 0-4294967295, not 4294967296"),
        ("9" * 5000, "unable to find user 9"),
    ],
)
def test_unknown_account_is_named(accounts: Accounts, spec: str, words: str) -> None:
    with pytest.raises(UnknownAccount, match=words):
        accounts.identify(spec)


@pytest.mark.parametrize(
    ("spec", "owner"),
    [
        ("4711", (4711, 4711)),
        ("1000", (1000, 1000)),
        ("app", (1000, 1001)),
        ("app:staff", (1000, 50)),
        ("4711:staff", (4711, 50)),
        ("1:2", (1, 2)),
    ],
)
def test_owner_of_a_lone_number_is_user_and_group(
    accounts: Accounts, spec: str, owner: tuple[int, int]
) -> None:
    assert accounts.owner(spec) == owner


def test_home_is_that_of_the_first_entry_with_the_id(accounts: Accounts) -> None:
    assert accounts.home(1000) == "/srv/app"
    assert accounts.home(4711) == "/"
    assert accounts.home(8) == "/"


class TestFiles:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        (tmp_path / "root/etc").mkdir(parents=True)
        return tmp_path / "root"

    def read(self, root: Path) -> Accounts:
        descriptor = os.open(root, os.O_RDONLY)
        try:
            return Accounts.read(descriptor)
        finally:
            os.close(descriptor)

    def test_missing_files_have_no_entries(self, root: Path) -> None:
        assert self.read(root).identify("12") == Identity(12, 0, (0,))

    def test_links_are_followed_inside_the_root_only(self, root: Path) -> None:
        (root / "etc/passwd").symlink_to("/lib/accounts")
        (root / "lib").mkdir()
        (root / "lib/accounts").write_bytes(b"inside:x:5:6::/in:\n")
        (root / "etc/group").symlink_to("../../../../../../../../lib/groups")
        (root / "lib/groups").write_bytes(b"g:x:9:\n")

        accounts = self.read(root)

        assert accounts.identify("inside").uid == 5
        assert accounts.identify("inside:g").gid == 9

    def test_fifo_does_not_hang(self, root: Path) -> None:
        os.mkfifo(root / "etc/passwd")

        with pytest.raises(OSError, match="not a regular file"):
            self.read(root)

    def test_huge_file_is_refused(self, root: Path) -> None:
        with (root / "etc/passwd").open("wb") as file:
            file.truncate(1 << 30)

        with pytest.raises(OSError, match="larger than 1048576 bytes"):
            self.read(root)

    def test_bytes_that_are_not_utf8_are_kept(self, root: Path) -> None:
        (root / "etc/passwd").write_bytes(b"caf\xe9:x:5:6::/caf\xe9:\n")

        assert os.fsencode(self.read(root).home(5)) == b"/caf\xe9"

    def test_numeric_owner_needs_no_files(self, root: Path) -> None:
        os.mkfifo(root / "etc/passwd")
        descriptor = os.open(root, os.O_RDONLY)
        try:
            assert lookup_owner(descriptor, "3:4") == (3, 4)
        finally:
            os.close(descriptor)
