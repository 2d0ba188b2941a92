"""The hot loops, each alone, beside who does the least that could do: its limit.

A module here has a docstring that names the loop and `run() -> Iterable[Result]`. It is found by
its name.
"""

import importlib
import pkgutil
import sys
from collections.abc import Iterator, Sequence


def modules() -> Iterator[str]:
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            yield module.name


def main(names: Sequence[str]) -> int:
    """Run the named modules, or all, and print what they measure."""
    known = list(modules())
    unknown = set(names) - set(known)
    if unknown:
        print(f"no {', '.join(sorted(unknown))}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    for name in names or known:
        for result in importlib.import_module(f"{__name__}.{name}").run():
            print(f"{name:12s} {result}", flush=True)
    return 0
