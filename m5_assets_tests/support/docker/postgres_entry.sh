#!/bin/bash
# Entry point of the substitute for the image postgres:18 (images_check.sh). Supports POSTGRES_USER, POSTGRES_PASSWORD,
# POSTGRES_DB and a command that begins with `postgres`, as the image's documentation describes them.
set -euo pipefail
bin=$(echo /usr/lib/postgresql/*/bin)
data=/var/lib/postgresql/18/docker
[ "${1:-}" != postgres ] || shift
if [ "$(id -u)" -eq 0 ]; then
    mkdir --parents "$data"
    chown postgres:postgres "${data%/*}" "$data"
    chmod 700 "$data"
    exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
fi
if [ ! -s "$data/PG_VERSION" ]; then
    "$bin/initdb" --pgdata "$data" --username "$POSTGRES_USER" --auth scram-sha-256 \
        --pwfile <(echo "$POSTGRES_PASSWORD") --encoding UTF8 --locale C.UTF-8
    echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
    "$bin/pg_ctl" --pgdata "$data" --wait --options "-c listen_addresses='' -c unix_socket_directories=/tmp" start
    export PGPASSWORD=$POSTGRES_PASSWORD PGHOST=/tmp PGUSER=$POSTGRES_USER
    "$bin/createdb" "$POSTGRES_DB"
    "$bin/pg_ctl" --pgdata "$data" --wait stop
fi
exec "$bin/postgres" -D "$data" -c listen_addresses='*' -c unix_socket_directories=/tmp "$@"
