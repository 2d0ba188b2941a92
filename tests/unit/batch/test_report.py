from xml.etree import ElementTree as ET

from asynckaniko.batch.outcome import Built, Outcome, Status, metadata
from asynckaniko.batch.report import exit_code, junit, rows, summary
from asynckaniko.errors import CommandFailed, RegistryUnavailable, SourceSpan

BUILT = Built(
    digest="sha256:11",
    references=("r.io/a:1", "r.io/a:2"),
    media_type="application/vnd.oci.image.manifest.v1+json",
    size=7,
    config_digest="sha256:22",
)
GOOD = Outcome(name="a", status=Status.BUILT, built=BUILT, seconds=1.5, attempts=2)
FAILED = Outcome(
    name="b",
    status=Status.FAILED,
    error=CommandFailed(
        "it failed\nbadly",
        exit_status=42,
        output=("last \x1b[31mwords\x00",),
        span=SourceSpan("Dockerfile", 3, 3),
    ),
    attempts=1,
)
SKIPPED = Outcome(name="c", status=Status.SKIPPED, reason="needs b")


def test_metadata_has_the_keys_of_bake() -> None:
    assert metadata([GOOD, FAILED, SKIPPED]) == {
        "a": {
            "containerimage.config.digest": "sha256:22",
            "containerimage.descriptor": {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": "sha256:11",
                "size": 7,
            },
            "containerimage.digest": "sha256:11",
            "image.name": "r.io/a:1,r.io/a:2",
        }
    }


def test_junit_has_a_case_for_each_image_and_survives_control_characters() -> None:
    root = ET.fromstring(junit([GOOD, FAILED, SKIPPED], suite="m.yaml", seconds=3))

    assert (root.get("tests"), root.get("failures"), root.get("skipped")) == ("3", "1", "1")
    assert [case.get("name") for case in root] == ["a", "b", "c"]
    failure = root.find("testcase[@name='b']/failure")
    assert failure is not None
    assert failure.get("message") == "Dockerfile:3: it failed"
    assert failure.text == "last [31mwords\nit failed\nbadly"


def test_rows_say_why() -> None:
    assert [row.note for row in rows([GOOD, FAILED, SKIPPED])] == [
        "attempt 2; r.io/a:1, r.io/a:2",
        "Dockerfile:3: it failed",
        "needs b",
    ]


def test_summary_counts() -> None:
    assert summary([GOOD, FAILED, SKIPPED, GOOD]) == "2 built, 1 failed, 1 skipped"


def test_exit_code_is_the_kind_of_the_first_failure() -> None:
    unavailable = Outcome(name="d", status=Status.FAILED, error=RegistryUnavailable("gone"))
    bug = Outcome(name="e", status=Status.FAILED, error=RuntimeError("oops"))

    assert exit_code([GOOD]) == 0
    assert exit_code([GOOD, FAILED, SKIPPED]) == 3
    assert exit_code([unavailable, FAILED]) == 4
    assert exit_code([unavailable, bug]) == 1
    assert exit_code([GOOD, Outcome(name="x", status=Status.CANCELLED)]) == 3
