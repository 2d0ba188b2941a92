"""StageState: config and variables at one point of a stage, evaluated without touching a file."""

from typing import TYPE_CHECKING, Self

from asynckaniko.build.plan import PlannedStage
from asynckaniko.build.scope import StageScope
from asynckaniko.build.sources import FromImage
from asynckaniko.build.steps.metadata import MetadataSteps
from asynckaniko.oci.config import DEFAULT_PATH, ImageConfig
from asynckaniko.records import dataclass

if TYPE_CHECKING:
    from asynckaniko.build.context import BuildRun


@dataclass(slots=True)
class StageState:
    """What instructions see and change. `metadata` carries out those that only change it."""

    run: "BuildRun"
    planned: PlannedStage
    config: ImageConfig
    scope: StageScope
    metadata: MetadataSteps

    @classmethod
    def start(cls, run: "BuildRun", planned: PlannedStage, parent: "StageState | None") -> Self:
        """Begin a stage on its base; `parent` is the stage it is FROM, at its end."""
        scope = None
        if parent is not None:
            config, scope = parent.config.fork(), parent.scope.fork()
        elif isinstance(planned.base, FromImage):
            config = planned.base.image.config.fork()
            config.created = ""
        else:
            config = ImageConfig.scratch(planned.platform)
        config.runtime.pop("OnBuild", None)
        if not any(entry.startswith("PATH=") for entry in config.env):
            config.runtime["Env"] = [*config.env, DEFAULT_PATH]
        if scope is None:
            scope = StageScope.for_base(run.scope, config.env)
        return cls(run, planned, config, scope, MetadataSteps(config, scope))

    @property
    def workdir(self) -> str:
        return self.config.runtime.get("WorkingDir") or "/"

    @property
    def user(self) -> str:
        return self.config.runtime.get("User") or ""
