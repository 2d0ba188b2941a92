import json
import time
from pathlib import Path

import pytest

from tests.integration.batch.conftest import Batches
from tests.support.images import Image

IMAGES = 200
MEMORY = 128 << 20
DESCRIPTORS = 100
ALL_DESCRIPTORS = 250
"""With those of the processes below."""


def peak_memory(process: int) -> int:
    """Return the most bytes the process has had resident."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def descriptors_below(process: int) -> int:
    """Count the open descriptors of a process and of all that it has started."""
    count, waiting = 0, [process]
    while waiting:
        number = waiting.pop()
        try:
            count += len(list(Path(f"/proc/{number}/fd").iterdir()))
            for children in Path(f"/proc/{number}/task").glob("*/children"):
                waiting += map(int, children.read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
    return count


@pytest.mark.timeout(300)
def test_two_hundred_images_in_one_process_take_bounded_memory_and_descriptors(
    batches: Batches, busybox_image: Image
) -> None:
    busybox_image.push(batches.registry, "busybox", "1")
    numbers = ", ".join(f'"{number}"' for number in range(IMAGES))
    batches.write(
        f"""
images:
  app:
    matrix: {{n: [{numbers}]}}
    args: {{N: "${{n}}"}}
    tags: ["HOST/many:${{n}}"]
""",
        {"Dockerfile": "FROM HOST/busybox:1\nARG N\nRUN echo $N > /n\n"},
    )
    mark = batches.registry.mark()
    memory = descriptors = all_descriptors = 0

    with batches.bench.start(batches.command("--progress", "none")) as process:
        while process.poll() is None:
            try:
                memory = max(memory, peak_memory(process.pid))
                descriptors = max(descriptors, len(list(Path(f"/proc/{process.pid}/fd").iterdir())))
            except (FileNotFoundError, ProcessLookupError, StopIteration):
                break  # it is a zombie by now
            all_descriptors = max(all_descriptors, descriptors_below(process.pid))
            time.sleep(0.05)

    assert process.returncode == 0
    tags = json.loads(batches.registry.call("GET", "/v2/many/tags/list")[1])["tags"]
    assert len(tags) == IMAGES
    downloads = [r.path for r in batches.registry.requests(mark) if r.is_blob_download]
    assert len([path for path in downloads if busybox_image.layers[0] in path]) == 1
    assert 0 < memory < MEMORY
    assert 0 < descriptors < DESCRIPTORS
    assert descriptors < all_descriptors < ALL_DESCRIPTORS
