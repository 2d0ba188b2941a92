import json
from typing import Any

import pytest

from asynckaniko.errors import IntegrityError, NoMatchingPlatform
from asynckaniko.oci import media_types
from asynckaniko.oci.manifest import Index, Manifest, parse
from asynckaniko.oci.platform import Platform

DIGEST = "sha256:" + "ab" * 32


def descriptor(media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": DIGEST, "size": 3, **more}


def manifest(**changes: Any) -> dict[str, Any]:
    document = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": descriptor(media_types.OCI_CONFIG),
        "layers": [descriptor(media_types.OCI_LAYER_GZIP)],
    }
    return {k: v for k, v in {**document, **changes}.items() if v is not None}


def index(*platforms: str) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_INDEX,
        "manifests": [
            descriptor(media_types.OCI_MANIFEST, platform=Platform.parse(text).to_json())
            for text in platforms
        ],
    }


def read(document: Any, media_type: str = "") -> Manifest | Index:
    return parse(json.dumps(document).encode(), media_type=media_type, where="test")


def test_manifest_keeps_the_bytes_it_was_read_from() -> None:
    content = json.dumps(manifest(), indent=4).encode()

    parsed = parse(content, media_type=media_types.OCI_MANIFEST, where="test")

    assert isinstance(parsed, Manifest)
    assert parsed.content == content
    assert parsed.descriptor.size == len(content)


@pytest.mark.parametrize(
    ("document", "announced"),
    [
        (manifest(manifests=[]), media_types.OCI_MANIFEST),
        (manifest(), media_types.OCI_INDEX),
        (manifest(mediaType=media_types.OCI_INDEX), ""),
        (manifest(mediaType="text/plain"), ""),
        (manifest(schemaVersion=1), ""),
        (manifest(config=None), ""),
        (manifest(layers=[{"digest": DIGEST}]), ""),
        (manifest(layers=[descriptor("x", size=-1)]), ""),
        (manifest(layers=[descriptor("x", size=True)]), ""),
        (manifest(layers=[descriptor("x", annotations=["a"])]), ""),
        (manifest(layers=[descriptor("x", annotations={"a": 1})]), ""),
        (manifest(layers={}), media_types.OCI_MANIFEST),
        ([], ""),
        ({"schemaVersion": 2}, media_types.OCI_MANIFEST),
    ],
)
def test_documents_that_are_two_things_or_none_are_refused(document: Any, announced: str) -> None:
    if document == manifest(layers={}):
        document["layers"] = {"a": 1}
    with pytest.raises(IntegrityError):
        read(document, announced)


def test_repeated_key_is_refused_since_parsers_disagree_about_it() -> None:
    text = json.dumps(manifest())
    twice = text[:-1] + ', "config": {}}'

    with pytest.raises(IntegrityError, match="occurs twice"):
        parse(twice.encode(), media_type="", where="test")


def test_deep_nesting_is_an_error_and_not_a_crash() -> None:
    with pytest.raises(IntegrityError):
        parse(b"[" * 200_000, media_type="", where="test")


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], 1),
        ("linux/arm64/v8", ["linux/amd64", "linux/arm64"], 1),
        ("linux/arm/v7", ["linux/arm/v6", "linux/arm/v7"], 1),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6"], 1),
        ("linux/amd64/v3", ["linux/amd64/v2", "linux/amd64"], 0),
    ],
)
def test_best_manifest_for_the_platform_is_chosen(
    wanted: str, offered: list[str], chosen: int
) -> None:
    found = read(index(*offered))
    assert isinstance(found, Index)

    assert found.choose(Platform.parse(wanted), name="image") is found.manifests[chosen]


def test_error_for_a_missing_platform_lists_what_there_is() -> None:
    found = read(index("linux/arm64", "linux/s390x"))
    assert isinstance(found, Index)

    with pytest.raises(NoMatchingPlatform, match=r"amd64.*linux/arm64, linux/s390x"):
        found.choose(Platform.parse("linux/amd64"), name="image")
