#!/usr/bin/env bash
# Everything that must hold before a change is merged. The tests run last, so that their verdict is the last line.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install-test-tools.sh
scripts/lint.sh

# The tests find promtool, prometheus, chromium and Python's prometheus_client by PATH.
PATH="$PWD/.tools/venv/bin:$PATH" cargo test --workspace --locked
