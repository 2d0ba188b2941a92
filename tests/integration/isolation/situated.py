"""`python -m tests.integration.isolation.situated NAME DIRECTORY ARGUMENT...`

Runs `asynckaniko ARGUMENT...` in the situation NAME of `situations`, in DIRECTORY.
"""

import os
import sys

from asynckaniko.cli.main import main
from asynckaniko.linux import syscalls
from tests.integration.isolation.conftest import TOP
from tests.integration.isolation.situations import SITUATIONS, make_reachable

if __name__ == "__main__":
    name, directory, *arguments = sys.argv[1:]
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    make_reachable([sys.base_prefix, sys.prefix, str(TOP), directory])
    os.chdir(TOP)
    SITUATIONS[name](directory)
    os.chdir(directory)
    sys.exit(main(arguments))
