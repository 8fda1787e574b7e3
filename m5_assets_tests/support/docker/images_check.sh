#!/bin/bash
# Build the images and use them, without a Docker engine: `make images-check`. Run as root on Debian 12.
#
#   1. Build substitutes for the base images from Debian packages; no image registry is needed.
#   2. Build the five images.
#   3. Run a sample week outside, then each of its jobs in its image: the outputs must be identical (replay.py).
#   4. Start the Compose stack service by service, each once the previous ones are healthy; forecast the same week in it;
#      take it down and up again and check that the rows are still there.
#   5. Build the platform's image for AWS (infrastructure/Dockerfile) and run its services with the commands,
#      environments and health checks of the stacks' task definitions (aws_tasks.py).
#
# Leaves the images and, below $WORK, the bases and screenshots of the UI. A second run reuses the bases and layers.
set -euo pipefail
cd "$(dirname "$0")/../../.."
WORK=${WORK:-$PWD/.m5/images-check}
TAG=local
WEEK=2016-04-18
PACKAGES=(podman buildah runc debootstrap netavark aardvark-dns iptables catatonit openssl) # netavark calls iptables
BASE=docker.io/library/python:3.11-slim-bookworm
POSTGRES=docker.io/library/postgres:18
export CONTAINERS_CONF=$PWD/m5_assets_tests/support/docker/containers.conf
mkdir -p "$WORK"

say() { echo "images-check $(date +%T): $*"; }

install_engine() {
    for package in "${PACKAGES[@]}"; do
        dpkg-query --show --showformat '${Status}' "$package" 2> /dev/null | grep -q installed && continue
        say "installing ${PACKAGES[*]}"
        apt-get update --quiet --quiet
        apt-get install --quiet --quiet --yes --no-install-recommends "${PACKAGES[@]}"
        break
    done
    [ -x "$WORK/venv/bin/podman-compose" ] || python3 -m venv "$WORK/venv"
    "$WORK/venv/bin/pip" install --quiet podman-compose
}

# rootfs NAME PACKAGES: install Debian 12 with these packages in $WORK/NAME
rootfs() {
    say "building the base $1"
    rm -rf "${WORK:?}/$1"
    debootstrap --variant=minbase --include="$2" bookworm "$WORK/$1" > "$WORK/$1.log"
    rm -f "$WORK/$1"/var/cache/apt/archives/*.deb
}

make_bases() {
    if ! podman image exists "$BASE"; then
        rootfs python python3,python3-venv,python3-pip,ca-certificates
        ln -s python3 "$WORK/python/usr/bin/python"
        rm "$WORK"/python/usr/lib/python3.*/EXTERNALLY-MANAGED
        tar -C "$WORK/python" -c . | podman import --quiet - "$BASE"
    fi
    if ! podman image exists "$POSTGRES"; then
        rootfs postgres postgresql
        mkdir -p "$WORK/postgres/var/lib/postgresql"
        # Debian's pg_isready wrapper expects a cluster name.
        ln -s "/usr/lib/postgresql/$(ls "$WORK/postgres/usr/lib/postgresql")/bin/pg_isready" \
            "$WORK/postgres/usr/local/bin/pg_isready"
        cp m5_assets_tests/support/docker/postgres_entry.sh "$WORK/postgres/usr/local/bin/"
        tar -C "$WORK/postgres" -c . \
            | podman import --quiet --change 'ENTRYPOINT ["/usr/local/bin/postgres_entry.sh"]' \
                --change 'VOLUME /var/lib/postgresql' - "$POSTGRES"
    fi
}

# The build uses the host's certificates and pip settings; none of them end up in the image.
lent_mounts() {
    printf '%s\n' --volume /etc/ssl/certs:/etc/ssl/certs:ro
    pip config list | .venv/bin/python -m m5_assets_tests.support.docker.pip_settings "$WORK/pip.conf"
}

# build_image NAME TAG FILE CONTEXT [OPTION...]
build_image() {
    local image=m5-$1:$2 file=$3 context=$4 mounts started=$SECONDS log=$WORK/build-$1-$2.log
    lent_mounts > "$WORK/mounts"
    mapfile -t mounts < "$WORK/mounts"
    buildah bud --isolation chroot --pull=never --format docker --layers "${mounts[@]}" \
        --build-arg REVISION="$(git rev-parse HEAD)" "${@:5}" \
        --file "$file" --tag "$image" "$context" > "$log" 2>&1 || { tail -20 "$log" >&2; exit 1; }
    say "$image: built in $((SECONDS - started)) s," \
        "$(podman image inspect --format '{{.Size}}' "$image" | numfmt --to=si)B"
}

build() {
    local name
    for name in features gbm totals lstm; do
        build_image "$name" "$TAG" "docker/Dockerfile.$name" .
    done
    build_image platform "$TAG" docker/Dockerfile.platform . --build-arg LOCAL_JOBS=yes
}

# Settings of the small week used everywhere, as NAME=VALUE lines.
week_settings() {
    cat << 'SETTINGS'
M5_LAST_WEEK=2016-05-16
M5_HISTORY_WEEKS=56
M5_GBM_HYPERPARAMETERS={"iterations": "5", "department_iterations": "5"}
M5_TOTALS_HYPERPARAMETERS={"trees_iterations": "5", "stack_iterations": "5"}
M5_LSTM_HYPERPARAMETERS={"windows": "1024", "batch_size": "128", "hidden": "16", "encoder_days": "28"}
SETTINGS
}

SAMPLE=(--items 8 --weeks 57 --seed 3)

check_jobs() {
    say "running a sample week outside, then its jobs in their images"
    rm -rf "$WORK/home"
    (
        while IFS='=' read -r name value; do export "$name=$value"; done < <(week_settings)
        export M5_HOME=$WORK/home DAGSTER_HOME=$WORK/home/dagster
        .venv/bin/m5 sample "$WORK/home/landing" "${SAMPLE[@]}" 2> /dev/null
        .venv/bin/m5 forecast --week "$WEEK" > "$WORK/outside.log" 2>&1
        .venv/bin/python -c "
import pathlib, sys
from m5_assets.resources.postgres.embedded_server import EmbeddedServer
EmbeddedServer(pathlib.Path(sys.argv[1])).stop()" "$WORK/home"
    )
    .venv/bin/python -m m5_assets_tests.support.docker.replay "$WORK/home" "$TAG"
}

compose() { "$WORK/venv/bin/podman-compose" --file "$WORK/stack/compose.yaml" "$@"; }

# Without systemd, Debian's podman neither runs health checks nor waits for them, so this does, in the file's order.
up() {
    local service started tries
    for service in postgres migrate code daemon webserver dashboard; do
        started=$SECONDS
        if [ "$service" = migrate ]; then # which ends
            compose run --rm --no-deps migrate > "$WORK/migrate.log" 2>&1 || { cat "$WORK/migrate.log" >&2; exit 1; }
            say "migrated in $((SECONDS - started)) s"
            continue
        fi
        compose up --detach --no-build --no-deps "$service" > "$WORK/up.log" 2>&1 || { cat "$WORK/up.log" >&2; exit 1; }
        for ((tries = 0; ; tries++)); do
            podman healthcheck run "m5_${service}_1" > /dev/null 2>&1 && break
            [ "$tries" -lt 90 ] || { podman logs --tail 20 "m5_${service}_1" >&2; exit 1; }
            sleep 1
        done
        say "$service is healthy after $((SECONDS - started)) s"
    done
}

rows() {
    podman exec m5_code_1 python -c "
from sqlalchemy import text
from m5_assets.resources.postgres import PostgresResource
from m5_assets.settings import settings
with PostgresResource.of(settings()).engine('m5_reader').connect() as connection:
    print(connection.execute(text('SELECT count(*) FROM m5.forecast')).scalar_one())"
}

check_stack() {
    say "starting the Compose stack"
    mkdir -p "$WORK/stack/postgres"
    cp docker/compose.yaml docker/passwords.sh "$WORK/stack/"
    cp docker/postgres/pg_*.conf "$WORK/stack/postgres/"
    week_settings > "$WORK/stack/.env"
    "$WORK/stack/passwords.sh"
    compose down --volumes > /dev/null 2>&1 || true
    trap 'compose down --volumes > /dev/null 2>&1' EXIT
    up
    podman exec m5_code_1 m5 sample /var/lib/m5/landing "${SAMPLE[@]}" 2> /dev/null
    podman exec m5_code_1 m5 forecast --week "$WEEK" > "$WORK/stack-forecast.log" 2>&1 \
        || { tail -20 "$WORK/stack-forecast.log" >&2; exit 1; }
    local before
    before=$(rows)
    say "forecast week $WEEK in the stack: $before rows"
    [ "$before" -gt 0 ]
    .venv/bin/python -m m5_assets_tests.support.docker.look "$WORK"
    compose down > /dev/null 2>&1
    up
    [ "$(rows)" = "$before" ] || { say "rows were lost after down and up" >&2; exit 1; }
    say "down and up again: all rows are still there"
}

# As `m5 deploy` builds it, except for RDS's certificates: here our own authority signs the database's certificate.
check_aws() {
    local context=$WORK/aws
    say "checking the platform's image for AWS"
    rm -rf "$context"
    mkdir -p "$context/infrastructure" "$context/certificates"
    cp infrastructure/{dagster,workspace}.yaml "$context/infrastructure/"
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=stand-in of RDS's authority" \
        -keyout "$context/certificates/ca.key" -out "$context/certificates/ca.pem" 2> /dev/null
    sed 's|https://truststore[^ ]*|certificates/ca.pem|' infrastructure/Dockerfile > "$context/Dockerfile"
    build_image platform slim docker/Dockerfile.platform .
    build_image platform aws "$context/Dockerfile" "$context" --build-arg PLATFORM=localhost/m5-platform:slim
    .venv/bin/python -W ignore -m m5_assets_tests.support.docker.aws_tasks localhost/m5-platform:aws "$context/certificates"
}

install_engine
make_bases
build
check_jobs
check_stack
check_aws
say "all checks passed"
