#!/usr/bin/env bash
# Compares what the exporter says with what the driver says, on real hardware. Exits 2 where there is no driver.
#
# GPU_COST_EXPORTER names a program that is already built.
set -euo pipefail
cd "$(dirname "$0")/.."

python3 scripts/gpu_check.py --driver-only
if [ -z "${GPU_COST_EXPORTER:-}" ]; then
    cargo build --release --locked
    GPU_COST_EXPORTER=target/release/gpu-cost-exporter
fi
exec python3 scripts/gpu_check.py "$GPU_COST_EXPORTER"
