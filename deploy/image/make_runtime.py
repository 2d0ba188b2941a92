"""Fill a directory, which becomes /kaniko, with Python and all that it needs, on a Debian.

    python3 -m deploy.image.make_runtime WHEELS DIRECTORY

What is in there runs whatever lies in /usr, /lib and /etc: another C library, a hostile loader
configuration, nothing. Run in a stage of the Dockerfile beside this file. Standard library only.
"""

import compileall
import os
import py_compile
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from deploy.image import elf

HOME = "/kaniko"
LIBRARIES = f"{HOME}/lib"
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
DROPPED = (
    *("__pycache__", "config-*", "test", "tests"),
    *("distutils", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "venv"),
    *("doctest.py", "pdb.py", "pydoc.py", "turtle*", "turtledemo", "wsgiref", "xmlrpc"),
    *("imaplib.py", "mailbox.py", "nntplib.py", "poplib.py", "smtp*.py", "telnetlib.py"),
    *("curses", "dbm", "sqlite3", "tkinter"),
    *("_curses*", "_dbm*", "_sqlite3*", "_test*", "_tkinter*", "nis.*", "readline.*"),
    "sitecustomize.py",  # Debian's is a link to /etc: an image could fill it
)
"""What no program here imports of the standard library; some of it needs large libraries."""
DROPPED_FROM_PACKAGES = (
    *("*.pyi", "*.pyx", "*.pxd", "*.c", "*.h", "tests", "bin", "include"),
    *("*.dist-info/RECORD", "*.dist-info/sboms", "pydantic/v1"),
    # Of Kubernetes' objects, those that have nothing to do with Pods and Jobs.
    *(f"lightkube/models/{group}_*" for group in ("admission*", "apps", "certificates")),
    *(f"lightkube/models/{group}_*" for group in ("flowcontrol", "networking", "rbac")),
    *(f"lightkube/models/{group}_*" for group in ("resource", "storage*")),
)
KEPT_LEXERS = {"__init__.py", "_mapping.py"}
"""Of pygments, which rich wants but we show no source code with."""
AWS_SERVICES = {"ecr", "ecr-public", "signin", "sso", "sso-oidc", "sts"}
"""Those that signing in to a registry takes: the rest of botocore's data is 25 MB."""
PROGRAMS = ("git", "newuidmap", "newgidmap")
GIT_PARTS = ("git-remote-http", "git-submodule", "git-sh-setup", "git-sh-i18n")
GIT_PATHS = {"/usr/lib/git-core": "/kaniko/lib/./git"}
# Loaded by name at run time, so ldd does not tell of them.
LOADED_LATER = ("libgcc_s.so.1", "libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2")
# Where our copies of system libraries look for configuration. Each could make them load code.
SYSTEM_PATHS = {
    "ld-linux*": {
        "/etc/ld.so.preload": "/kaniko/.ldpreload",
        "/etc/ld.so.cache": "/kaniko/ld.cache",
    },
    "libc.so.6": {"/etc/nsswitch.conf": "/kaniko/nss.config"},
    "libcrypto.so.3": {"/usr/lib/ssl": "/kaniko//ssl"},
}
CAPABILITIES = {"newuidmap": "cap_setuid=ep", "newgidmap": "cap_setgid=ep"}


def main() -> int:
    wheels, out = Path(sys.argv[1]), Path(sys.argv[2])
    shutil.rmtree(out, ignore_errors=True)
    for name in ("bin", "lib/git", "ssl/certs"):
        (out / name).mkdir(parents=True)
    copy_python(out)
    install_packages(wheels, out / "lib" / VERSION / "site-packages")
    copy_programs(out)
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", out / "ssl/certs/ca-certificates.crt")
    shutil.copy(Path(__file__).with_name("nss.config"), out / "nss.config")
    make_independent(out)
    compile_sources(out / "lib" / VERSION)
    for name, capabilities in CAPABILITIES.items():
        (out / "bin" / name).chmod(0o755)  # the set-uid bit fails in Pods without SYS_ADMIN
        subprocess.run(["setcap", capabilities, out / "bin" / name], check=True)
    report(out)
    return 0


def copy_python(out: Path) -> None:
    ignore = shutil.ignore_patterns(*DROPPED, "site-packages", "dist-packages", "EXTERNALLY-*")
    shutil.copytree(sysconfig.get_path("stdlib"), out / "lib" / VERSION, ignore=ignore)
    shutil.copy(os.path.realpath(sys.executable), out / "bin/python3")


def install_packages(wheels: Path, target: Path) -> None:
    # What to install was decided when the wheels were fetched: all of them.
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    command += ["--no-compile", "--root-user-action=ignore", "--target", str(target)]
    subprocess.run([*command, *sorted(map(str, wheels.glob("*.whl")))], check=True)
    data = target / "botocore/data"
    for entry in data.iterdir() if data.is_dir() else ():
        if entry.is_dir() and entry.name not in AWS_SERVICES:
            shutil.rmtree(entry)
    for lexer in target.glob("pygments/lexers/*.py"):
        if lexer.name not in KEPT_LEXERS:
            lexer.unlink()
    for pattern in DROPPED_FROM_PACKAGES:
        for path in list(target.rglob(pattern)):
            remove(path)


def copy_programs(out: Path) -> None:
    for name in PROGRAMS:
        shutil.copy(f"/usr/bin/{name}", out / "bin" / name)
    for name in GIT_PARTS:
        shutil.copy(f"/usr/lib/git-core/{name}", out / "lib/git" / name)
    (out / "lib/git/git-remote-https").symlink_to("git-remote-http")
    # git runs its own commands by way of its directory.
    (out / "lib/git/git").symlink_to("../../bin/git")
    for program in (out / "bin/git", out / "lib/git/git-remote-http"):
        elf.replace_strings(program, GIT_PATHS)


def make_independent(out: Path) -> None:
    """Bring in every library, and make every file find those and no others."""
    files = [path for path in out.rglob("*") if elf.is_elf(path)]
    found = elf.libraries(files)
    system = Path(found["libc.so.6"]).parent
    for name in LOADED_LATER:
        found.setdefault(name, system / name)
    bundled = {path.name for path in files}
    for name, path in found.items():
        if name not in bundled:
            shutil.copy(os.path.realpath(path), out / "lib" / name)
            (out / "lib" / name).chmod(0o755)
    loader = next(name for name in found if name.startswith("ld-linux"))
    for pattern, replacements in SYSTEM_PATHS.items():
        for path in (out / "lib").glob(pattern):
            elf.replace_strings(path, replacements)
    for path in out.rglob("*"):
        # The loader and the C library are what the others are found by.
        if elf.is_elf(path) and path.name not in {loader, "libc.so.6"}:
            elf.strip(path)
            elf.settle(path, library_directory=LIBRARIES, loader=f"{LIBRARIES}/{loader}")


def compile_sources(directory: Path) -> None:
    """Compile everything now: later nobody can write here, or an image's clock would decide.

    The sources go, 22 MB: a traceback still has its files and lines.
    """
    compileall.compile_dir(
        directory,
        quiet=2,
        stripdir=str(directory),
        prependdir=f"{LIBRARIES}/{VERSION}",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        legacy=True,
    )
    for source in directory.rglob("*.py"):
        if source.with_suffix(".pyc").exists():
            source.unlink()


def report(out: Path) -> None:
    """Print what takes the room, in MB."""
    sizes: dict[str, int] = {}
    for path in out.rglob("*"):
        if path.is_file() and not path.is_symlink():
            parts = path.relative_to(out).parts
            depth = 4 if "site-packages" in parts else 2
            key = "/".join(parts[:depth])
            sizes[key] = sizes.get(key, 0) + path.stat().st_size
    for key, size in sorted(sizes.items(), key=lambda item: -item[1])[:25]:
        print(f"{size / 1e6:7.1f} {key}")
    print(f"{sum(sizes.values()) / 1e6:7.1f} in all")


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)  # its directory may be gone


if __name__ == "__main__":
    sys.exit(main())
