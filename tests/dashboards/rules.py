"""The recording rules and alerts in a test that has a minute.

Groups that are evaluated each hour, and what they read of other rules, are evaluated here over the past as if they had
run, and their results become blocks: first those that read no other rule, then those that read them, and so on. The
other groups run in the server itself, every two seconds.
"""

import json
import pathlib
import re
import time

from history import DAYS, make_blocks, series
from prometheus import Prometheus

HOURLY = 1800


def record_the_hours(directory, rules):
    """Records the past of the hourly groups, and gives the file with all other groups, at the test's pace."""
    files = sorted(str(file) for file in pathlib.Path(rules).glob("*.yml"))
    with Prometheus(directory, {"scrape_configs": [], "rule_files": files}) as prometheus:
        groups = prometheus.get("rules")["groups"]
    recording = [rule for group in groups for rule in group["rules"] if rule["type"] == "recording"]
    hourly = {rule["name"] for group in groups if group["interval"] >= HOURLY for rule in group["rules"]}
    for level in levels([rule for rule in recording if rule["name"] in needed(hourly, recording)]):
        with Prometheus(directory, {"scrape_configs": []}) as prometheus:
            record(prometheus, level, directory / "hours.om")
        make_blocks(directory / "hours.om", directory / "data")
    fast = directory / "fast.json"
    fast.write_text(json.dumps({"groups": [faster(group) for group in groups if group["interval"] < HOURLY]}))
    return fast


def needed(wanted, recording):
    """The names and all that their rules read, directly or not."""
    known = {rule["name"] for rule in recording}
    while True:
        more = {name for rule in recording if rule["name"] in wanted for name in names(rule["query"]) & known}
        if more <= wanted:
            return wanted
        wanted = wanted | more


def levels(rules):
    """The rules in the order in which they can be evaluated: each level reads only those before it."""
    while rules:
        waiting = {rule["name"] for rule in rules}
        level = [rule for rule in rules if not names(rule["query"]) & (waiting - {rule["name"]})]
        assert level, f"rules that read each other: {sorted(waiting)}"
        yield level
        rules = [rule for rule in rules if rule not in level]


def names(expr):
    return set(re.findall(r"[a-zA-Z_:][\w:]*", expr))


def record(prometheus, rules, file):
    """Evaluates rules at each full hour of the past, as the server would have done."""
    end = int(time.time()) // 3600 * 3600
    with open(file, "w", encoding="utf-8") as out:
        for rule in rules:
            for one in prometheus.query_range(rule["query"], end - DAYS * 86400 + 7200, end, 3600):
                labels = {name: value for name, value in one["metric"].items() if name != "__name__"}
                head = series(rule["name"], labels, rule.get("labels", {}))
                out.writelines(f"{head} {value} {time}\n" for time, value in one["values"])
        out.write("# EOF\n")


def faster(group):
    """The group as the server read it, in the form that it reads."""
    return {"name": group["name"], "interval": "2s", "rules": [as_written(rule) for rule in group["rules"]]}


def as_written(rule):
    if rule["type"] == "recording":
        return {"record": rule["name"], "expr": rule["query"], "labels": rule.get("labels", {})}
    return {"alert": rule["name"], "expr": rule["query"], "for": f"{int(rule['duration'])}s",
            "labels": rule.get("labels", {}), "annotations": rule.get("annotations", {})}


def all_rules(prometheus):
    return [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]


def evaluated(prometheus):
    """Whether every rule has run since the scrapes were there."""
    return all(rule["health"] != "unknown" for rule in all_rules(prometheus))


def complaints(prometheus):
    return [f"rule {rule['name']}: {rule['lastError']}" for rule in all_rules(prometheus) if rule["health"] == "err"]
