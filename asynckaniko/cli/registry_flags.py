"""The flags about registries, which most commands have."""

from asynckaniko.cli.flag_groups import Make
from asynckaniko.cli.flag_values import NUMBER, SIZE, SWITCH, repeated
from asynckaniko.cli.flags import Flag


def registries(flag: Make) -> list[Flag]:
    host = repeated("HOST[:PORT]")
    return [
        flag("--insecure", value=SWITCH, help="Push over plain http."),
        flag("--insecure-pull", value=SWITCH, help="Pull over plain http."),
        flag(
            "--insecure-registry",
            value=host,
            help="Pull from and push to this registry over plain http.",
        ),
        flag(
            "--skip-tls-verify",
            value=SWITCH,
            help="Do not verify the certificates of registries that are pushed to.",
        ),
        flag(
            "--skip-tls-verify-pull",
            value=SWITCH,
            help="Do not verify the certificates of registries that are pulled from.",
        ),
        flag(
            "--skip-tls-verify-registry",
            value=host,
            help="Do not verify the certificate of this registry.",
        ),
        flag(
            "--registry-mirror",
            value=repeated("HOST[/PREFIX]"),
            variable="KANIKO_REGISTRY_MIRROR",
            help="Ask this mirror before docker.io.",
        ),
        flag(
            "--registry-map",
            value=repeated("REGISTRY=HOST[/PREFIX]"),
            variable="KANIKO_REGISTRY_MAP",
            help="Ask this mirror before the registry; several are separated by semicolons.",
        ),
        flag(
            "--skip-default-registry-fallback",
            value=SWITCH,
            help="Do not ask the registry itself when its mirrors fail.",
        ),
        flag(
            "--credential-helpers",
            value=repeated("NAME"),
            default="all of them",
            help="Ask this source of credentials after the auth files: env, google, ecr, acr or "
            "gitlab; an empty value alone: none.",
        ),
        flag(
            "--skip-push-permission-check",
            value=SWITCH,
            help="Do not find out at the start whether pushes will be allowed.",
        ),
        flag(
            "--push-ignore-immutable-tag-errors",
            value=SWITCH,
            help="Succeed where a registry refuses to overwrite a tag; the tag stays as it is.",
        ),
        flag(
            "--push-chunk-size",
            value=SIZE,
            default="0, a layer in one request",
            help="Push layers in requests of this size, for registries and proxies that limit it.",
        ),
        flag(
            "--push-early-size",
            value=SIZE,
            default="64MiB",
            help="Begin to push a layer that is being packed when it has this size; 0: push it "
            "when it is complete.",
        ),
        flag(
            "--push-retry",
            value=NUMBER,
            default="7",
            help="Retries of a request that may succeed later; more than the default only.",
        ),
        flag(
            "--image-download-retry",
            value=NUMBER,
            default="7",
            help="The same, for pulls.",
        ),
        flag(
            "--registry-certificate",
            value=repeated("HOST=FILE"),
            help="Trust the certificates in a PEM file for this registry.",
        ),
        flag(
            "--registry-client-cert",
            value=repeated("HOST=CERT,KEY"),
            help="Present a client certificate to this registry.",
        ),
    ]
