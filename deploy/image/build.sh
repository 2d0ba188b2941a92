#!/bin/sh
# Build the executor image with asynckaniko, and its debug variant. `make image` calls this when the
# base and the virtual environment are there. Everything goes below one directory:
#   build.sh [DIRECTORY]
#   DIRECTORY/executor   OCI layouts
#   DIRECTORY/debug
# BASE names the Debian, VARIANTS which of the two are built, PYTHON the interpreter.
set -eu
cd "$(dirname "$0")/../.."

directory=${1:-.image}
python=${PYTHON:-.venv/bin/python}
base=${BASE:-oci-layout://.demo/base}
mkdir -p "$directory"
"$python" deploy/image/wheels.py "$directory/wheels"
for variant in ${VARIANTS:-executor debug}; do
    echo "Building deploy/image/Dockerfile, target $variant"
    rm -rf "$directory/$variant.new"
    "$python" -m asynckaniko build deploy/image --target "$variant" \
        --build-context "debian=$base" \
        --build-context "wheels=$directory/wheels" \
        --build-context package=asynckaniko \
        --state-dir "$directory/state" --cache --cache-copy-layers \
        --no-push --oci-layout-path "$directory/$variant.new"
    rm -rf "${directory:?}/$variant"
    mv "$directory/$variant.new" "$directory/$variant"
done
