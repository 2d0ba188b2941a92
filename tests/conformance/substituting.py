"""ARG, ENV, and what becomes of variables."""

from tests.conformance.case import GONE, Case

CASES = (
    Case(
        name="a global ARG is seen from where the stage declares it",
        dockerfile="""\
            ARG V=global
            FROM scratch
            ENV BEFORE=<$V>
            ARG V
            ENV AFTER=<$V>
        """,
        env={"BEFORE": "<>", "AFTER": "<global>", "V": None},
    ),
    Case(
        name="a given value beats the stage's default beats the global one",
        dockerfile="""\
            ARG P=global
            ARG Q=global
            ARG R=global
            FROM scratch
            ARG P=stage
            ARG Q
            ARG R=stage
            ENV SUM=$P,$Q,$R
        """,
        request={"build_args": {"R": "given", "UNKNOWN": "u"}},
        env={"SUM": "stage,global,given", "P": None, "Q": None, "R": None, "UNKNOWN": None},
    ),
    Case(
        name="one ARG line may declare several, quoted, and use earlier ones",
        dockerfile="""\
            ARG one="1 and more" two=2
            ARG three="$two+1"
            FROM scratch
            ARG three four="4 4" one
            ENV SUM=$one:$three:$four
        """,
        env={"SUM": "1 and more:2+1:4 4"},
    ),
    Case(
        name="an ARG without a value is not one that is empty",
        dockerfile="""\
            FROM scratch
            ARG NONE
            ARG EMPTY=
            ENV S=${NONE-a},${EMPTY-b},${EMPTY:-c},${NONE+d},${EMPTY+e},${EMPTY:+f}
        """,
        env={"S": "a,,c,,e,"},
    ),
    Case(
        name="a value may be insisted on",
        dockerfile="""\
            FROM scratch
            ARG TOKEN
            ARG USE=${TOKEN:?"give a TOKEN"}
        """,
        error=("token", "give a token"),
        line=3,
    ),
    Case(
        name="a stage inherits the ARGs of its base stage",
        dockerfile="""\
            FROM scratch AS parent
            ARG who=parent
            FROM parent
            LABEL who=<$who>
        """,
        config={"Labels": {"who": "<parent>"}},
        env={"who": None},
    ),
    Case(
        name="a stage inherits no ARGs of stages beside it",
        dockerfile="""\
            FROM scratch AS other
            ARG who=other
            FROM scratch
            COPY --from=other / /
            LABEL who=<$who>
        """,
        config={"Labels": {"who": "<>"}},
    ),
    Case(
        name="of ARG and ENV the later line counts, and the image keeps ENV",
        dockerfile="""\
            FROM scratch AS parent
            ENV A=env
            FROM parent
            ARG A=arg
            ENV B=$A
            ARG C=arg
            ENV C=env
            ENV D=$C
        """,
        env={"A": "env", "B": "arg", "C": "env", "D": "env"},
    ),
    Case(
        name="quotes and escapes in ENV",
        dockerfile="""\
            FROM scratch
            ENV a="x y" b='q "w"' c=a\\ b d=a"b"c e="v'q s'w"
            ENV f="a\\"b" g='a\\b' h=\\$a i='$a' j="''"
            ENV old  rest of   "the line" $a
            ENV m=value \\
                n="two a \\
                b"
        """,
        env={
            "a": "x y",
            "b": 'q "w"',
            "c": "a b",
            "d": "abc",
            "e": "v'q s'w",
            "f": 'a"b',
            "g": "a\\b",
            "h": "$a",
            "i": "$a",
            "j": "''",
            "old": "rest of   the line x y",
            "m": "value",
            "n": "two a     b",
        },
    ),
    Case(
        name="ENV with a name alone is an error",
        dockerfile="""\
            FROM scratch
            ENV HOME
        """,
        error=("env",),
        line=2,
    ),
    Case(
        name="prefixes, suffixes and replacements",
        dockerfile="""\
            FROM scratch
            ENV s=foobarbaz u=/a/foo/b/c.txt
            ENV p1=${s#f*b} p2=${s##f*b} p3=${s%b*} p4=${s%%b*} p5=${s/ba/fo} p6=${s//ba/fo}
            ENV q1=${u##*/} q2=${u%.txt}.md q3=${s#zz} q4=${s//a/}
        """,
        env={
            "p1": "arbaz",
            "p2": "az",
            "p3": "foobar",
            "p4": "foo",
            "p5": "fooforbaz",
            "p6": "fooforfoz",
            "q1": "c.txt",
            "q2": "/a/foo/b/c.md",
            "q3": "foobarbaz",
            "q4": "foobrbz",
        },
    ),
    Case(
        name="braces around nothing are an error",
        dockerfile="""\
            FROM scratch
            ENV a=${}
        """,
        error=("substitution",),
        line=2,
    ),
    Case(
        name="FROM sees the platform's ARGs, a stage only those it declares",
        dockerfile="""\
            FROM scratch AS for-linux
            COPY l is-linux
            FROM scratch AS for-windows
            COPY w is-windows
            FROM for-${TARGETOS}
            ARG TARGETPLATFORM
            ARG TARGETARCH
            LABEL p=$TARGETPLATFORM a=$TARGETARCH b=<$BUILDPLATFORM>
        """,
        request={"platform": "linux/arm64"},
        context={"l": "l", "w": "w"},
        tree={"is-linux": "l", "is-windows": GONE},
        config={"Labels": {"p": "linux/arm64", "a": "arm64", "b": "<>"}},
        also=lambda image: (image.config["os"], image.config["architecture"]) == ("linux", "arm64"),
    ),
    Case(
        name="TARGETSTAGE is the target's name",
        dockerfile="""\
            FROM scratch AS base
            LABEL before=<$TARGETSTAGE>
            ARG TARGETSTAGE
            LABEL after=<$TARGETSTAGE>
            FROM base AS wanted
            FROM base
        """,
        request={"target": "wanted"},
        config={"Labels": {"before": "<>", "after": "<wanted>"}},
    ),
    Case(
        name="TARGETSTAGE is `default` where nothing has a name",
        dockerfile="""\
            FROM scratch
            ARG TARGETSTAGE
            LABEL s=$TARGETSTAGE
        """,
        config={"Labels": {"s": "default"}},
    ),
)
