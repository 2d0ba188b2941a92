"""Whole builds of growing size: does cost grow in proportion? `python -m perf growth --help`."""
