#!/bin/bash
# An image's entry point for the local runner: what the runner starts as a process on a stand-in of /opt/ml, this starts
# as a container on it. Jobs get no network, a server its port alone.
#
#     run_in_image.sh IMAGE [ARGUMENT...]
set -euo pipefail
image=$1
shift
# The runner gives its jobs a small environment of their own.
export CONTAINERS_CONF=${0%/*}/containers.conf
options=()
for name in ${!SAGEMAKER_@}; do
    [ "$name" = SAGEMAKER_BASE_DIR ] || options+=(--env "$name")
done
if [ -n "${SAGEMAKER_BIND_TO_PORT:-}" ]; then
    options+=(--publish "127.0.0.1:$SAGEMAKER_BIND_TO_PORT:$SAGEMAKER_BIND_TO_PORT")
else
    options+=(--network none)
fi
exec podman run --rm --pull never "${options[@]}" --volume "$SAGEMAKER_BASE_DIR:/opt/ml" "$image" "$@"
