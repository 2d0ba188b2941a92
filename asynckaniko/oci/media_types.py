"""OCI and Docker media types, and which pairs with which.

image-spec v1.1 media-types.md; Docker Image Manifest V2 Schema 2.
"""

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"

DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"
DOCKER_LAYER_ZSTD = DOCKER_LAYER + ".zstd"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
ACCEPT = ", ".join((OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST))
"""What a request for a manifest or index asks for."""
CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})

_TO_OCI = {
    DOCKER_LIST: OCI_INDEX,
    DOCKER_MANIFEST: OCI_MANIFEST,
    DOCKER_CONFIG: OCI_CONFIG,
    DOCKER_LAYER: OCI_LAYER,
    DOCKER_LAYER_GZIP: OCI_LAYER_GZIP,
    DOCKER_LAYER_ZSTD: OCI_LAYER_ZSTD,
}
_TO_DOCKER = {oci: docker for docker, oci in _TO_OCI.items()}


def to_oci(media_type: str) -> str:
    """Return the OCI name of the same format; a type that has none stays as it is."""
    return _TO_OCI.get(media_type, media_type)


def to_docker(media_type: str) -> str:
    """Return the Docker name of the same format; a type that has none stays as it is."""
    return _TO_DOCKER.get(media_type, media_type)


def is_foreign(media_type: str) -> bool:
    """Tell whether a layer may not be uploaded (image-spec: non-distributable layers)."""
    return "nondistributable" in media_type or media_type == DOCKER_FOREIGN_LAYER
