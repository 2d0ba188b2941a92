"""Contexts from archives: files, standard input, the web."""

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.integration.context.conftest import Builds, archive
from tests.integration.context.servers import WebFiles
from tests.support.images import Entry, make_tar, symlink

FILES = {"a": "one", "deep/b": "two"}


def tar_of(directory: Path, *options: str) -> bytes:
    """Let the tar program write what is in a directory."""
    done = subprocess.run(
        ["tar", *options, "-cf", "-", "-C", str(directory), "."], check=True, capture_output=True
    )
    return done.stdout


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "files"
    (made / "deep").mkdir(parents=True)
    (made / "Dockerfile").write_text("FROM scratch\nCOPY a deep/b /\n")
    for name, content in FILES.items():
        (made / name).write_text(content)
    return made


@pytest.mark.parametrize("options", [(), ("-z",), ("-j",), ("-J",), ("--zstd",)])
@pytest.mark.parametrize("form", ["file", "stdin"])
def test_archive_of_any_compression_is_a_context(
    builds: Builds, directory: Path, form: str, options: tuple[str, ...]
) -> None:
    content = tar_of(directory, *options)
    if form == "stdin":
        image = builds.read("--context", "tar://stdin", stdin=content)
    else:
        path = builds.bench.directory / "context.archive"
        path.write_bytes(content)
        image = builds.read("--context", f"tar://{path}")

    assert {name: entry.content for name, entry in image.tree.items()} == {
        "a": b"one",
        "b": b"two",
    }


def test_files_of_an_archive_are_roots_with_their_modes_and_times(builds: Builds) -> None:
    content = make_tar(
        {
            "Dockerfile": "FROM scratch\nCOPY . /\n",
            ".dockerignore": "Dockerfile\n.dockerignore\n",
            "tool": Entry(content=b"x", mode=0o4755, uid=1234, gid=99),
            "link": symlink("tool"),
        }
    )

    image = builds.read("--context", "tar://stdin", stdin=content)

    tool = image.tree["tool"]
    assert (tool.permissions, tool.uid, tool.gid, tool.mtime) == ("-rwsr-xr-x", 0, 0, 1_600_000_000)
    assert image.tree["link"].target == "tool"
    assert set(image.tree) == {"tool", "link"}


def test_pipe_as_documented_builds(builds: Builds, directory: Path) -> None:
    with subprocess.Popen(["tar", "czf", "-", "."], cwd=directory, stdout=subprocess.PIPE) as tar:
        assert tar.stdout is not None
        image = builds.read("--context", "tar://stdin", stdin=tar.stdout.fileno())

    assert image.tree["a"].content == b"one"


def test_terminal_as_standard_input_is_refused_at_once(builds: Builds) -> None:
    ours, theirs = pty.openpty()
    try:
        done = builds.refuse("--context", "tar://stdin", stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)

    assert done.exit_code == 2
    assert "standard input is a terminal" in done.stderr


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b"", 5, "the archive is empty"),
        (b"no archive " * 100, 5, "does not begin as a tar archive"),
        (archive(FILES)[:-20], 5, "the gzip stream is cut short"),
        (archive(FILES, "w")[:1024], 5, "cut short"),
        (archive(FILES, "w")[:-9216], 5, "its end mark is missing"),
    ],
    ids=["empty", "text", "cut gzip", "cut tar", "no end"],
)
def test_what_is_no_whole_archive_is_an_error(
    builds: Builds, content: bytes, code: int, message: str
) -> None:
    done = builds.refuse("--context", "tar://stdin", stdin=content)

    assert done.exit_code == code
    assert message in done.stderr
    assert "tar://stdin" in done.stderr


@pytest.mark.parametrize(
    "files",
    [
        {"../evil": "x"},
        {"a/../../evil": "x"},
        {"link": symlink("/"), "link/../../evil": "x"},
    ],
)
def test_entry_that_leads_out_is_refused(builds: Builds, files: dict[str, str]) -> None:
    content = make_tar({"Dockerfile": "FROM scratch\nCOPY . /\n", **files})

    done = builds.refuse("--context", "tar://stdin", stdin=content)

    assert done.exit_code == 5
    assert "leads out of the root directory" in done.stderr


@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore"])
def test_link_to_a_file_of_this_machine_is_not_followed_out(
    builds: Builds, tmp_path: Path, name: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("FROM canary\nfile-of-this-machine\n")
    content = make_tar(
        {"Dockerfile": "FROM scratch\nCOPY . /\n"} | {name: symlink(str(secret)), "a": "x"}
    )

    done = builds.run("--no-push", "--context", "tar://stdin", stdin=content)

    assert "canary" not in done.said
    assert "file-of-this-machine" not in done.said
    assert done.exit_code == (2 if name == "Dockerfile" else 0)


def test_parent_that_is_a_link_out_is_taken_inside(builds: Builds, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    content = make_tar(
        {"Dockerfile": "FROM scratch\nCOPY . /\n", "l": symlink(str(outside)), "l/evil": "x"}
    )

    builds.run("--no-push", "--context", "tar://stdin", stdin=content)

    assert list(outside.iterdir()) == []


def test_sub_path_is_the_context(builds: Builds) -> None:
    content = archive({"app/Dockerfile": "FROM scratch\nCOPY x /\n", "app/x": "inner"})

    image = builds.read("--context", "tar://stdin", "--context-sub-path", "app", stdin=content)

    assert image.tree["x"].content == b"inner"


@pytest.mark.parametrize(
    ("path", "message"), [("nope", "there is no directory nope"), ("a", "is not a directory")]
)
def test_sub_path_that_is_no_directory_is_an_error(builds: Builds, path: str, message: str) -> None:
    done = builds.refuse(
        *("--context", "tar://stdin", "--context-sub-path", path), stdin=archive({"a": "x"})
    )

    assert message in done.stderr


def test_sub_path_of_a_directory(builds: Builds) -> None:
    builds.bench.write(
        "FROM busybox\n", {"app/Dockerfile": "FROM scratch\nCOPY x /\n", "app/x": "1"}
    )

    image = builds.read("--context", f"dir://{builds.bench.context}", "--context-sub-path", "app")

    assert image.tree["x"].content == b"1"


def test_dockerfile_of_this_machine_goes_with_an_archive(builds: Builds) -> None:
    (builds.bench.directory / "my.Dockerfile").write_text("FROM scratch\nCOPY a /from-here\n")
    (builds.bench.directory / "my.Dockerfile.dockerignore").write_text("deep\n")

    image = builds.read(*("--context", "tar://stdin", "-f", "my.Dockerfile"), stdin=archive(FILES))

    assert set(image.tree) == {"from-here"}


def test_two_dockerfiles_in_one_archive_are_an_error(builds: Builds) -> None:
    first = make_tar({"Dockerfile": "FROM scratch\nCOPY . /\n"})[: 512 * 2]
    content = first + make_tar({"Dockerfile": "FROM scratch\nCOPY a /\n", "a": "x"})

    done = builds.run("--no-push", "--context", "tar://stdin", stdin=content)

    # Whichever was read: either the last one, as tar has it, or an error.
    assert done.exit_code == 0 or "twice" in done.stderr


def test_device_nodes_are_left_out_with_a_warning(builds: Builds) -> None:
    content = make_tar(
        {"Dockerfile": "FROM scratch\nCOPY . /\n", "null": Entry("device"), "a": "x"}
    )

    done = builds.run("--no-push", "--context", "tar://stdin", stdin=content)

    assert done.exit_code == 0, done.said
    assert "1 device nodes were left out" in done.stderr


@pytest.mark.parametrize("path", ["context.tgz", "chunks/context.tgz", "hop/3/context.tgz"])
def test_archive_of_the_web_is_a_context(
    builds: Builds, files: WebFiles, web_host: str, path: str
) -> None:
    files.files["context.tgz"] = archive(FILES)

    image = builds.read("--context", f"http://{web_host}/{path}")

    assert image.tree["deep/b"].content == b"two"


def test_busy_server_is_asked_again(builds: Builds, files: WebFiles, web_host: str) -> None:
    files.files["c.tgz"] = archive(FILES)

    image = builds.read("--context", f"http://{web_host}/busy/2/c.tgz")

    assert image.tree["a"].content == b"one"
    assert len(files.requests) == 3


def test_broken_connection_goes_on_where_it_stopped(
    builds: Builds, files: WebFiles, web_host: str
) -> None:
    content = archive({"big": os.urandom(200_000).hex()})
    files.files["c.tgz"] = content

    image = builds.read("--context", f"http://{web_host}/cut/100000/c.tgz")

    assert len(image.tree["big"].content) == 400_000
    first, second = files.requests
    assert "Range" not in first[1]
    assert 0 < int(second[1]["Range"].removeprefix("bytes=").rstrip("-")) <= 100_000


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothing.tgz", "HTTP 404"),
        ("hop/11/c.tgz", "more than 10 redirects"),
    ],
)
def test_what_the_web_does_not_give_whole_is_an_error(
    builds: Builds, files: WebFiles, web_host: str, path: str, message: str
) -> None:
    files.files["c.tgz"] = archive({"big": os.urandom(20_000).hex()})
    files.ranges = False

    done = builds.refuse("--context", f"http://{web_host}/{path}")

    assert message in done.stderr


def test_password_and_query_are_in_no_message(
    builds: Builds, files: WebFiles, web_host: str
) -> None:
    done = builds.refuse("--context", f"http://user:canary1@{web_host}/x.tgz?sig=canary2")

    assert "canary" not in done.said
    assert f"http://{web_host}/x.tgz" in done.stderr
    assert files.requests[0][1]["Authorization"].startswith("Basic ")


def test_dockerfile_from_the_web(builds: Builds, files: WebFiles, web_host: str) -> None:
    files.files["Dockerfile"] = b"FROM scratch\nCOPY a /from-web\n"
    builds.bench.write("FROM nothing\n", {"a": "x"})

    image = builds.read(
        "--context", str(builds.bench.context), "-f", f"http://{web_host}/Dockerfile"
    )

    assert set(image.tree) == {"from-web"}


def test_named_context_may_be_an_archive(builds: Builds, files: WebFiles, web_host: str) -> None:
    files.files["c.tgz"] = archive(FILES)
    builds.bench.write("FROM scratch\nCOPY --from=other a /\n")

    image = builds.read(
        *("--context", str(builds.bench.context)),
        *("--build-context", f"other=http://{web_host}/c.tgz"),
    )

    assert image.tree["a"].content == b"one"


def test_standard_input_cannot_be_two_contexts(builds: Builds) -> None:
    done = builds.refuse(
        *("--context", "tar://stdin", "--context-sub-path", "deep", "-f", "Dockerfile"),
        *("--build-context", "other=tar://stdin"),
        stdin=archive({"deep/Dockerfile": "FROM scratch\nCOPY --from=other a /\n"}),
    )

    assert "tar://stdin can be read once" in done.stderr
