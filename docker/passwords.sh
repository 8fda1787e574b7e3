#!/bin/sh
# Add to docker/.env a random password for each role of PostgreSQL that has none yet. `make compose-up` runs it.
set -eu
umask 077
file=$(dirname "$0")/.env
touch "$file"
chmod 600 "$file"
for name in POSTGRES_PASSWORD M5_DATABASE_READER_PASSWORD M5_DATABASE_WRITER_PASSWORD M5_DATABASE_DAGSTER_PASSWORD; do
    if grep --quiet "^$name=." "$file"; then
        continue
    fi
    sed -i "/^$name=\$/d" "$file"
    # A file that was edited by hand may lack its last newline.
    [ -z "$(tail -c 1 "$file")" ] || echo >> "$file"
    echo "$name=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >> "$file"
    echo "$file: generated $name"
done
