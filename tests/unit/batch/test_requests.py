"""What the Builder is asked for, for one image of a manifest."""

import pytest

from asynckaniko.batch.requests import Requests, Surroundings
from asynckaniko.build.request import BuildRequest
from tests.unit.batch.manifests import read


def request_of(text: str) -> BuildRequest:
    """Return the request for the only image of a manifest in /nowhere."""
    batch = read(text)
    (image,) = batch.images
    return Requests(batch, Surroundings()).make(
        image, "linux/amd64", sources={}, tags=(), layout=None, labels={}
    )


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("layouts/../busybox:1", "oci-layout:///nowhere/busybox:1"),
        ("./busybox", "oci-layout:///nowhere/busybox"),
        ("../busybox", "oci-layout:///busybox"),
        ("/srv/./busybox:1", "oci-layout:///srv/busybox:1"),
    ],
)
def test_layout_is_named_by_its_plain_path(written: str, asked: str) -> None:
    request = request_of(
        f"""
        images:
          a: {{contexts: {{busybox: "oci-layout://{written}"}}}}
        """
    )

    assert request.build_contexts == {"busybox": asked}


def test_limits_and_annotations_reach_the_build() -> None:
    request = request_of(
        """
        variables: {TEAM: shop}
        defaults: {ulimits: {core: 0, nofile: "1024:4096"}, shmSize: 1g}
        images:
          a:
            ulimits: {nofile: "512:-1"}
            annotations: {org.example.team: "${TEAM}"}
        """
    )

    assert request.step_limits.ulimits == {"core": (0, 0), "nofile": (512, -1)}
    assert request.step_limits.shm_size == 1024**3
    assert request.annotations == {"org.example.team": "shop"}
