"""Measure whole builds, and the loops they are made of. `python -m perf --help`."""
