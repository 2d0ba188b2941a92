"""How the file is read: lines, comments, directives, keywords, flags."""

from tests.conformance.case import Case

CASES = (
    Case(
        name="comments and blank lines do not end a continued line",
        dockerfile="""\
            FROM scratch
            ENV a=1 \\
            # a comment
              b=2 \\

              # another one
              c=3
            LABEL text="x # y"
        """,
        env={"a": "1", "b": "2", "c": "3"},
        config={"Labels": {"text": "x # y"}},
    ),
    Case(
        name="the escape character may be a backtick",
        dockerfile="""\
            # escape=`
            FROM scratch
            ENV a=x`
             b=D:\\files c=`$a
        """,
        env={"a": "x", "b": "D:\\files", "c": "$a"},
    ),
    Case(
        name="a directive below a comment is a comment",
        dockerfile="""\
            # nothing special
            # escape=`
            FROM scratch
            ENV a=x \\
             b=2
        """,
        env={"a": "x", "b": "2"},
    ),
    Case(
        name="a mistyped instruction is an error that names the nearest",
        dockerfile="""\
            FROM scratch
            ENTRYPONT ["/bin/sh"]
        """,
        error=("entrypont", "entrypoint"),
        line=2,
    ),
    Case(
        name="a mistyped flag is an error",
        dockerfile="""\
            FROM scratch
            COPY --chonw=1 f /
        """,
        context={"f": "f"},
        error=("--chonw",),
        line=2,
    ),
    Case(
        name="two dashes end the flags",
        dockerfile="""\
            FROM scratch
            COPY -- --strange /strange
        """,
        context={"--strange": "s"},
        tree={"strange": "s"},
    ),
    Case(
        name="nothing but ARG comes before FROM",
        dockerfile="""\
            LABEL a=b
            FROM scratch
        """,
        error=("stage",),
        line=1,
    ),
    Case(
        name="a file has a stage",
        dockerfile="ARG only=this\n",
        error=("stage",),
    ),
    Case(
        name="a stage's name begins with a letter",
        dockerfile="FROM scratch AS 2nd\n",
        error=("2nd",),
        line=1,
    ),
    Case(
        name="dockerfile in lower case is found",
        dockerfile="""\
            FROM scratch
            COPY f /
        """,
        dockerfile_name="dockerfile",
        context={"f": "f"},
        tree={"f": "f"},
    ),
    Case(
        name="a byte order mark and carriage returns are no part of the text",
        dockerfile="\ufeffFROM scratch\r\nENV a=1 \\\r\n  b=2\r\n",
        env={"a": "1", "b": "2"},
    ),
)
