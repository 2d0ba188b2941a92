"""Growth: how much the text of a Dockerfile comes to when it is evaluated, and where that ends.

A small file can describe a large image: each line may repeat every value from before it, in
words, variables and history, and each of a thousand stages may begin with all that another one
has. The parser bounds the file; this bounds what becomes of it.
"""

from asynckaniko.errors import DockerfileError

MOST_TEXT = 64 << 20
"""Characters of all expanded words of the stages that are built."""
MOST_VARIABLES = 2000
"""ARGs and ENVs of a stage together. A kernel takes 2 MiB of them."""
_EACH = 64
"""What anything costs beside its characters."""


class Growth:
    """Counts for one evaluation of a file."""

    def __init__(self) -> None:
        self._size = 0

    def add(self, *texts: str, times: int = 1) -> None:
        """Count texts that the image or its history will hold.

        Raises:
            DockerfileError: the file comes to more than any image needs.
        """
        self._size += sum(len(text) + _EACH for text in texts) * times
        if self._size > MOST_TEXT:
            raise DockerfileError(
                f"the Dockerfile expands to more than {MOST_TEXT >> 20} MiB of text up to here"
            )

    def inherit(self, entries: int) -> None:
        """Count what a stage takes over from its base. Raises as `add`."""
        self.add("", times=entries)

    def check_variables(self, number: int) -> None:
        """Raise DockerfileError for more variables than a stage may have."""
        if number > MOST_VARIABLES:
            raise DockerfileError(f"the stage has more than {MOST_VARIABLES} variables")
