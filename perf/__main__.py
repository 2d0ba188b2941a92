"""`python -m perf` compares, `growth` measures builds that grow, `profile` looks inside."""

import sys

from perf import comparison, profile
from perf.growth import command as growth

_OTHERS = {"growth": growth.main, "profile": profile.main}


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] in _OTHERS:
        return _OTHERS[arguments[0]](arguments[1:])
    return comparison.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
