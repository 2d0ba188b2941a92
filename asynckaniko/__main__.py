"""`python -m asynckaniko`."""

import sys

from asynckaniko.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
