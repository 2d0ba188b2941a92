from pathlib import Path
from typing import Any

import orjson
import pytest

from asynckaniko.batch.expand import load
from asynckaniko.batch.plan import Batch
from asynckaniko.errors import ManifestError


def bake(document: dict[str, Any]) -> Batch:
    return load(orjson.dumps(document), "docker-bake.json", directory=Path("/nowhere"))


def test_targets_become_images() -> None:
    batch = bake(
        {
            "variable": {"TAG": {"default": "dev"}, "EMPTY": {}},
            "group": {"default": {"targets": ["app"]}},
            "target": {
                "_common": {"args": {"GO": "1.22"}, "platforms": ["linux/amd64"]},
                "base": {"inherits": ["_common"], "context": "base"},
                "app": {
                    "inherits": ["_common"],
                    "contexts": {"base": "target:base"},
                    "tags": ["r.io/app:${TAG}${EMPTY}"],
                    "secret": ["type=env,id=token,env=TOKEN", {"id": "file", "src": "s.txt"}],
                    "output": ["type=registry", "type=oci,dest=out.d"],
                    "cache-from": ["type=registry,ref=r.io/cache:main"],
                    "annotations": ["manifest:org.example.team=shop", "note=a=b:${TAG}"],
                    "shm-size": "128m",
                    "ulimits": ["nofile=1024:4096", "core=0"],
                    "pull": True,
                },
                "other": {},
            },
        }
    )
    app = batch.image("app")

    assert [image.name for image in batch.images] == ["base", "app"]
    assert app.args == {"GO": "1.22"}
    assert app.tags == ("r.io/app:dev",)
    assert [(s.id, s.env, s.src) for s in app.secrets] == [
        ("token", "TOKEN", ""),
        ("file", "", "s.txt"),
    ]
    assert [(o.type, o.path) for o in app.outputs] == [("oci-layout", "out.d")]
    assert app.annotations == {"org.example.team": "shop", "note": "a=b:dev"}
    assert app.shm_size == "128m"
    assert app.ulimits == {"nofile": "1024:4096", "core": "0"}
    assert app.cache is not None
    assert app.cache.repo == "r.io/cache"


def test_target_called_default_is_built_where_no_group_says_otherwise() -> None:
    batch = bake({"target": {"default": {}, "other": {}}})

    assert [image.name for image in batch.images] == ["default"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"dockerfile-inline": "FROM x"}, "dockerfile-inline of a bake target is not supported"),
        ({"output": ["type=tar,dest=x"]}, "this output is not supported"),
        ({"annotations": ["index:a=b"]}, "this annotation is not supported"),
        ({"tags": ["${upper(x)}"]}, "${ begins a variable"),
    ],
)
def test_what_has_no_counterpart_is_refused(target: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError) as raised:
        bake({"target": {"a": target}})

    assert message in str(raised.value)


def test_what_changes_nothing_is_warned_of() -> None:
    batch = bake({"target": {"a": {"attest": ["type=sbom"], "cache-to": ["type=gha"]}}})

    assert ["attest" in w or "cache-to" in w for w in batch.warnings] == [True, True]
