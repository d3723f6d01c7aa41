#!/usr/bin/env bash
# Checks the dependencies against deny.toml. Security advisories need a database from the network: without it that
# part is skipped, and said.
set -euo pipefail
cd "$(dirname "$0")/.."

# How long the database may take to come. It is a few megabytes; a network that drops packets would hold us for ever.
readonly FETCH_SECONDS=60

PATH="$PWD/.tools/bin:$PATH"
if ! command -v cargo-deny >/dev/null; then
    echo "error: cargo-deny is missing; 'make tools' installs it" >&2
    exit 1
fi

cargo-deny --locked check --hide-inclusion-graph bans licenses sources

if timeout "$FETCH_SECONDS" cargo-deny --locked fetch db >/dev/null 2>&1; then
    cargo-deny --locked check --disable-fetch --hide-inclusion-graph advisories
else
    echo "advisories not checked: the advisory database is out of reach"
fi
