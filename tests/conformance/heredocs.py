"""Heredocs."""

from tests.conformance.case import Case, Is

CASES = (
    Case(
        name="a dash strips tabs",
        dockerfile="FROM scratch\nCOPY <<X /kept\n\tin\nX\nCOPY <<-X /stripped\n\t\tin\n\tX\n",
        tree={"kept": "\tin\n", "stripped": "in\n"},
    ),
    Case(
        name="a body has no comments and no continued lines",
        dockerfile="""\
            FROM scratch
            COPY <<X /f
            # content

            one \\
            two
            X
        """,
        tree={"f": "# content\n\none \ntwo\n"},
    ),
    Case(
        name="quotes around the word leave the body as it is",
        dockerfile="""\
            FROM scratch
            ARG v=value
            COPY <<X <<'Y' /d/
            $v
            X
            $v \\$v
            Y
        """,
        tree={"d/X": Is(content="value\n", mode=0o644, owner=(0, 0)), "d/Y": "$v \\$v\n"},
    ),
    Case(
        name="a heredoc has an end",
        dockerfile="""\
            FROM scratch
            COPY <<X /f
            line
        """,
        error=("heredoc",),
        line=2,
    ),
    Case(
        name="a heredoc is no destination",
        dockerfile="""\
            FROM scratch
            COPY /f <<X
            X
        """,
        error=("heredoc",),
    ),
    Case(
        name="RUN takes scripts, programs of other shells, and several bodies",
        dockerfile="""\
            FROM busybox
            ARG name=world
            WORKDIR /made
            RUN <<X
            name="other world"
            echo "Hello ${name}!" > by-shell
            X
            RUN <<X
            #!/bin/awk -f
            BEGIN { print "awk" > "./by-awk" }
            X
            RUN cat <<X | tr a-z A-Z > by-pipe; cat <<Y > by-second
            hello $name
            X
            second
            Y
            RUN <<X sh > by-command
            echo command
            X
        """,
        tree={
            "made/by-shell": "Hello other world!\n",
            "made/by-awk": "awk\n",
            "made/by-pipe": "HELLO WORLD\n",
            "made/by-second": "second\n",
            "made/by-command": "command\n",
        },
    ),
)
