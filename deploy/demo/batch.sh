#!/bin/sh
# Build the twelve images of deploy/demo/batch.yaml on the Debian base below .demo; no registry
# takes part. Two of them do not come to be, on purpose, so the exit status is 3.
set -eu
cd "$(dirname "$0")/../.."

mkdir -p .demo
status=0
"${ASYNCKANIKO:-.venv/bin/asynckaniko}" batch deploy/demo/batch.yaml --no-push \
    --state-dir .demo/state \
    --metadata-file .demo/batch.json --junit-file .demo/batch.xml --timings .demo/batch.html "$@" || status=$?
echo
echo "Where the time went: .demo/batch.html; for programs: .demo/batch.json, .demo/batch.xml"
exit $status
