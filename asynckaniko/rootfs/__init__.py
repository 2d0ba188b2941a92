"""A root filesystem on disk: fill it, change it, read the changes as a layer.

Synchronous code: `build` runs it in helper processes, inside the namespaces of the build.
"""
