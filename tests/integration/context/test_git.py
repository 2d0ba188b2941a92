"""Contexts and ADD sources that are git repositories: served by git itself, and over http."""

import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.context.conftest import DOCKERFILE, Builds, Repository, git
from tests.integration.context.servers import SmartGit, serving
from tests.support.daemons import git_daemon

GIT = {"GIT_PULL_METHOD": "git"}
HTTP = {"GIT_PULL_METHOD": "http"}


@pytest.fixture
def project(repositories: Path) -> Repository:
    made = Repository(repositories)
    made.commit({"Dockerfile": DOCKERFILE, "a": "one"})
    return made


@pytest.fixture
def daemon(repositories: Path, project: Repository) -> Iterator[str]:
    with git_daemon(repositories) as host:
        yield host


@pytest.fixture
def smart(repositories: Path, project: Repository) -> Iterator[tuple[str, SmartGit]]:
    server = SmartGit(repositories)
    with serving(server.answer) as host:
        yield host, server


def history(builds: Builds, url: str, *arguments: str, **environment: str) -> list[str]:
    """Return the refs and commits that a context's own .git holds."""
    builds.bench.write("FROM scratch\nCOPY --from=repository .git /git\n")
    image = builds.read(
        *("--context", str(builds.bench.context), "--build-context", f"repository={url}"),
        *arguments,
        environment={**GIT, **environment},
    )
    return sorted(name.removeprefix("git/") for name in image.tree)


def test_default_branch_is_the_context(builds: Builds, daemon: str) -> None:
    image = builds.read("--context", f"git://{daemon}/project.git", environment=GIT)

    assert image.tree["a"].content == b"one"
    assert image.tree["a"].mtime == 1_600_000_000


def test_pull_method_chooses_the_protocol(builds: Builds, smart: tuple[str, SmartGit]) -> None:
    image = builds.read("--context", f"git://{smart[0]}/project.git", environment=HTTP)

    assert image.tree["a"].content == b"one"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("side", b"side"),
        ("refs/heads/side", b"side"),
        ("v1", b"tagged"),
        ("refs/tags/v1", b"tagged"),
        ("both", b"branch"),
        ("{first}", b"one"),
        ("refs/heads/main#{first}", b"one"),
        ("#{first}", b"one"),
        ("{first:.8}", b"one"),
    ],
)
def test_reference_and_commit_choose_what_is_checked_out(
    builds: Builds, project: Repository, daemon: str, reference: str, expected: bytes
) -> None:
    first = git("rev-parse", "HEAD", cwd=project.work)
    project.commit({"a": "tagged"}, tag="v1")
    git("tag", "both", cwd=project.work)
    git("push", "-q", "origin", "refs/tags/both", cwd=project.work)
    project.commit({"a": "branch"}, branch="both-branch")
    git("push", "-q", "origin", "both-branch:refs/heads/both", cwd=project.work)
    project.commit({"a": "side"}, branch="side")
    git("checkout", "-q", "main", cwd=project.work)
    project.commit({"a": "newest"})

    fragment = reference.replace("{first:.8}", first[:8]).format(first=first)
    image = builds.read("--context", f"git://{daemon}/project.git#{fragment}", environment=GIT)

    assert image.tree["a"].content == expected


def test_commit_is_found_in_the_history_where_the_server_gives_only_what_it_names(
    builds: Builds, project: Repository, daemon: str
) -> None:
    first = git("rev-parse", "HEAD", cwd=project.work)
    git("config", "uploadpack.allowAnySHA1InWant", "false", cwd=project.bare)
    project.commit({"a": "newest"})

    # The old protocol: the new one gives any commit it has.
    image = builds.read(
        "--context",
        f"git://{daemon}/project.git#{first}",
        environment=GIT,
    )

    assert image.tree["a"].content == b"one"


def test_subdirectory_is_the_context(builds: Builds, project: Repository, daemon: str) -> None:
    project.commit({"app/Dockerfile": "FROM scratch\nCOPY x /\n", "app/x": "inner"})

    image = builds.read("--context", f"git://{daemon}/project.git#main:app", environment=GIT)

    assert set(image.tree) == {"x"}


@pytest.mark.parametrize("subdirectory", ["../..", "app/../../..", "out", "a"])
def test_subdirectory_stays_in_the_repository(
    builds: Builds, project: Repository, daemon: str, subdirectory: str
) -> None:
    (project.work / "out").symlink_to("/etc")
    project.push()

    done = builds.refuse(
        "--context", f"git://{daemon}/project.git#main:{subdirectory}", environment=GIT
    )

    assert done.exit_code == 2, done.said


def test_branch_option_chooses_where_the_url_does_not(
    builds: Builds, project: Repository, daemon: str
) -> None:
    project.commit({"a": "side"}, branch="side")

    image = builds.read(
        "--context", f"git://{daemon}/project.git", "--git", "branch=side", environment=GIT
    )

    assert image.tree["a"].content == b"side"


def test_history_is_shallow_unless_it_is_asked_for(
    builds: Builds, project: Repository, daemon: str
) -> None:
    project.commit({"a": "two"}, tag="v1")
    project.commit({"a": "side"}, branch="side")
    url = f"git://{daemon}/project.git#main"

    assert "shallow" in history(builds, url)
    full = history(builds, url, "--git", "depth=0")
    assert "shallow" not in full
    single = history(builds, url, "--git", "depth=0", "--git", "single-branch=true")
    assert "shallow" not in single
    assert "refs/remotes/origin/side" in full
    assert "refs/remotes/origin/side" not in single


def test_unknown_reference_is_named(builds: Builds, daemon: str) -> None:
    done = builds.refuse("--context", f"git://{daemon}/project.git#nowhere", environment=GIT)

    assert done.exit_code == 2
    assert "no branch, tag or commit nowhere" in done.stderr


def test_unknown_repository_is_named(builds: Builds, daemon: str) -> None:
    done = builds.refuse("--context", f"git://{daemon}/nothing.git", environment=GIT)

    assert done.exit_code == 2
    assert f"git repository git://{daemon}/nothing.git" in done.stderr


@pytest.mark.parametrize(
    ("url", "environment"),
    [
        ("http://{host}/project.git", {"GIT_USERNAME": "user", "GIT_PASSWORD": "canary-word"}),
        ("http://user:canary-word@{host}/project.git#main", {}),
        ("git://user:canary-word@{host}/project.git", HTTP),
    ],
)
def test_password_is_sent_and_kept_nowhere(
    builds: Builds, smart: tuple[str, SmartGit], url: str, environment: dict[str, str]
) -> None:
    host, server = smart
    server.password = "user:canary-word"

    image = builds.read("--context", url.format(host=host), environment=environment)

    assert image.tree["a"].content == b"one"
    found = subprocess.run(["grep", "-r", "canary", str(builds.bench.state)], capture_output=True)
    assert found.returncode == 1
    builds.bench.write("FROM scratch\nCOPY --from=r . /\n")
    context = (
        "--context",
        str(builds.bench.context),
        "--build-context",
        f"r={url.format(host=host)}",
    )
    image = builds.read(*context, environment=environment)
    assert ".git/config" in image.tree
    assert not [name for name, entry in image.tree.items() if b"canary" in entry.content]


def test_token_is_the_user_name(builds: Builds, smart: tuple[str, SmartGit]) -> None:
    host, server = smart
    server.password = "canary-token:"

    image = builds.read(
        "--context", f"http://{host}/project.git", environment={"GIT_TOKEN": "canary-token"}
    )

    assert image.tree["a"].content == b"one"


def test_no_access_says_what_to_set(builds: Builds, smart: tuple[str, SmartGit]) -> None:
    host, server = smart
    server.password = "user:right"

    done = builds.refuse(
        "--context",
        f"http://{host}/project.git",
        environment={"GIT_USERNAME": "user", "GIT_PASSWORD": "canary-wrong"},
    )

    assert "set GIT_TOKEN" in done.stderr
    assert "canary" not in done.said


def test_password_is_for_the_contexts_host_only(
    builds: Builds, smart: tuple[str, SmartGit], repositories: Path
) -> None:
    host, server = smart
    server.password = "user:word"
    other = SmartGit(repositories, password="other:word")
    with serving(other.answer) as elsewhere:
        dockerfile = builds.bench.directory / "D"
        dockerfile.write_text(f"FROM scratch\nADD http://{elsewhere}/project.git /\n")
        done = builds.refuse(
            *("--context", f"http://{host}/project.git", "-f", "D"),
            environment={"GIT_USERNAME": "user", "GIT_PASSWORD": "word"},
        )

    assert f"ADD: git repository http://{elsewhere}/project.git" in done.stderr
    assert {given for _, given in other.requests} == {""}


def test_secret_signs_in_to_another_host(builds: Builds, smart: tuple[str, SmartGit]) -> None:
    host, server = smart
    server.password = "x-access-token:word"
    builds.bench.write(f"FROM scratch\nADD http://{host}/project.git /\n")

    image = builds.read(
        *("--context", str(builds.bench.context)),
        *("--secret", f"id=GIT_AUTH_TOKEN.{host},env=WORD"),
        environment={"WORD": "word"},
    )

    assert image.tree["a"].content == b"one"


def test_submodules_come_on_request(
    builds: Builds, project: Repository, repositories: Path, smart: tuple[str, SmartGit]
) -> None:
    host, server = smart
    server.password = "user:word"
    library = Repository(repositories, "library.git")
    library.commit({"lib": "code"})
    git("submodule", "add", "-q", "../library.git", "library", cwd=project.work)
    project.push()
    url = f"http://user:word@{host}/project.git"

    without = builds.read("--context", url)
    with_them = builds.read("--context", url, "--git", "recurse-submodules=true")

    assert "library/lib" not in without.tree
    assert with_them.tree["library/lib"].content == b"code"


@pytest.mark.parametrize(
    "url",
    ["ext::touch {canary}", "file://{other}", "{other}", "--upload-pack=touch {canary}"],
)
def test_submodule_urls_that_are_no_network_are_refused(
    builds: Builds, project: Repository, daemon: str, tmp_path: Path, url: str
) -> None:
    canary, other = tmp_path / "canary", tmp_path / "other.git"
    git("clone", "-q", "--bare", str(project.bare), str(other), cwd=tmp_path)
    commit = git("rev-parse", "HEAD", cwd=project.work)
    text = url.format(canary=canary, other=other)
    (project.work / ".gitmodules").write_text(
        f'[submodule "s"]\n\tpath = s\n\turl = {text}\n\tupdate = !touch {canary}\n'
    )
    git("update-index", "--add", "--cacheinfo", f"160000,{commit},s", cwd=project.work)
    git("add", ".gitmodules", cwd=project.work)
    git("commit", "-q", "-m", "submodule", cwd=project.work)
    git("push", "-q", "origin", "main", cwd=project.work)

    done = builds.run(
        *("--no-push", "--context", f"git://{daemon}/project.git"),
        *("--git", "recurse-submodules"),
        environment=GIT,
    )

    assert not canary.exists()
    assert done.exit_code == 2, done.said


@pytest.mark.parametrize(
    "url",
    [
        "git://{host}/project.git#--upload-pack=touch {canary}",
        "git://{host}/project.git#-ofoo",
        "git://{host}/project.git#main:--x",
        "git://-oProxyCommand=touch {canary}/project.git",
        "ssh://-oProxyCommand=touch%20{canary}/project.git",
        "ssh://a@-oProxyCommand=x/project.git",
        "git@-oProxyCommand=touch:project.git",
        "git@host:--upload-pack=touch",
        "git://{host}/project.git#ma\nin",
        "git://{host}/project.git#a..b",
    ],
)
def test_hostile_urls_and_refs_run_nothing(
    builds: Builds, daemon: str, tmp_path: Path, url: str
) -> None:
    canary = tmp_path / "canary"

    done = builds.refuse("--context", url.format(host=daemon, canary=canary), environment=GIT)

    assert not canary.exists()
    assert done.exit_code == 2, done.said


def test_configuration_of_the_user_and_hooks_have_no_effect(
    builds: Builds, project: Repository, daemon: str, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    hook = hooks / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {canary}\n")
    hook.chmod(0o755)
    (builds.bench.home / ".gitconfig").write_text(
        f"[core]\n\thooksPath = {hooks}\n\tfsmonitor = touch {canary}\n"
        f'[filter "x"]\n\tsmudge = touch {canary}\n[init]\n\ttemplateDir = {hooks}\n'
    )
    project.commit({".gitattributes": "* filter=x\n"})

    image = builds.read("--context", f"git://{daemon}/project.git", environment=GIT)

    assert image.tree["a"].content == b"one"
    assert not canary.exists()


def test_without_git_the_error_says_so(builds: Builds, daemon: str, tmp_path: Path) -> None:
    done = builds.refuse(
        "--context", f"git://{daemon}/project.git", environment={**GIT, "PATH": str(tmp_path)}
    )

    assert done.exit_code == 2
    assert "there is no git program" in done.stderr


@pytest.mark.parametrize(
    "url", ["git@example.org:project.git#main", "ssh://git@example.org:22/project.git#main"]
)
def test_ssh_uses_the_given_command(
    builds: Builds, project: Repository, tmp_path: Path, url: str
) -> None:
    # A stand-in for ssh: what git asks it to run on the other side is run here.
    program = tmp_path / "ssh"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nexec git-upload-pack {project.bare}\n'
    )
    program.chmod(0o755)

    image = builds.read("--context", url, environment={"GIT_SSH_COMMAND": str(program)})

    assert image.tree["a"].content == b"one"
    assert "git@example.org" in (tmp_path / "asked").read_text()


def test_add_copies_a_repository_without_its_git_directory(
    builds: Builds, project: Repository, daemon: str
) -> None:
    (project.work / "tool").write_text("#!/bin/sh\n")
    (project.work / "tool").chmod(0o700)
    project.push()
    builds.bench.write(f"FROM scratch\nADD git://{daemon}/project.git#main /src/\n")

    image = builds.read("--context", str(builds.bench.context))

    tree = image.tree
    assert set(tree) == {"src", "src/a", "src/tool", "src/Dockerfile"}
    assert stat.filemode(0o100000 | tree["src/tool"].mode) == "-rwxr-xr-x"
    assert tree["src/a"].permissions == "-rw-r--r--"
    assert (tree["src/a"].uid, tree["src/a"].mtime) == (0, 1_600_000_000)


def test_add_of_a_repository_makes_the_same_layer_each_time(builds: Builds, daemon: str) -> None:
    builds.bench.write(f"FROM scratch\nADD --link git://{daemon}/project.git#main /src/\n")
    context = ("--context", str(builds.bench.context))

    first, second = builds.read(*context), builds.read(*context)

    assert first.manifest["layers"] == second.manifest["layers"]


@pytest.mark.parametrize(
    ("line", "there"),
    [
        ("--keep-git-dir=true git://{host}/project.git /", "a"),
        ("git://{host}/project.git?keep-git-dir=1 /", "a"),
        ("git://{host}/project.git#main:app /", "x"),
        ("git://{host}/project.git?ref=main&subdir=app /", "x"),
        ("git://{host}/project.git?branch=main&commit={commit} /", "a"),
        ("--checksum={commit} git://{host}/project.git#main /", "a"),
        ("--checksum={short} git://{host}/project.git#main /", "a"),
    ],
)
def test_add_takes_buildkits_forms(
    builds: Builds, project: Repository, daemon: str, line: str, there: str
) -> None:
    commit = project.commit({"app/x": "inner"})
    text = line.format(host=daemon, commit=commit, short=commit[:8])
    builds.bench.write(f"FROM scratch\nADD {text}\n")

    image = builds.read("--context", str(builds.bench.context))

    assert there in image.tree
    assert (".git/HEAD" in image.tree) == ("keep-git-dir" in line)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--checksum={wrong} git://{host}/project.git#main /", "expected aaaaaaaa"),
        ("--checksum=xyz git://{host}/project.git#main /", "is no commit"),
        ("git://{host}/project.git a /", "not both"),
        ("git://{host}/project.git?x=1 /", "unknown 'x'"),
        ("git://{host}/project.git#main:../.. /", "leads out of it"),
    ],
)
def test_add_refuses_what_is_wrong(builds: Builds, daemon: str, line: str, message: str) -> None:
    builds.bench.write(f"FROM scratch\nADD {line.format(host=daemon, wrong='a' * 40)}\n", {"a": ""})

    done = builds.refuse("--context", str(builds.bench.context))

    assert message in done.stderr
