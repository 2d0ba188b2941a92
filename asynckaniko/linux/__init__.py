"""What the Linux kernel offers and Python's `os` does not: a thin, typed layer over libc.

Standard library only, and no state: helper processes import it before they enter a namespace.
"""
