"""Instructions that only change the image's config."""

from tests.conformance.case import Case

SECOND = 1_000_000_000

CASES = (
    Case(
        name="every word of LABEL needs its equals sign",
        dockerfile="""\
            FROM scratch
            LABEL good=1 "also good"=2
            LABEL fine=yes and then words=no
        """,
        error=("must be of the form",),
        line=3,
    ),
    Case(
        name="labels are quoted, expanded, and lose to the ones that are asked for",
        dockerfile="""\
            FROM scratch
            ENV k=org.example v="a b"
            LABEL "org.example.vendor"="The Example Makers" version=1.0 text="one \\
            two"
            LABEL $k.key=$v
            LABEL plain old way
            LABEL mine=file
        """,
        request={"labels": {"mine": "request", "new": "label"}},
        config={
            "Labels": {
                "org.example.vendor": "The Example Makers",
                "version": "1.0",
                "text": "one two",
                "org.example.key": "a b",
                "plain": "old way",
                "mine": "request",
                "new": "label",
            }
        },
    ),
    Case(
        name="EXPOSE splits variables, spells out ranges, and knows protocols",
        dockerfile="""\
            FROM scratch
            ARG LIST="3000 4000/udp"
            EXPOSE $LIST
            EXPOSE 5000 8000-8002/UDP
        """,
        config={
            "ExposedPorts": {
                f"{port}": {}
                for port in (
                    *("3000/tcp", "4000/udp", "5000/tcp", "8000/udp", "8001/udp", "8002/udp"),
                )
            }
        },
    ),
    Case(
        name="EXPOSE keeps the container's side",
        dockerfile="""\
            FROM scratch
            EXPOSE 127.0.0.1:80:8080 5000:5001
        """,
        config={"ExposedPorts": {"8080/tcp": {}, "5001/tcp": {}}},
    ),
    Case(
        name="EXPOSE knows three protocols",
        dockerfile="""\
            FROM scratch
            EXPOSE 80/https
        """,
        error=("proto",),
        line=2,
    ),
    Case(
        name="a volume takes later files",
        dockerfile="""\
            FROM scratch
            VOLUME /data
            COPY f /data/f
        """,
        context={"f": "f"},
        tree={"data/f": "f"},
        config={"Volumes": {"/data": {}}},
    ),
    Case(
        name="a list of other things than strings is an error",
        dockerfile="""\
            FROM scratch
            CMD ["sleep", 1]
        """,
        error=("strings",),
        line=2,
    ),
    Case(
        name="ENTRYPOINT drops the command of the base",
        dockerfile="""\
            FROM scratch AS base
            CMD ["of the base"]
            FROM base
            SHELL ["run"]
            ENTRYPOINT the entrypoint
        """,
        config={"Entrypoint": ["run", "the entrypoint"], "Shell": ["run"], "Cmd": None},
    ),
    Case(
        name="ENTRYPOINT keeps the command of its own stage",
        dockerfile="""\
            FROM scratch AS base
            CMD ["of the base"]
            FROM base
            CMD ["own"]
            ENTRYPOINT ["e"]
        """,
        config={"Entrypoint": ["e"], "Cmd": ["own"]},
    ),
    Case(
        name="an empty ENTRYPOINT clears both",
        dockerfile="""\
            FROM scratch AS base
            ENTRYPOINT ["e"]
            CMD ["c"]
            FROM base
            ENTRYPOINT []
        """,
        config={"Entrypoint": None, "Cmd": None},
    ),
    Case(
        name="SHELL is a list",
        dockerfile="""\
            FROM scratch
            SHELL /bin/bash -ec
        """,
        error=("shell", "json"),
        line=2,
    ),
    Case(
        name="HEALTHCHECK has all of its options",
        dockerfile="""\
            FROM scratch
            HEALTHCHECK --interval=1m30s --timeout=5s --start-period=2s --start-interval=100ms \\
              --retries=4 CMD ["/check", "-x"]
        """,
        config={
            "Healthcheck": {
                "Test": ["CMD", "/check", "-x"],
                "Interval": 90 * SECOND,
                "Timeout": 5 * SECOND,
                "StartPeriod": 2 * SECOND,
                "StartInterval": SECOND // 10,
                "Retries": 4,
            }
        },
    ),
    Case(
        name="HEALTHCHECK NONE turns the base's off",
        dockerfile="""\
            FROM scratch AS base
            HEALTHCHECK CMD check
            FROM base
            HEALTHCHECK NONE
        """,
        config={"Healthcheck": {"Test": ["NONE"]}},
    ),
    Case(
        name="HEALTHCHECK does not run all the time",
        dockerfile="""\
            FROM scratch
            HEALTHCHECK --interval=50ns CMD true
        """,
        error=("interval",),
        line=2,
    ),
    Case(
        name="STOPSIGNAL is expanded",
        dockerfile="""\
            FROM scratch
            ENV sig=SIGUSR1
            STOPSIGNAL $sig
        """,
        config={"StopSignal": "SIGUSR1"},
    ),
    Case(
        name="STOPSIGNAL is a signal",
        dockerfile="""\
            FROM scratch
            STOPSIGNAL SIGSTOPPED
        """,
        error=("invalid signal",),
        line=2,
    ),
    Case(
        name="USER is stored as it is",
        dockerfile="""\
            FROM scratch
            ENV u=app
            USER ${u}:staff
        """,
        config={"User": "app:staff"},
    ),
    Case(
        name="MAINTAINER is the author",
        dockerfile="""\
            FROM scratch
            MAINTAINER Ada <ada@example.org>
        """,
        also=lambda image: image.config["author"] == "Ada <ada@example.org>",
    ),
)
