"""What counts as blank in a Dockerfile.

Words are separated by Unicode white space, keyword and arguments only by ASCII blanks: so it is
in BuildKit, whose parser uses both. Python's `str.isspace` knows four control characters more.
"""

import re

SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Unicode white space, for `str.strip` and for character classes."""

SPACE_RUN = re.compile(f"[{SPACES}]+")
BLANK_RUN = re.compile(r"[\t\v\f\r ]+")
"""What separates the arguments of most instructions."""
