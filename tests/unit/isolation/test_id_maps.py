import pytest

from asynckaniko.isolation import id_maps
from asynckaniko.isolation.id_maps import Range

WHOLE = ((0, 0, 4294967295),)
POD = ((0, 1_000_000, 65536),)
ROOTLESS = ((0, 1000, 1), (1, 100_000, 65536))


def backing(ranges: tuple[Range, ...], inside: int) -> int | None:
    for first, outside, count in ranges:
        if first <= inside < first + count:
            return outside + inside - first
    return None


@pytest.mark.parametrize(
    ("own", "stand_in"),
    [
        pytest.param(WHOLE, 2**31 - 1, id="a machine"),
        pytest.param(POD, 65533, id="a Pod with 65536 ids"),
        pytest.param(ROOTLESS, 65536, id="a rootless container"),
        pytest.param(((0, 5, 100),), 99, id="few ids"),
    ],
)
def test_swap_backs_root_by_the_highest_id_and_keeps_the_others(
    own: tuple[Range, ...], stand_in: int
) -> None:
    swapped = id_maps.swap_map(own, own)

    assert swapped is not None
    assert swapped.root_id == stand_in
    assert backing(swapped.uids, 0) == stand_in
    assert backing(swapped.uids, stand_in) is None
    for number in (1, 33, 98):
        assert backing(swapped.uids, number) == number
    assert swapped.gids == swapped.uids


def test_swap_maps_no_id_twice_and_none_from_outside() -> None:
    swapped = id_maps.swap_map(ROOTLESS, ROOTLESS)

    assert swapped is not None
    outside = [number for _, first, count in swapped.uids for number in range(first, first + count)]
    assert sorted(outside) == list(range(1, 65537))


def test_swap_keeps_a_gap_in_the_own_ids() -> None:
    own = ((0, 0, 10), (20, 20, 10))

    swapped = id_maps.swap_map(own, own)

    assert swapped is not None
    assert swapped.uids == ((0, 29, 1), (1, 1, 9), (20, 20, 9))


def test_swap_needs_one_id_that_is_a_uid_and_a_gid() -> None:
    swapped = id_maps.swap_map(((0, 0, 100),), ((0, 0, 50),))

    assert swapped is not None
    assert swapped.root_id == 49
    assert swapped.gids[0][1] == 49
    assert backing(swapped.uids, 99) == 99


def test_single_id_cannot_be_swapped() -> None:
    assert id_maps.swap_map(((0, 1000, 1),), ((0, 1000, 1),)) is None


def test_identity_keeps_what_the_caller_has() -> None:
    assert id_maps.identity_map(ROOTLESS, POD).uids == ((0, 0, 1), (1, 1, 65536))
    assert id_maps.identity_map(ROOTLESS, POD).gids == ((0, 0, 65536),)


def test_subordinate_ids_follow_the_caller() -> None:
    made = id_maps.subordinate_map(1000, 100, [(0, 100_000, 65536)], [(0, 7, 1), (0, 90, 5)])

    assert made is not None
    assert made.uids == ((0, 1000, 1), (1, 100_000, 65536))
    assert made.gids == ((0, 100, 1), (1, 7, 1), (2, 90, 5))
    assert made.with_newuidmap


def test_subordinate_ids_are_needed_for_both() -> None:
    assert id_maps.subordinate_map(1000, 1000, [(0, 100_000, 65536)], []) is None


def test_subordinate_lines_count_by_name_and_by_number() -> None:
    text = "app:100000:65536\nother:1:2\n1000:300000:10\napp:broken\n\napp:x:y\n"

    assert id_maps.parse_subordinates(text, "app", 1000) == ((0, 100_000, 65536), (0, 300_000, 10))


def test_kernel_text_is_read_and_written() -> None:
    text = "         0       1000          1\n         1     100000      65536\n"

    assert id_maps.parse_ranges(text) == ROOTLESS
    assert id_maps.render_ranges(ROOTLESS) == "0 1000 1\n1 100000 65536"
