#!/bin/sh
# Creates or refreshes .venv with the exact versions of constraints.txt; `make setup` calls it.
# PYTHON=/path/to/python3.12 make setup   uses that interpreter instead of looking for one.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "make setup: $*" >&2
    exit 2
}

recent() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

complete() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null
}

# Python 3.11 first: the versions of constraints.txt were recorded with it.
find_python() {
    incomplete=""
    set -- python3.11 python3.12 python3.13 python3 /usr/bin/python3
    [ -z "${PYTHON:-}" ] || set -- "$PYTHON"
    for candidate in "$@"; do
        recent "$candidate" || continue
        if complete "$candidate"; then
            command -v "$candidate"
            return
        fi
        incomplete=$candidate
    done
    [ -z "$incomplete" ] || fail "$incomplete lacks venv or ensurepip; on Debian and Ubuntu:" \
        "apt-get install python$("$incomplete" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    fail "no Python >= 3.11 among: $*; Debian, Ubuntu:" \
        "apt-get install python3 python3-venv; macOS: brew install python@3.11; or PYTHON=path"
}

if ! .venv/bin/python -c '' 2>/dev/null; then
    python=$(find_python)
    echo "Creating .venv with $("$python" -V) ($python)"
    rm -rf .venv
    "$python" -m venv .venv
fi

# On a terminal the installer shows its progress; in a log only what went wrong.
# uv, where it is on PATH, needs half the time of pip and installs the same versions.
echo "Installing BiGain and the versions of constraints.txt into .venv:" \
    "a few minutes, about 6 GB on Linux, 1 GB on macOS"
if command -v uv >/dev/null 2>&1; then
    quiet="--quiet"
    [ ! -t 1 ] || quiet=""
    uv pip install $quiet --compile-bytecode --python .venv/bin/python -c constraints.txt -e '.[dev]'
else
    quiet="-qq"
    [ ! -t 1 ] || quiet=""
    .venv/bin/python -m pip install $quiet --disable-pip-version-check --no-input \
        -c constraints.txt -e '.[dev]'
fi
echo "Done: .venv/bin/python is $(.venv/bin/python -V)"
