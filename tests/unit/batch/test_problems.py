import pytest

from tests.unit.batch.manifests import problems, read


def test_all_problems_are_told_at_once_each_with_its_line() -> None:
    lines = problems(
        """\
        version: 1
        images:
          api:
            contxt: ./api
            retries: often
            tags: ["Not A Tag"]
            inherits: [bse]
          base: {args: [a]}
        """
    )

    assert lines == [
        "m.yaml: 5 problems",
        "m.yaml:4:5: contxt is unknown here; did you mean context?",
        "     4 |     contxt: ./api",
        (
            "m.yaml:5:14: retries: input should be a valid integer, "
            "unable to parse string as an integer"
        ),
        "     5 |     retries: often",
        (
            "m.yaml:6:12: tags.0: invalid repository 'library/Not A Tag' in image reference "
            "'Not A Tag'; names are lower case"
        ),
        '     6 |     tags: ["Not A Tag"]',
        "m.yaml:7:16: bse is no image and no template; did you mean base?",
        "     7 |     inherits: [bse]",
        "m.yaml:8:10: args must be a map",
        "     8 |   base: {args: [a]}",
    ]


@pytest.mark.parametrize(
    ("body", "place", "message"),
    [
        ("version: 2\nimages: {}", "1:10", "version must be 1"),
        ("images: {}", "1:1", "version is missing: begin the file with version: 1"),
        ("version: 1", "1:1", "images is missing"),
        ("version: 1\nimages: [a]", "2:1", "images must be a map"),
        ("version: 1\nimages: {a: {}, a: {}}", "2:17", "a is given twice; first at m.yaml:2:10"),
        ("version: 1\nimages: {a: {x}", "2:16", "not YAML: "),
        ("--- just words", "1:1", "a manifest is a map"),
        ("version: 1\nimage: {}\nimages: {}", "2:1", "image is unknown here; did you mean images?"),
        ("version: 1\nimages: {a: {target: '${NOPE}'}}", "2:22", "NOPE is not defined"),
        ("version: 1\nimages: {a: {target: '${no'}}", "2:22", "${ begins a variable"),
        ("version: 1\nvariables: {V: {}}\nimages: {}", "2:16", "V has no value: give --var V="),
        ("version: 1\nimages: {a: {tags: [x@sha256:0]}}", "2:21", "tags.0: "),
        ("version: 1\nimages: {a: {timeout: 5}}", "2:23", "timeout: '5' is no duration"),
        (
            "version: 1\nimages: {a: {resources: {memory: 2Q}}}",
            "2:34",
            "resources.memory: '2Q' is no size",
        ),
        (
            "version: 1\nimages: {a: {ulimits: {nofiles: 5}}}",
            "2:14",
            "ulimits: nofiles is unknown; did you mean nofile?",
        ),
        (
            "version: 1\nimages: {a: {ulimits: {nofile: many}}}",
            "2:14",
            'ulimits: "many" is no limit',
        ),
        ("version: 1\nimages: {a: {shmSize: 1Q}}", "2:23", 'shmSize: "1Q" is no size'),
        ("version: 1\nimages: {a: {shmSize: 0}}", "2:23", "it must be more than 0"),
        ("version: 1\nimages: {a: {platforms: [amd64]}}", "2:26", "platforms.0: not a platform"),
        ("version: 1\nimages: {a: {secrets: [{id: x}]}}", "2:24", "a secret has either env or src"),
        (
            "version: 1\nimages: {a: {contexts: {b: 'target:nope'}}}",
            "2:28",
            "target:nope: no such image; there is a",
        ),
        ("version: 1\ngroups: {g: [nope]}\nimages: {a: {}}", "2:14", "nope is no image"),
        ("version: 1\ngroups: {g: [h], h: [g]}\nimages: {a: {}}", "2:22", "circle: g -> h -> g"),
        (
            "version: 1\nimages: {a: {tags: [r.io/x]}, b: {tags: ['r.io/x:latest']}}",
            "2:42",
            "b and a are both pushed as r.io/x:latest",
        ),
        (
            "version: 1\nimages: {a: {matrix: {v: ['1', '2']}, name: same}}",
            "2:45",
            "two images are called same",
        ),
        ("version: 1\nimages: {a: {name: '-x'}}", "2:20", "'-x' is no name"),
        ("version: 1\nimages: {a: {matrix: {v: []}}}", "2:26", "matrix.v must be a list of words"),
        (
            "version: 1\nimages: {a: {matrix: {v: ['1', '2']}}, b: {contexts: {x: 'target:a'}}}",
            "2:58",
            "target:a is a matrix; name one of a-1, a-2",
        ),
        (
            "version: 1\nimages: {a: {}, b: {platforms: [linux/s390x], contexts: {x: 'target:a'}}}",
            "2:21",
            "b needs a for linux/s390x",
        ),
        ("version: 1\ntemplates: {t: {nope: 1}}\nimages: {a: {}}", "2:17", "nope is unknown here"),
        ("version: 1\nengine: {k8s: {}}\nimages: {a: {}}", "2:15", "engine.k8s is unknown"),
        ("version: 1\nimages: {a: &a {args: {X: *a}}}", "2:13", "an alias unfolds without end"),
    ],
)
def test_problem_has_its_place(body: str, place: str, message: str) -> None:
    lines = problems(body)

    assert any(line.startswith(f"m.yaml:{place}: ") and message in line for line in lines), lines


def test_cycle_is_shown_as_a_path() -> None:
    lines = problems(
        """\
        version: 1
        images:
          a: {contexts: {x: "target:b"}}
          b: {contexts: {x: "target:c"}}
          c: {contexts: {x: "target:a"}}
        """
    )

    assert lines[1] == "m.yaml:5:21: images need each other in a circle: a -> b -> c -> a"


def test_inheritance_in_a_circle_is_shown_as_a_path() -> None:
    lines = problems(
        """\
        version: 1
        templates: {t: {inherits: [u]}, u: {inherits: [t]}}
        images: {a: {inherits: [t]}}
        """
    )

    assert "m.yaml:2:48: images inherit in a circle: t -> u -> t" in lines


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"settings": ["nope.target=x"]}, "--set nope.target: no image is called nope"),
        ({"settings": ["a.nope=x"]}, "--set a.nope: nope is unknown here"),
        ({"settings": ["a.args.V"]}, "--set a.args.V: it must be PATTERN.FIELD[.KEY]=VALUE"),
        ({"settings": ["a.name=x"]}, "--set a.name: name cannot be set"),
        ({"only": ["nope"]}, "--only: nope is no image and no group; there is a"),
        ({"variables": {"NOPE": "x"}}, "--var: NOPE is not a variable of the manifest"),
    ],
)
def test_problem_of_a_flag_names_the_flag(choices: dict[str, object], message: str) -> None:
    lines = problems("version: 1\nimages: {a: {}}", **choices)

    assert message in lines[1]


def test_unquoted_variable_in_a_flow_list_is_explained() -> None:
    lines = problems("version: 1\nimages: {a: {tags: [${R}/x]}}")

    assert "inside [ ] and { } quote words with ${...}" in lines[1]


def test_aliases_that_unfold_without_bound_are_refused() -> None:
    levels = ["a0: &a0 {x: y}"]
    for number in range(1, 12):
        same = ", ".join(f"k{key}: *a{number - 1}" for key in range(10))
        levels.append(f"a{number}: &a{number} {{{same}}}")

    lines = problems("version: 1\nimages: {}\n" + "\n".join(levels))

    assert any("an alias unfolds without end, or too far" in line for line in lines)


def test_deep_chain_of_images_is_no_problem() -> None:
    images = "\n".join(
        f'  i{number}: {{contexts: {{below: "target:i{number + 1}"}}}}' for number in range(2000)
    )

    batch = read(f"images:\n{images}\n  i2000: {{}}\n")

    assert len(batch.waves()) == 2001
