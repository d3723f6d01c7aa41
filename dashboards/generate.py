#!/usr/bin/env python3
"""Writes the dashboards beside it. With --check it writes nothing and names those that are not what it would write."""

import json
import pathlib
import sys

from source import DASHBOARDS

HERE = pathlib.Path(__file__).resolve().parent


def main():
    check = sys.argv[1:] == ["--check"]
    stale = [name for name, build in DASHBOARDS.items() if write(HERE / name, text(build()), check)]
    stale += [file.name for file in HERE.glob("*.json") if file.name not in DASHBOARDS]
    if check and stale:
        sys.exit(f"not what dashboards/generate.py writes: {', '.join(stale)}; run it")


def text(dashboard):
    return json.dumps(dashboard, indent=1, ensure_ascii=False) + "\n"


def write(file, wanted, check):
    """Whether the file differs from what it should be; it is then written, unless this is a check."""
    if file.exists() and file.read_text(encoding="utf-8") == wanted:
        return False
    if not check:
        file.write_text(wanted, encoding="utf-8")
    return True


main()
