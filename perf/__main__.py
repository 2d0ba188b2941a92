"""`python -m perf` compares commands, `growth` measures builds that grow."""

import sys

from perf import comparison
from perf.growth import command as growth

_OTHERS = {"growth": growth.main}


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] in _OTHERS:
        return _OTHERS[arguments[0]](arguments[1:])
    return comparison.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
