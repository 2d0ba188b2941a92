"""Root filesystems as plain directory trees, where no overlay can be mounted.

Layers are written over one another into one tree, which a command then changes in place. What it
changed is found by comparing two listings of the tree, from before and after.
"""
