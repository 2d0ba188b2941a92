"""Contexts in S3 (moto), Google Cloud Storage and Azure (stand-ins)."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.context.conftest import Builds, archive
from tests.integration.context.servers import serving
from tests.integration.context.stores import AzureStore, ObjectStore
from tests.support.daemons import moto, put_object

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "canary-secret"}
LARGE = os.urandom(12 << 20)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with moto() as url:
        put_object(f"{url}/bucket", b"")
        put_object(f"{url}/bucket/context.tar.gz", archive({"a": "default"}))
        put_object(f"{url}/bucket/deep/my%20ctx.tgz", archive({"a": "named"}))
        put_object(f"{url}/bucket/large.tar", archive({"large": LARGE.hex()}, "w"))
        yield url


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ("s3://bucket", b"default"),
        ("s3://bucket/", b"default"),
        ("s3://bucket/deep/my ctx.tgz", b"named"),
    ],
)
def test_object_of_a_bucket_is_the_context(
    builds: Builds, s3: str, context: str, expected: bytes
) -> None:
    image = builds.read(
        "--context",
        context,
        environment={**KEYS, "S3_ENDPOINT": s3, "S3_FORCE_PATH_STYLE": "true"},
    )

    assert image.tree["a"].content == expected


def test_large_object_arrives_in_order(builds: Builds, s3: str) -> None:
    image = builds.read(
        "--context", "s3://bucket/large.tar", environment={**KEYS, "S3_ENDPOINT": s3}
    )

    assert image.tree["large"].content == LARGE.hex().encode()


def test_credentials_of_the_users_profile_are_found(builds: Builds, s3: str) -> None:
    directory = builds.bench.home / ".aws"
    directory.mkdir()
    (directory / "credentials").write_text(
        "[work]\naws_access_key_id = key\naws_secret_access_key = canary-secret\n"
    )
    (directory / "config").write_text("[profile work]\nregion = eu-north-1\n")

    image = builds.read(
        "--context", "s3://bucket", environment={"AWS_PROFILE": "work", "S3_ENDPOINT": s3}
    )

    assert image.tree["a"].content == b"default"


@pytest.mark.parametrize("context", ["s3://bucket/nothing", "s3://elsewhere/x"])
def test_missing_object_is_named(builds: Builds, s3: str, context: str) -> None:
    done = builds.refuse("--context", context, environment={**KEYS, "S3_ENDPOINT": s3})

    assert done.exit_code == 2
    assert context in done.stderr
    assert "canary" not in done.said


def test_object_that_is_no_archive_is_an_error(builds: Builds, s3: str) -> None:
    put_object(f"{s3}/bucket/text", b"hello" * 1000)

    done = builds.refuse("--context", "s3://bucket/text", environment={**KEYS, "S3_ENDPOINT": s3})

    assert done.exit_code == 5
    assert "does not begin as a tar archive" in done.stderr


def test_object_of_google_is_the_context(builds: Builds) -> None:
    store = ObjectStore({"bucket/context.tar.gz": archive({"a": "x"})})
    with serving(store.answer) as host:
        environment = {"STORAGE_EMULATOR_HOST": host}
        image = builds.read("--context", "gs://bucket", environment=environment)
        older = builds.read("-b", "bucket", environment=environment)

    assert image.tree["a"].content == older.tree["a"].content == b"x"


def test_object_that_is_replaced_while_it_is_read_is_an_error(builds: Builds) -> None:
    store = ObjectStore({"bucket/c.tar": archive({"large": LARGE.hex()}, "w")}, change_after=2)
    with serving(store.answer) as host:
        done = builds.refuse(
            "--context", "gs://bucket/c.tar", environment={"STORAGE_EMULATOR_HOST": host}
        )

    assert done.exit_code == 5
    assert "it was replaced while it was read" in done.stderr


AZURE = "https://account.blob.core.windows.net/container/deep/c.tgz"


def test_blob_of_azure_is_the_context(builds: Builds) -> None:
    store = AzureStore({"container/deep/c.tgz": archive({"a": "x"})})
    with serving(store.answer) as host:
        image = builds.read(
            *("--context", AZURE),
            environment={
                "AZURE_STORAGE_ENDPOINT": f"http://{host}",
                "AZURE_STORAGE_ACCESS_KEY": store.key,
            },
        )

    assert image.tree["a"].content == b"x"


def test_wrong_azure_key_is_said_without_it(builds: Builds) -> None:
    store = AzureStore({"container/deep/c.tgz": archive({"a": "x"})})
    with serving(store.answer) as host:
        done = builds.refuse(
            *("--context", AZURE),
            environment={
                "AZURE_STORAGE_ENDPOINT": f"http://{host}",
                "AZURE_STORAGE_ACCESS_KEY": "Y2FuYXJ5LXdyb25n",
            },
        )

    assert done.exit_code == 2
    assert "azure://container/deep/c.tgz" in done.stderr
    assert "Y2FuYXJ5LXdyb25n" not in done.said


def test_missing_library_says_what_to_install(builds: Builds, tmp_path: Path) -> None:
    # A package of that name that cannot be imported stands in for none.
    hidden = tmp_path / "hidden"
    (hidden / "obstore").mkdir(parents=True)
    (hidden / "obstore/__init__.py").write_text("raise ImportError('no obstore')\n")
    path = f"{hidden}:{builds.bench.environment['PYTHONPATH']}"

    done = builds.refuse("--context", "s3://bucket", environment={"PYTHONPATH": path})

    assert done.exit_code == 2
    assert "pip install 'asynckaniko[objectstore]'" in done.stderr
