"""What the file `map` of a directory says of the ids that its trees are kept with."""


def map_of(root_id: int, *, has_one_id: bool) -> str:
    """Describe a user namespace by the host id behind its root, and whether that is its only one.

    Trees of one are of no use in another: the same owners are other ids on disk, or are recorded
    beside the files.
    """
    return f"{root_id} single-id" if has_one_id else str(root_id)
