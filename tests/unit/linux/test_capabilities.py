import os
from collections.abc import Callable

from asynckaniko.linux import capabilities
from asynckaniko.linux.capabilities import Capability


def in_a_child(function: Callable[[], str]) -> str:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, function().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return text


def sets() -> dict[str, int]:
    with open("/proc/self/status") as status:
        lines = [line.split(":") for line in status if line.startswith("Cap")]
    return {name: int(value, 16) for name, value in lines}


def test_only_the_allowed_are_left_in_every_set() -> None:
    allowed = frozenset({Capability.CHOWN, Capability.SETUID})

    def limit() -> str:
        capabilities.limit(allowed)
        return repr(sets())

    left = eval(in_a_child(limit))

    mask = 1 << Capability.CHOWN | 1 << Capability.SETUID
    assert left == {"CapInh": 0, "CapPrm": mask, "CapEff": mask, "CapBnd": mask, "CapAmb": 0}


def test_docker_gives_fourteen_without_sys_admin() -> None:
    assert len(capabilities.DOCKER_DEFAULT) == 14
    # The mask that containers show in /proc/self/status.
    assert sum(1 << number for number in capabilities.DOCKER_DEFAULT) == 0xA80425FB
