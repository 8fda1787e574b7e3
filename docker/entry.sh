#!/bin/sh
# The entry point of a job's container: it drops root and starts the job's program.
#
# SageMaker "expects all containers to run with root users" (https://docs.aws.amazon.com/sagemaker/latest/dg/
# your-algorithms-inference-code.html) and /opt/ml belongs to root. The job needs only the folders that it writes.
set -eu
if [ "$(id -u)" -ne 0 ]; then
    exec "$@"
fi
for folder in model output checkpoints processing/output; do
    mkdir -p "/opt/ml/$folder"
    # A server's model may be mounted read-only.
    if [ -w "/opt/ml/$folder" ]; then
        chown -R m5:m5 "/opt/ml/$folder"
    fi
done
export HOME=/home/m5
exec setpriv --reuid m5 --regid m5 --init-groups --no-new-privs "$@"
