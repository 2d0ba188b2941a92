"""Commands in the executor's own root filesystem, where a Pod forbids everything else."""

import pytest

from tests.integration.pods.conftest import PodFactory

# The first test of a session may have to wait until the image is built.
pytestmark = pytest.mark.timeout(600)


def test_packages_install_in_an_ordinary_pod(pod: PodFactory, debian: str) -> None:
    there = pod("runtime-default")
    there.write(
        f"FROM {debian}\nRUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install"
        " -q -y --no-install-recommends iputils-ping dbus\n"
    )

    image = there.build("--insecure-pull")

    (packages,) = image.layers[3:]
    helper = packages["usr/lib/dbus-1.0/dbus-daemon-launch-helper"]
    assert helper.permissions == "-rwsr-xr--"
    assert f"messagebus:x:{helper.gid}:" in packages["etc/group"].content.decode()
