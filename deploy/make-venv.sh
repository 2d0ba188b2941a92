#!/bin/sh
# Make or update .venv with this package and, if named, a dependency group of pyproject.toml.
#   make-venv.sh [GROUP]
# pip takes its index, proxy and certificates from the machine's own configuration.
set -eu
cd "$(dirname "$0")/.."

usable() {
    command -v "$1" >/dev/null &&
        "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}
if ! { [ -x .venv/bin/python ] && .venv/bin/python -c 'import pip' 2>/dev/null; }; then
    for python in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        usable "$python" && break
        python=
    done
    [ -n "$python" ] || {
        echo "asynckaniko needs Python 3.11 or newer with its venv module (Debian 12: apt-get install" \
            "python3 python3-venv); found $(python3 -V 2>&1 || echo none). PYTHON=/path/to/python3" \
            "chooses another." >&2
        exit 1
    }
    rm -rf .venv
    "$python" -m venv .venv
fi

pip() {
    .venv/bin/python -m pip --disable-pip-version-check "$@"
}
echo "Installing asynckaniko and what it needs into .venv"
# Dependency groups came with pip 25.1; Debian 12 has 23.
if [ $# -gt 0 ] && ! pip install --help | grep -q -- --group; then
    pip install --quiet --upgrade 'pip>=25.1'
fi
pip install --quiet --editable . ${1:+--group "$1"}
# Where PYTHONDONTWRITEBYTECODE is set, every command would compile the sources again: 0.2 s.
.venv/bin/python -m compileall -q asynckaniko
