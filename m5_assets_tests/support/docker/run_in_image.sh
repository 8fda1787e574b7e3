#!/bin/bash
# Entry point for the local runner: instead of a process on a folder that stands in for /opt/ml, start a container with
# that folder mounted. Jobs get no network; a server gets only its port.
#
#     run_in_image.sh IMAGE [ARGUMENT...]
set -euo pipefail
image=$1
shift
# The runner starts its jobs with a minimal environment.
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
