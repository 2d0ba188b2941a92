"""From a planned image to what the Builder is asked for, one request for each platform."""

import os
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from asynckaniko.batch.document import Findings
from asynckaniko.batch.graph import dockerfile_path
from asynckaniko.batch.inputs import resolved_args
from asynckaniko.batch.manifest import LATE_VARIABLE, SecretSource
from asynckaniko.batch.plan import TARGET, Batch, PlannedImage
from asynckaniko.batch.quantities import parse_duration
from asynckaniko.build.request import (
    BuildRequest,
    Cache,
    DockerArchive,
    OciLayout,
    Output,
    Push,
    Secret,
    StepLimits,
)
from asynckaniko.build.step_limits import parse_shm_size, parse_ulimit
from asynckaniko.context.options import ContextOptions
from asynckaniko.oci.platform import Platform
from asynckaniko.oci.reference import Reference
from asynckaniko.records import dataclass

INPUT_LABEL = "asynckaniko.input-digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the process brings to every build of a batch."""

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    context_options: ContextOptions = field(default_factory=ContextOptions)
    source_date_epoch: int | None = None
    push: bool = True
    check_push: bool = True
    secrets_directory: Path | None = None
    """In a Pod: where the cluster's Secrets are, a directory for each."""


@dataclass(frozen=True, slots=True)
class Requests:
    """Makes build requests for the images of one batch."""

    batch: Batch
    around: Surroundings

    def make(
        self,
        image: PlannedImage,
        platform: str,
        *,
        sources: Mapping[str, str],
        tags: tuple[str, ...],
        layout: Path | None,
        labels: Mapping[str, str],
    ) -> BuildRequest:
        """Ask for one platform of an image.

        `sources` says where each image it needs is; `tags` are pushed by the build itself;
        `layout` is where others will read the image.
        """
        directory = self.batch.local_path(image.context)
        outputs: list[Output] = [Push(reference=tag) for tag in tags]
        if layout is not None:
            outputs.append(OciLayout(path=layout))
        outputs += self._outputs(image, platform)
        return BuildRequest(
            context=str(directory or image.context),
            context_options=self.around.context_options,
            dockerfile=self._dockerfile(image, directory),
            target=image.target,
            platform=platform,
            build_args=resolved_args(image, self.around.environment),
            labels={**image.labels, **labels},
            annotations=image.annotations,
            step_limits=_step_limits(image),
            build_contexts=self._contexts(image, sources),
            secrets={secret.id: self._secret(secret) for secret in image.secrets},
            outputs=tuple(outputs),
            check_push=self.around.check_push,
            cache=_cache(image),
            source_date_epoch=self.around.source_date_epoch,
        )

    def _dockerfile(self, image: PlannedImage, directory: Path | None) -> str:
        if directory is None:
            return image.dockerfile
        name = dockerfile_path(self.batch.directory, directory, image.dockerfile)
        # As people would write it from where they are: errors show it.
        here = os.getcwd()
        inside = "://" not in name and Path(name).is_relative_to(here)
        return os.path.relpath(name, here) if inside else name

    def _contexts(self, image: PlannedImage, sources: Mapping[str, str]) -> dict[str, str]:
        found = {tag: sources[name] for tag, name in image.tag_needs.items()}
        for name, value in image.contexts.items():
            if value.startswith(TARGET):
                found[name] = sources[value.removeprefix(TARGET)]
            elif value.startswith("oci-layout://"):
                # Without `..`, as local_path has it: messages show it.
                path = os.path.normpath(self.batch.directory / value.removeprefix("oci-layout://"))
                found[name] = f"oci-layout://{path}"
            else:
                found[name] = str(self.batch.local_path(value) or value)
        return found

    def _secret(self, secret: SecretSource) -> Secret:
        if self.around.secrets_directory and secret.kubernetes:
            key = secret.kubernetes
            return Secret(path=self.around.secrets_directory / key.name / key.key)
        if secret.env:
            value = self.around.environment[secret.env]
            return Secret(value=value.encode(errors="surrogateescape"))
        return Secret(path=self.batch.directory / secret.src)

    def _outputs(self, image: PlannedImage, platform: str) -> list[Output]:
        several = len(image.platforms) > 1
        found: list[Output] = []
        for output in image.outputs:
            path = self.batch.directory / output.path
            if several:
                path = path.with_name(f"{path.stem}-{platform.replace('/', '-')}{path.suffix}")
            if output.type == "oci-layout":
                found.append(OciLayout(path=path))
            else:
                references = tuple(str(Reference.parse(tag)) for tag in image.tags)
                found.append(DockerArchive(path=path, references=references))
        return found


def _cache(image: PlannedImage) -> Cache | None:
    options = image.cache
    if options is None:
        return None
    return Cache(
        repository=options.repo,
        write=options.write,
        run_layers=options.run_layers,
        copy_layers=options.copy_layers,
        ttl_seconds=parse_duration(options.ttl),
    )


def _step_limits(image: PlannedImage) -> StepLimits:
    return StepLimits(
        ulimits={name: parse_ulimit(text) for name, text in image.ulimits.items()},
        shm_size=parse_shm_size(image.shm_size) if image.shm_size else None,
    )


def platforms_of(image: PlannedImage) -> tuple[str, ...]:
    """List what an image is built for: this machine's platform, unless the manifest says."""
    return image.platforms or (str(Platform.host()),)


def tags_of(image: PlannedImage, input_digest: str) -> tuple[str, ...]:
    """Return the tags with the late variable filled in."""
    hexadecimal = input_digest.removeprefix("sha256:")
    late = f"${{{LATE_VARIABLE}}}"
    return tuple(str(Reference.parse(tag.replace(late, hexadecimal))) for tag in image.tags)


def uses_input_digest(image: PlannedImage) -> bool:
    return any(f"${{{LATE_VARIABLE}}}" in tag for tag in image.tags)


def check_here(batch: Batch, around: Surroundings) -> None:
    """Find what would keep builds from starting on this machine. Raises ManifestError."""
    findings = Findings(batch.source, batch.file)
    needed = {need for image in batch.images for need in image.needs}
    for image in batch.images:
        contexts = {"context": image.context}
        contexts |= {f"contexts.{name}": value for name, value in image.contexts.items()}
        for field_name, value in contexts.items():
            directory = None if value.startswith(TARGET) else batch.local_path(value)
            if directory is not None and not directory.is_dir():
                place = image.place(*field_name.split(".", 1))
                findings.error(place, f"{image.name}: there is no directory {directory}")
        for position, secret in enumerate(image.secrets):
            place = image.place("secrets", position)
            if around.secrets_directory and secret.kubernetes:
                continue
            if secret.env and secret.env not in around.environment:
                findings.error(place, f"secret {secret.id}: {secret.env} is not set")
            elif not secret.env and not (batch.directory / secret.src).is_file():
                findings.error(place, f"secret {secret.id}: there is no file {secret.src}")
        if around.push and not image.tags and not image.outputs and image.name not in needed:
            findings.error(
                image.node.place,
                f"{image.name} would go nowhere: give it tags or outputs, or use --no-push",
            )
    findings.check()
