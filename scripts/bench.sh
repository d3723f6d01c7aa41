#!/usr/bin/env bash
# Measures what the exporter costs and compares it with what is written down; see docs/performance.md.
#
#   scripts/bench.sh              measures and compares
#   scripts/bench.sh --document   writes down what was measured, too
#   scripts/bench.sh --only=tick  only what divan has of that name
set -euo pipefail
cd "$(dirname "$0")/.."

# Counts instructions. It is needed here alone, so the tests do not install it.
if ! command -v valgrind >/dev/null; then
    echo "installing valgrind"
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo -n)
    "${as_root[@]}" apt-get -qq update && "${as_root[@]}" apt-get -qq install --no-install-recommends -y valgrind >/dev/null ||
        echo "valgrind is missing: instructions are not counted" >&2
fi

exec python3 scripts/bench.py "$@"
