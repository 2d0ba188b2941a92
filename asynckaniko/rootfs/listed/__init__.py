"""Root filesystems without privileges: layers as lists of entries, merged in memory.

Whoever may neither mount nor change owners cannot unpack an image. What COPY, ADD and WORKDIR need
of it they get here from lists: each layer is a directory with an `index` of its entries, in the
order of its archive, and one file `data` with the contents of its files. A stack of such layers is
put together as the image specification says, by applying one on top of the other.
"""
