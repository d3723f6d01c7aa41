#!/usr/bin/env bash
# Everything that must hold before a change is merged. The tests run last, so that their verdict is the last line.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install-test-tools.sh
scripts/lint.sh

# The tests find promtool, prometheus, chromium and Python's prometheus_client by PATH.
export PATH="$PWD/.tools/venv/bin:$PATH"
# Most tests wait for something most of the time, so there is one more at a time than there are cores.
threads=$(($(nproc) + 1))
cargo test --workspace --locked -- --test-threads="$threads" --skip proof:: --skip load::a_days_churn | tee target/tests.log
# These two press an hour into seconds and fill the machine with scrapers: each has it to itself.
cargo test --locked --test it -- --test-threads=1 proof:: load::a_days_churn | tee -a target/tests.log
# Cargo's own last line is that of the crate with the fewest tests.
awk '/^test result:/ { passed += $4; failed += $6 } END { printf "%d passed, %d failed\n", passed, failed }' target/tests.log
