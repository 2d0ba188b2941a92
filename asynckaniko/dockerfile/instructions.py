"""The instructions as data: what the parser makes of each logical line, nothing expanded yet.

Dockerfile reference; BuildKit's frontend/dockerfile/instructions is the model for the fields.
Words keep their quotes and variables: `expansion` resolves them when a stage is evaluated.
"""

from dataclasses import field
from typing import TypeAlias

from asynckaniko.errors import SourceSpan
from asynckaniko.records import dataclass


@dataclass(frozen=True, slots=True)
class Heredoc:
    """One `<<WORD` and its body. `expand` is False when any part of WORD was quoted."""

    name: str
    content: str
    expand: bool
    chomp: bool = False
    """`<<-`: leading tabs are stripped from `content` already."""
    file_descriptor: int = 0
    raw: str = ""
    """The body as written: `content` with its tabs. A shell gets this one."""


@dataclass(frozen=True, slots=True)
class Command:
    """RUN, CMD, ENTRYPOINT: a shell line or an argument vector (the JSON form)."""

    shell: str = ""
    argv: tuple[str, ...] = ()
    is_exec: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """What all instructions have. `original` is the text as written, heredoc bodies excluded."""

    span: SourceSpan
    original: str
    comments: tuple[str, ...] = ()
    """Comment lines directly above, without `#`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class From(Instruction):
    image: str
    platform: str = ""
    name: str = ""
    """Lower-cased stage name, or empty."""
    name_as_written: str = ""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """`value` is None for `ARG NAME`. `legacy` marks the `ENV key value` form."""

    key: str
    value: str | None
    legacy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Instruction):
    pairs: tuple[KeyValue, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(Instruction):
    pairs: tuple[KeyValue, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Instruction):
    pairs: tuple[KeyValue, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Instruction):
    """`mounts` are the raw values of --mount; run_mounts reads them after expansion."""

    command: Command
    heredocs: tuple[Heredoc, ...] = ()
    mounts: tuple[str, ...] = ()
    network: str = ""
    security: str = ""
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Instruction):
    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    """Sources given as heredocs; `sources` does not repeat them."""
    from_: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    excludes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Instruction):
    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    chown: str = ""
    chmod: str = ""
    link: bool = False
    excludes: tuple[str, ...] = ()
    checksum: str = ""
    keep_git_dir: bool | None = None
    unpack: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Instruction):
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Instruction):
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Instruction):
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(Instruction):
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(Instruction):
    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(Instruction):
    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Instruction):
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck(Instruction):
    """Times in nanoseconds, 0 for not given. `test` is Docker's: NONE, CMD ... or CMD-SHELL ..."""

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSignal(Instruction):
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OnBuild(Instruction):
    """`trigger` is the instruction's text, stored in the image."""

    trigger: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(Instruction):
    name: str


StageInstruction: TypeAlias = (
    Arg
    | Env
    | Label
    | Run
    | Copy
    | Add
    | Workdir
    | User
    | Volume
    | Expose
    | Cmd
    | Entrypoint
    | Shell
    | Healthcheck
    | StopSignal
    | OnBuild
    | Maintainer
)


@dataclass(frozen=True, slots=True)
class Stage:
    """A FROM and what follows it. `index` counts from 0 in file order."""

    index: int
    base: From
    instructions: tuple[StageInstruction, ...] = ()

    @property
    def label(self) -> str:
        """How people see it: its name as written, or its index."""
        return self.base.name_as_written or str(self.index)


@dataclass(frozen=True, slots=True)
class Warning:
    """A finding that does not stop the build. `rule` is BuildKit's rule name."""

    rule: str
    message: str
    span: SourceSpan


@dataclass(frozen=True, slots=True)
class Directives:
    """Parser directives at the top of the file."""

    syntax: str = ""
    escape: str = "\\"
    check: str = ""
    check_line: int = 0


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A parsed file. `args` are the ARGs before the first FROM. `text` is the decoded source."""

    name: str
    text: str
    directives: Directives
    args: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    warnings: tuple[Warning, ...] = field(default=())
