"""Reuse a layer that an earlier build made, if and only if this one would make the same."""
