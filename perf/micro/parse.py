"""A Dockerfile becomes stages and instructions (dockerfile.parser)."""

from collections.abc import Iterator
from functools import partial

from asynckaniko.dockerfile.parser import parse
from perf.micro._result import Result, rate

_STAGES = 20
_STAGE = """\
FROM --platform=$BUILDPLATFORM base:${{VERSION:-1}} AS stage{n}
ARG VERSION
ENV NAME=value{n} OTHER="two words" PATH=/opt/{n}/bin:$PATH
WORKDIR /srv/${{NAME}}
# what is copied
COPY --from=stage0 --chown=1:2 --chmod=u=rwX,go=rX /etc/passwd "a b" /srv/
ADD https://example.com/{n}.tar.gz /tmp/
RUN --mount=type=cache,target=/root/.cache \\
    --mount=type=bind,source=.,target=/src \\
    apt-get update && \\
    apt-get install -y a b c
RUN <<END sh
echo {n}
END
LABEL a.b=c{n} d="e f"
HEALTHCHECK --interval=5s CMD ["true"]
EXPOSE 80/tcp 443
USER 1000:1000
CMD ["sh", "-c", "echo {n}"]
"""


def run() -> Iterator[Result]:
    text = "".join(_STAGE.format(n=number) for number in range(_STAGES)).encode()
    lines = text.count(b"\n")
    # No parser can do less than to look at each line.
    limit = rate("split into words", lines, "lines", partial(_split, text))
    parsed = rate(f"{lines} lines, {_STAGES} stages", lines, "lines", partial(parse, text))
    yield parsed.beside(limit)


def _split(text: bytes) -> None:
    for line in text.decode().splitlines():
        line.split()
