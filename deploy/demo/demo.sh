#!/bin/sh
# Build deploy/demo on the Debian base below .demo, then run the program in it. `make demo` calls
# this when the base and the virtual environment are there. No registry takes part.
set -eu
cd "$(dirname "$0")/../.."

asynckaniko=${ASYNCKANIKO:-.venv/bin/asynckaniko}
mkdir -p .demo
rm -rf .demo/image

# The image's files have many owners. Root can make them; others need a user namespace with ids.
as_root=
[ "$(id -u)" = 0 ] || as_root="unshare --map-root-user --map-auto"

echo "Building deploy/demo/Dockerfile with asynckaniko"
"$asynckaniko" build deploy/demo \
    --build-context debian=oci-layout://.demo/base \
    --state-dir .demo/state --cache --cache-copy-layers \
    --no-push --oci-layout-path .demo/image \
    --timings .demo/timings.json
echo
exec $as_root .venv/bin/python deploy/demo/run.py .demo/image .demo/rootfs .demo/timings.json
