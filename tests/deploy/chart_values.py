"""The table of values in the chart's README, from the comments of values.yaml."""

import json
import re

import yaml

BEGIN = "<!-- values -->\n"
END = "<!-- /values -->"


def table(text):
    """A row for each comment that begins with `--`, with the name of the key below it and its default."""
    defaults = yaml.safe_load(text)
    rows = ["| value | what it is | default |", "|---|---|---|"]
    for path, comment in described(text):
        default = defaults
        for key in path:
            default = default[key]
        shown = json.dumps(default, ensure_ascii=False).replace("|", "\\|")
        rows.append(f"| `{'.'.join(path)}` | {comment} | `{shown}` |")
    return "\n".join(rows) + "\n"


def described(text):
    """The path of each key that has such a comment, with the comment."""
    path, comment, found = [], None, []
    for line in text.splitlines():
        begun = re.match(r" *# -- (.*)", line)
        key = re.match(r"( *)([A-Za-z][A-Za-z0-9_]*):", line)
        if begun:
            comment = begun.group(1)
        elif key and not line.lstrip().startswith("#"):
            path = path[: len(key.group(1)) // 2] + [key.group(2)]
            if comment:
                found.append((tuple(path), comment))
            comment = None
    return found


def undescribed(text):
    """The values without a comment of their own, above them or below."""
    known = {path for path, _ in described(text)}

    def missing(value, path):
        if path in known:
            return []
        if not isinstance(value, dict) or not value:
            return [".".join(path)]
        return [name for key, inner in value.items() for name in missing(inner, (*path, key))]

    return missing(yaml.safe_load(text), ())
