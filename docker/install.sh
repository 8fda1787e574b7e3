#!/bin/sh
# Install packages by pip at the versions of a constraints file, each file verified against the hashes there.
#
#   install.sh CONSTRAINTS REQUIREMENT...      PYTHON names the interpreter, `python` by default
set -eu
constraints=$1
shift
python=${PYTHON:-python}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# Older pips reject hashes in constraints. Any pip takes them in requirements, so the right one is installed that way.
pip=$(mktemp)
trap 'rm -f "$pip"' EXIT
sed -n '/^pip==/,/[^\\]$/p' "$constraints" > "$pip"
"$python" -m pip install --quiet --no-deps --require-hashes --requirement "$pip"

install() { "$python" -m pip install --quiet --require-hashes --constraint "$constraints" "$@"; }

# pip prefers files whose hash the index states, which a folder of wheels does not. So a CPU build is asked for by name.
if [ "$1" = torch ]; then
    cpu=$(sed -n 's/^torch==\([^ ]*\).*/\1+cpu/p' "$constraints")
    install --no-deps "torch==$cpu" 2> "$pip" \
        || echo "no torch $cpu whose hash is in $constraints: installing the index's torch" >&2
fi
install "$@"
