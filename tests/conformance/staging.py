"""Stages, targets, named contexts, and ONBUILD between them."""

from tests.conformance.case import GONE, Case

CASES = (
    Case(
        name="a stage that nobody needs is neither resolved nor built",
        dockerfile="""\
            FROM registry.invalid/no/such:image AS unneeded
            COPY absent /
            FROM scratch AS neither
            COPY absent /
            FROM scratch
            COPY f /
        """,
        context={"f": "f"},
        tree={"f": "f"},
    ),
    Case(
        name="a target that is no stage is an error that names the nearest",
        dockerfile="""\
            FROM scratch AS builder
            COPY f /
            FROM scratch
        """,
        request={"target": "bulider"},
        context={"f": "f"},
        error=("bulider", "builder"),
    ),
    Case(
        name="a named context takes a stage's place and has its own ignore file",
        dockerfile="""\
            FROM registry.invalid/base AS assets
            FROM scratch
            COPY --from=assets /a* /
        """,
        directories={"assets": {"a1": "one", "a2": "two", ".dockerignore": "a2\n"}},
        tree={"a1": "one", "a2": GONE},
    ),
    Case(
        name="a stage may be for another platform where nothing has to run",
        dockerfile="""\
            FROM --platform=linux/s390x scratch
            COPY f /
            WORKDIR /w
        """,
        context={"f": "f"},
        tree={"f": "f"},
        also=lambda image: image.config["architecture"] == "s390x",
    ),
    Case(
        name="a target may be a number",
        dockerfile="""\
            FROM scratch
            COPY f /first
            FROM scratch
            COPY f /second
        """,
        request={"target": "0"},
        context={"f": "f"},
        tree={"first": "f", "second": GONE},
    ),
    Case(
        name="ONBUILD is stored and has no effect of its own",
        dockerfile="""\
            FROM scratch
            COPY f /f
            ONBUILD COPY f /later
            ONBUILD LABEL x=1
        """,
        context={"f": "f"},
        tree={"f": "f", "later": GONE},
        config={"OnBuild": ["COPY f /later", "LABEL x=1"], "Labels": None},
    ),
    Case(
        name="ONBUILD runs in the child and not in its children",
        dockerfile="""\
            FROM scratch AS source
            COPY f /from/file
            FROM scratch AS base
            ONBUILD COPY --from=source /from/file /triggered
            ONBUILD ENV WHO=trigger
            FROM base AS child
            ENV SEEN=$WHO
            FROM child
            ENV WHO=grandchild
            COPY --from=child /triggered /copied
        """,
        context={"f": "f"},
        tree={"triggered": "f", "copied": "f"},
        env={"SEEN": "trigger", "WHO": "grandchild"},
        config={"OnBuild": None},
    ),
    Case(
        name="a trigger has no triggers",
        dockerfile="""\
            FROM scratch
            ONBUILD ONBUILD COPY a b
        """,
        error=("onbuild",),
        line=2,
    ),
)
