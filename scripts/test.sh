#!/usr/bin/env bash
# Everything that must hold before a change is merged. The tests run last, so that their verdict is the last line.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install-test-tools.sh
scripts/lint.sh

# The tests find promtool, prometheus, chromium and Python's prometheus_client by PATH.
PATH="$PWD/.tools/venv/bin:$PATH" cargo test --workspace --locked | tee target/tests.log
# Cargo's own last line is that of the crate with the fewest tests.
awk '/^test result:/ { passed += $4; failed += $6 } END { printf "%d passed, %d failed\n", passed, failed }' target/tests.log
