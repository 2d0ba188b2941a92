"""A RUN that mounts a local directory by name is cached by the files in it."""

from tests.integration.conftest import Workbench


def test_change_in_a_mounted_named_context_is_noticed(bench: Workbench, busybox: str) -> None:
    tools = bench.directory / "tools"
    tools.mkdir()
    bench.write(f"FROM {busybox}\nRUN --mount=from=tools,target=/tools cp /tools/tool /made\n")
    flags = ("--cache", "--insecure-pull", f"--build-context=tools={tools}")

    made = {}
    for name, content in (("first", "one"), ("again", "one"), ("changed", "two")):
        (tools / "tool").write_text(content)
        made[name] = bench.build_layout(*flags).tree["made"].content

    assert made == {"first": b"one", "again": b"one", "changed": b"two"}


def test_unchanged_mounted_named_context_is_a_hit(bench: Workbench, busybox: str) -> None:
    tools = bench.directory / "tools"
    tools.mkdir()
    (tools / "tool").write_text("one")
    bench.write(f"FROM {busybox}\nRUN --mount=from=tools,target=/tools cat /proc/uptime > /made\n")
    flags = ("--cache", "--insecure-pull", f"--build-context=tools={tools}")

    first, second = (bench.build_layout(*flags).tree["made"].content for _ in range(2))

    assert first == second
    assert first != b""
