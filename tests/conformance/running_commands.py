"""RUN and its mounts."""

import json

from asynckaniko.build.request import Secret
from tests.conformance.case import GONE, Case, Is, is_directory
from tests.support.images import ReadImage, symlink

WORD = "quite-secret-9b1c"


def has_nothing_secret(image: ReadImage) -> bool:
    texts = [json.dumps(image.config), json.dumps(image.manifest)]
    files = [entry.content for layer in image.layers for entry in layer.values()]
    return not any(WORD in text for text in texts) and not any(WORD.encode() in f for f in files)


def tells_no_proxy(image: ReadImage) -> bool:
    return "proxy-of-mine" not in json.dumps(image.config)


ACCOUNTS = {
    "passwd": "root:x:0:0::/:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n",
    "group": "root:x:0:\nada:x:1000:\nwheel:x:10:ada\nstaff:x:50:\n",
}


def ids(user: str, expected: str) -> Case:
    return Case(
        name=f"USER {user} runs as {expected}",
        dockerfile=f"""\
            FROM busybox
            COPY passwd group /etc/
            RUN mkdir -m 1777 /seen
            USER {user}
            RUN echo "$(id -u) $(id -g) $(id -G)" > /seen/ids
        """,
        context=ACCOUNTS,
        tree={"seen/ids": f"{expected}\n"},
    )


CASES = (
    ids("root", "0 0 0"),
    ids("ada", "1000 1000 1000 10"),
    ids("ada:staff", "1000 50 50"),
    ids("1000", "1000 1000 1000 10"),
    ids("1000:50", "1000 50 50"),
    ids("4321", "4321 0 0"),
    ids("4321:8765", "4321 8765 8765"),
    Case(
        name="a cache may begin with files of a stage, once",
        dockerfile="""\
            FROM scratch AS seed
            COPY f /seed/f
            FROM busybox
            RUN --mount=type=cache,target=/c,id=seeded,from=seed,source=/seed \\
              cat /c/f > /first && echo changed > /c/f
            RUN --mount=type=cache,target=/c,id=seeded,from=seed,source=/seed \\
              cat /c/f > /second
        """,
        context={"f": "seed"},
        tree={"first": "seed", "second": "changed\n", "c/f": GONE},
    ),
    Case(
        name="a locked cache is used by one command at a time",
        dockerfile="""\
            FROM busybox AS base
            FROM base AS a
            RUN --mount=type=cache,target=/c,id=locked,sharing=locked \\
              mkdir /c/busy && sleep 0.3 && rmdir /c/busy && touch /a
            FROM base AS b
            RUN --mount=type=cache,target=/c,id=locked,sharing=locked \\
              mkdir /c/busy && sleep 0.3 && rmdir /c/busy && touch /b
            FROM scratch
            COPY --from=a /a /
            COPY --from=b /b /
        """,
        tree={"a": "", "b": ""},
    ),
    Case(
        name="a command may name one locked cache twice",
        dockerfile="""\
            FROM busybox AS base
            RUN --mount=type=cache,target=/c,id=twice,sharing=locked \\
                --mount=type=cache,target=/d,id=twice,sharing=locked \\
              echo one > /c/f && cat /d/f > /seen
            FROM scratch
            COPY --from=base /seen /
        """,
        tree={"seen": "one\n"},
    ),
    Case(
        name="locked caches named in another order wait for each other's end",
        dockerfile="""\
            FROM busybox AS base
            FROM base AS slow-a
            RUN sleep 0.4 && touch /x
            FROM base AS slow-b
            RUN sleep 0.4 && touch /y
            FROM base AS a
            RUN --mount=type=cache,target=/c,id=former,sharing=locked \\
                --mount=type=bind,from=slow-a,target=/m \\
                --mount=type=cache,target=/d,id=latter,sharing=locked \\
              touch /a
            FROM base AS b
            RUN --mount=type=cache,target=/d,id=latter,sharing=locked \\
                --mount=type=bind,from=slow-b,target=/m \\
                --mount=type=cache,target=/c,id=former,sharing=locked \\
              touch /b
            FROM scratch
            COPY --from=a /a /
            COPY --from=b /b /
        """,
        tree={"a": "", "b": ""},
    ),
    Case(
        name="who waits for a stage holds no cache that the stage locks",
        dockerfile="""\
            FROM busybox AS base
            FROM base AS before
            RUN sleep 0.4
            RUN --mount=type=cache,target=/c,id=handed,sharing=locked touch /x
            FROM base AS after
            RUN --mount=type=cache,target=/c,id=handed,sharing=locked \\
                --mount=type=bind,from=before,target=/m \\
              test -e /m/x && touch /a
            FROM scratch
            COPY --from=after /a /
        """,
        tree={"a": ""},
    ),
    Case(
        name="a private cache is another one while it is in use",
        dockerfile="""\
            FROM busybox AS base
            FROM base AS a
            RUN --mount=type=cache,target=/p,id=private,sharing=private \\
                --mount=type=cache,target=/meet,id=meeting \\
              touch /meet/a; until test -e /meet/b; do sleep 0.05; done; mkdir /p/own && touch /a
            FROM base AS b
            RUN --mount=type=cache,target=/p,id=private,sharing=private \\
                --mount=type=cache,target=/meet,id=meeting \\
              touch /meet/b; until test -e /meet/a; do sleep 0.05; done; mkdir /p/own && touch /b
            FROM scratch
            COPY --from=a /a /
            COPY --from=b /b /
        """,
        tree={"a": "", "b": ""},
    ),
    Case(
        name="a user that the image does not know is an error at RUN",
        dockerfile="""\
            FROM busybox
            USER stranger
            RUN true
        """,
        error=("stranger",),
        line=3,
    ),
    Case(
        name="the JSON form has no shell, and ENTRYPOINT no part in it",
        dockerfile="""\
            FROM busybox
            ENTRYPOINT ["/not/there"]
            RUN ["touch", "/with blank", "$HOME"]
        """,
        tree={"with blank": "", "$HOME": ""},
    ),
    Case(
        name="deleted, renamed and replaced files",
        dockerfile="""\
            FROM busybox
            COPY t /t
            RUN rm /t/a && mv /t/b /t/c && rm -r /t/d && mkdir /t/d && touch /t/d/new \\
             && rm /t/l && mkdir /t/l
        """,
        context={"t/a": "a", "t/b": "b", "t/d/old": "old", "t/l": symlink("d")},
        tree={
            "t/c": "b",
            "t/d/new": "",
            "t/l": is_directory(),
            "t/a": GONE,
            "t/b": GONE,
            "t/d/old": GONE,
        },
    ),
    Case(
        name="proxies reach a command in both cases and leave no trace",
        dockerfile="""\
            FROM busybox
            RUN echo -n "$HTTP_PROXY $http_proxy $NO_PROXY" | tr -d '-' > /seen
        """,
        request={"build_args": {"http_proxy": "proxy-of-mine", "NO_PROXY": "direct"}},
        tree={"seen": "proxyofmine proxyofmine direct"},
        env={"http_proxy": None, "HTTP_PROXY": None, "NO_PROXY": None},
        also=tells_no_proxy,
    ),
    Case(
        name="a bind mount shows the context, and keeps nothing",
        dockerfile="""\
            FROM busybox
            RUN --mount=target=/ctx cat /ctx/a > /seen && ! touch /ctx/new
            RUN --mount=source=sub,target=/s,rw touch /s/new && test -f /s/new && echo ok > /wrote
            RUN test ! -e /ctx/a && test ! -e /s/new
        """,
        context={"a": "A", "sub/b": "B"},
        tree={"seen": "A", "wrote": "ok\n"},
    ),
    Case(
        name="a bind mount shows a stage",
        dockerfile="""\
            FROM scratch AS made
            COPY f /out/f
            FROM busybox
            RUN --mount=from=made,src=out,target=/o cat /o/f > /seen
        """,
        context={"f": "F"},
        tree={"seen": "F", "o/f": GONE},
    ),
    Case(
        name="a cache is known by its id, or by its target",
        dockerfile="""\
            FROM busybox
            ENV ID=by-name
            RUN --mount=type=cache,target=/c1 touch /c1/x
            RUN --mount=type=cache,target=/c2 test ! -e /c2/x
            RUN --mount=type=cache,target=/c1 test -e /c1/x
            RUN --mount=type=cache,id=by-name,target=/here touch /here/y
            RUN --mount=type=cache,id=$ID,target=/there test -e /there/y
            RUN --mount=type=cache,target=/own,uid=1001,gid=1002,mode=0751 \\
              stat -c "%u %g %a" /own > /seen
            RUN test ! -e /c1/x
        """,
        tree={"seen": "1001 1002 751\n", "c1/x": GONE, "here/y": GONE},
    ),
    Case(
        name="a cache of another owner or mode, or with a beginning, is another one",
        dockerfile="""\
            FROM scratch AS seed
            COPY f /f
            FROM busybox
            RUN --mount=type=cache,target=/c touch /c/x
            RUN --mount=type=cache,target=/c,uid=7 ls /c > /owner
            RUN --mount=type=cache,target=/c,mode=0700 ls /c > /mode
            RUN --mount=type=cache,target=/c,from=seed ls /c > /seeded
            RUN --mount=type=cache,target=/c ls /c > /same
        """,
        context={"f": "seed"},
        tree={"owner": "", "mode": "", "seeded": "f\n", "same": "x\n"},
    ),
    Case(
        name="a temporary filesystem is gone afterwards",
        dockerfile="""\
            FROM busybox
            RUN --mount=target=/scratch,type=tmpfs touch /scratch/x
            RUN test ! -f /scratch/x && touch /done
        """,
        tree={"done": "", "scratch/x": GONE},
    ),
    Case(
        name="a secret is a file or a variable of one command",
        dockerfile="""\
            FROM busybox
            ENV S=public
            RUN --mount=type=secret,id=word stat -c "%a %u %s" /run/secrets/word > /seen
            RUN --mount=type=secret,id=word,mode=741,uid=100,gid=102,target=/my \\
              stat -c "%a %u %g" /my > /moved
            RUN --mount=type=secret,id=word,env=S test "$S" != public \\
              && test ! -e /run/secrets/word && echo -n "$S" | wc -c > /length
            RUN test ! -e /my && test "$S" = public
            RUN --mount=type=secret,id=none test ! -e /run/secrets/none
        """,
        request={"secrets": {"word": Secret(value=WORD.encode())}},
        tree={
            "seen": f"400 0 {len(WORD)}\n",
            "moved": "741 100 102\n",
            "length": f"{len(WORD)}\n",
            "my": GONE,
            "run/secrets/word": GONE,
        },
        env={"S": "public"},
        also=has_nothing_secret,
    ),
    Case(
        name="a secret that is required and not given is an error",
        dockerfile="""\
            FROM busybox
            RUN --mount=type=secret,required,id=word true
        """,
        error=("word", "not found"),
        line=2,
    ),
    Case(
        name="without network there is nothing but a loopback",
        dockerfile="""\
            FROM busybox
            RUN --network=none cut -d: -f1 -s /proc/net/dev | tr -d ' ' > /seen
        """,
        tree={"seen": "lo\n"},
    ),
    Case(
        name="there are three networks",
        dockerfile="""\
            FROM scratch
            RUN --network=bridge true
        """,
        error=("network",),
        line=2,
    ),
    Case(
        name="a command runs with WORKDIR, SHELL, ENV and ARG as they stand",
        dockerfile="""\
            FROM busybox
            WORKDIR /w
            SHELL ["/bin/sh", "-xc"]
            ENV FROM_ENV=1
            ARG FROM_ARG=2
            RUN case $- in *x*) echo "$(pwd) $FROM_ENV $FROM_ARG" > seen ;; esac
        """,
        tree={"w/seen": Is(content="/w 1 2\n")},
        env={"FROM_ENV": "1", "FROM_ARG": None},
    ),
)
