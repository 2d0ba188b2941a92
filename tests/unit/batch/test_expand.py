from pathlib import Path

import orjson
import pytest

from asynckaniko.batch.expand import load
from tests.unit.batch.manifests import read


def test_variables_come_from_the_command_line_then_the_environment_then_the_default() -> None:
    text = """
        variables:
          A: {default: from-default, env: CI_A}
          B: {default: from-default, env: CI_B}
          C: from-default
          D: {default: "${C}-and-more"}
        images:
          one: {args: {A: "${A}", B: "${B}", C: "${C}", D: "${D}", E: "${C:-unused}"}}
    """

    batch = read(
        text, variables={"A": "from-var"}, environment={"CI_A": "from-env", "CI_B": "from-env"}
    )

    assert batch.image("one").args == {
        "A": "from-var",
        "B": "from-env",
        "C": "from-default",
        "D": "from-default-and-more",
        "E": "from-default",
    }


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("${V}", "1"),
        ("a-${V}-b", "a-1-b"),
        ("${EMPTY:-x}", "x"),
        ("${MISSING:-}", ""),
        ("${MISSING:-a/b:c}", "a/b:c"),
        ("$${V}", "${V}"),
        ("$V", "$V"),
        ("$$V", "$$V"),
        ("a$", "a$"),
    ],
)
def test_only_names_in_braces_are_expanded(written: str, read_as: str) -> None:
    batch = read(
        f"""
        variables: {{V: "1", EMPTY: ""}}
        images: {{one: {{args: {{X: "{written}"}}}}}}
        """
    )

    assert batch.image("one").args["X"] == read_as


def test_image_lies_over_its_templates_and_those_over_the_defaults() -> None:
    batch = read(
        """
        defaults: {labels: {all: defaults, team: defaults}, retries: 1, platforms: [linux/amd64]}
        templates:
          go: {args: {GO: "1", CGO: "0"}, labels: {team: go}, dockerfile: go.Dockerfile}
          static: {inherits: [go], args: {CGO: "1", LINK: static}}
        images:
          one: {inherits: [static], args: {GO: "2"}, labels: {own: "yes"}, retries: 3}
        """
    )
    one = batch.image("one")

    assert one.args == {"GO": "2", "CGO": "1", "LINK": "static"}
    assert one.labels == {"all": "defaults", "team": "go", "own": "yes"}
    assert (one.dockerfile, one.retries, one.platforms) == ("go.Dockerfile", 3, ("linux/amd64",))


def test_of_two_templates_the_later_one_wins() -> None:
    batch = read(
        """
        templates: {a: {target: a, args: {A: a, X: a}}, b: {target: b, args: {X: b}}}
        images: {one: {inherits: [a, b]}}
        """
    )

    assert batch.image("one").target == "b"
    assert batch.image("one").args == {"A": "a", "X": "b"}


def test_matrix_makes_an_image_of_each_combination() -> None:
    batch = read(
        """
        images:
          api:
            matrix: {py: ["3.11", "3.12"], os: [slim, alpine]}
            name: api-${py}-${os}
            args: {PY: "${py}"}
            tags: ["r.example.com/api:${os}-${py}"]
        """
    )

    assert [image.name for image in batch.images] == [
        "api-3.11-slim",
        "api-3.11-alpine",
        "api-3.12-slim",
        "api-3.12-alpine",
    ]
    assert batch.image("api-3.12-slim").args == {"PY": "3.12"}
    assert batch.image("api-3.12-slim").tags == ("r.example.com/api:slim-3.12",)


def test_matrix_without_a_name_is_named_after_its_values() -> None:
    batch = read('images: {api: {matrix: {v: ["1.0", "2/x"]}}}')

    assert [image.name for image in batch.images] == ["api-1-0", "api-2-x"]


def test_word_that_looks_like_a_number_keeps_its_text_and_is_warned_of() -> None:
    batch = read("images: {one: {args: {PY: 3.10, N: 8080, F: 1.5, O: 0o17, T: true}}}")

    assert batch.image("one").args == {
        "PY": "3.10",
        "N": "8080",
        "F": "1.5",
        "O": "0o17",
        "T": "true",
    }
    assert [warning.split(":")[:3] for warning in batch.warnings] == [
        ["m.yaml", "2", "27"],
        ["m.yaml", "2", "53"],
    ]
    assert 'write "3.10"' in batch.warnings[0]


def test_argument_without_a_value_is_left_to_the_environment() -> None:
    assert read("images: {one: {args: {TOKEN: }}}").image("one").args == {"TOKEN": None}


@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        (["api*.args.V=2"], "args", {"V": "2", "W": "1"}),
        (["api.args.X=a=b"], "args", {"V": "1", "W": "1", "X": "a=b"}),
        (["api.labels.org.example.x=1"], "labels", {"org.example.x": "1"}),
        (["api.target=dev"], "target", "dev"),
        (["api.tags=r.io/x:1", "api.tags=r.io/x:2"], "tags", ("r.io/x:1", "r.io/x:2")),
        (["api.tags+=r.io/x:1"], "tags", ("r.io/api:1", "r.io/x:1")),
        (["*.retries=4"], "retries", 4),
        (["api.resources.memory=1Gi"], "memory", 1 << 30),
    ],
)
def test_set_changes_a_field(settings: list[str], field: str, value: object) -> None:
    batch = read(
        """
        images:
          api: {args: {V: "1", W: "1"}, tags: ["r.io/api:1"]}
          worker: {}
        """,
        settings=settings,
    )

    assert getattr(batch.image("api"), field) == value


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ([], ["base", "api"]),
        (["worker"], ["worker"]),
        (["w*", "base"], ["base", "worker"]),
        (["all"], ["base", "api", "worker"]),
        (["api"], ["base", "api"]),
    ],
)
def test_only_takes_images_groups_patterns_and_what_they_need(
    only: list[str], names: list[str]
) -> None:
    batch = read(
        """
        groups: {default: [api], all: [default, "*"]}
        images:
          base: {}
          api: {contexts: {base: "target:base"}}
          worker: {}
        """,
        only=only,
    )

    assert [image.name for image in batch.images] == names


def test_from_of_anothers_tag_is_a_need(tmp_path: Path) -> None:
    for name, dockerfile in {
        "base": "FROM scratch\n",
        "app": "ARG V\nFROM r.io/team/base:${V} AS b\nFROM b\nCOPY --from=r.io/tools / /\n",
        "other": "FROM r.io/team/base:9\n",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "Dockerfile").write_text(dockerfile)

    batch = read(
        """
        images:
          app: {context: app, args: {V: "1"}}
          other: {context: other}
          base: {context: base, tags: ["r.io/team/base:1"]}
          tools: {context: base, tags: ["r.io/tools"]}
        """,
        directory=tmp_path,
    )

    assert batch.image("app").needs == ("base", "tools")
    assert batch.image("app").tag_needs == {
        "r.io/team/base:1": "base",
        "r.io/tools:latest": "tools",
    }
    assert batch.image("other").needs == ()
    assert [[i.name for i in wave] for wave in batch.waves()] == [
        ["other", "base", "tools"],
        ["app"],
    ]


def test_stage_that_the_target_does_not_need_makes_no_need(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM r.io/base AS unused\nFROM scratch AS used\n")

    batch = read(
        """
        images:
          base: {context: elsewhere, tags: [r.io/base]}
          app: {context: ".", target: used}
        """,
        directory=tmp_path,
    )

    assert batch.image("app").needs == ()


def test_printed_manifest_reads_as_the_same_images() -> None:
    batch = read(
        """
        variables: {R: r.io}
        images:
          base: {tags: ["${R}/base"]}
          api:
            contexts: {base: "target:base"}
            args: {LITERAL: "$${HOME}", BARE: }
            tags: ["${R}/api:${INPUT_DIGEST}"]
            platforms: [linux/arm64/v8]
            secrets: [{id: pip, env: PIP}]
            cache: {repo: r.io/cache, ttl: 1h}
            outputs: [{type: oci-layout, path: out}]
            ulimits: {nofile: "1024:-1"}
            shmSize: 256m
            annotations: {org.example.team: shop, literal: "$${HOME}"}
            resources: {memory: 2Gi, cpu: 500m, weight: 2}
            timeout: 1h30m
            retries: 2
          # What it needs must be there for the same platform.
          unused: {}
        """.replace('{tags: ["${R}/base"]}', '{tags: ["${R}/base"], platforms: [linux/arm64]}')
    )

    again = load(orjson.dumps(batch.to_manifest()), "plan.json", directory=Path("/nowhere"))

    assert again.images == batch.images


def test_json_with_tabs_is_read() -> None:
    batch = read('{\n\t"version": 1,\n\t"images": {\n\t\t"one": {"target": "a\\tb"}\n\t}\n}')

    assert batch.image("one").target == "a\tb"


def test_anchors_and_merge_keys_are_followed() -> None:
    batch = read(
        """
        images:
          one: &one {target: a, args: {A: "1"}}
          two: {<<: *one, target: b}
        """
    )

    assert batch.image("two").args == {"A": "1"}
    assert batch.image("two").target == "b"
