"""Reads the dashboards, and puts values in the place of their variables as Grafana does."""

import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
ALL = "all"
FIRST = "first"


class Board:
    """One dashboard."""

    def __init__(self, file):
        self.name = file.name
        self.json = json.loads(file.read_text(encoding="utf-8"))

    def panels(self):
        """Every panel that shows something; rows are headings."""
        return [panel for panel in self.json["panels"] if panel["type"] != "row"]

    def variables(self):
        return self.json["templating"]["list"]


def boards():
    files = sorted((ROOT / "dashboards").glob("*.json"))
    assert files, "there are no dashboards"
    return [Board(file) for file in files]


def variables_in(text):
    """The names of the variables that a text uses, those of Grafana itself too."""
    return {braced or plain for braced, plain in re.findall(r"\$(?:\{(\w+)[^}]*\}|(\w+))", text)}


def substituted(text, values):
    """The text with the values of its variables; the longest names first, as `$__range_s` begins like `$__range`."""
    for name in sorted(values, key=len, reverse=True):
        text = text.replace(f"${{{name}}}", values[name]).replace(f"${name}", values[name])
    return text
