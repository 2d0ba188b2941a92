"""Dockerfiles that between them use the whole language: where fuzzing and round trips begin."""

SEEDS = (
    """\
# syntax=docker/dockerfile:1
# check=skip=StageNameCasing;error=false
ARG VERSION=22 REGISTRY
ARG BASE="node:${VERSION}-slim"
FROM --platform=$BUILDPLATFORM ${BASE} AS build
WORKDIR /src
COPY package.json package-lock.json ./
RUN --mount=type=cache,target=/root/.npm,sharing=locked \\
    --mount=type=secret,id=npmrc,target=/root/.npmrc,required \\
    npm ci
COPY --link --exclude=**/*.test.js --exclude=!keep.test.js . .
RUN npm run build # as ever

FROM scratch
COPY --from=build --chown=65532:65532 --chmod=u=rwX,go=rX /src/dist /app
ENV PATH=/app/bin:$PATH MODE="production mode" EMPTY=
ENV LEGACY some  text with blanks
LABEL org.example.title="A \\"quoted\\" title" org.example.version=${VERSION:-none}
EXPOSE 8080/tcp 9000-9002/udp $PORT
VOLUME ["/data", "/log files"]
USER 65532
STOPSIGNAL SIGINT
HEALTHCHECK --interval=1m30s --timeout=5s --start-period=1s --start-interval=100ms --retries=3 \\
  CMD ["/app/bin/health", "-q"]
SHELL ["/bin/bash", "-ec"]
ENTRYPOINT ["/app/bin/server"]
CMD ["--port", "8080"]
""",
    """\
FROM busybox AS tools
RUN <<END
set -e
echo "one $HOME" > one
END
RUN <<-'E 1' cat > two; 3<<E2 cat <&3
\t\tindented
\tE 1
second \\
# no comment
E2
COPY <<a.txt <<"b.txt" /files/
${VERSION:?not set} \\$kept
a.txt
$raw
b.txt
ADD --chmod=0644 --checksum=sha256:00 --unpack=false https://example.com/x.tar.gz /x/
ADD --keep-git-dir=true https://example.com/x.git#main:sub /git
ONBUILD COPY --from=tools <<X /y
x
X
ONBUILD run echo \\
  two
""",
    """\
# escape=`
FROM windows`
  as Win
ENV a=C:\\dir` with` blank b=`$c
RUN dir `
# comment

  c:\\
HEALTHCHECK NONE
MAINTAINER Some One <someone@example.org>
""",
    "from scratch as base\r\nrun echo \\\r\n\r\n  hi\r\ncopy . .\r\n",
    "\ufefffrom a\nonbuild entrypoint []\nentrypoint []\ncmd\nrun\nhealthcheck cmd a  b\n",
    "ARG a=${b:-${c:-${d#*/}}} e=${f//x/y} g='$h' i=\"$j\"\nFROM ${a%%:*}${e/\\//}@$g\n",
    """\
FROM a
RUN --network=none --security=sandbox --device=vendor.com/class=x true
RUN --mount=from=a,source=/x,target=/y,rw --mount=type=tmpfs,target=/t,size=64m a
RUN --mount=type=ssh,id=k,mode=0600 --mount=type=bind,\\"target=/a,b\\" b
""",
)
