"""What must hold for every dashboard and can be seen without a server. Prints every complaint.

The conventions are those of Grafana's own dashboard linter, and a few of ours: a question in every description, and
names of metrics that exist.
"""

import re
import sys

from board import ROOT, boards, variables_in

# Units by Grafana's ids (packages/grafana-data/src/valueFormats/categories.ts); one that it does not know shows none.
UNITS = {"none", "percentunit", "currencyUSD", "bytes", "watt", "joule", "massg", "s", "dateTimeFromNow", "ops",
         "reqps"}
# Those that are made with a prefix (the same package's valueFormats.ts).
MADE_UNITS = ("currency:financial:", "suffix:")
# Variables that Grafana itself has.
GRAFANAS = {"__rate_interval", "__interval", "__range", "__range_s", "datasource"}
# Metrics of others, as they are known to be called: Prometheus' own and those of every client library.
FOREIGN = {"up", "scrape_duration_seconds", "scrape_samples_scraped"}
KEYWORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "offset", "bool"}


def main():
    all_boards = boards()
    complaints = [f"{board.name}: {said}" for board in all_boards for said in complaints_of(board)]
    for what in ("uid", "title"):
        seen = [board.json[what] for board in all_boards]
        complaints += [f"two dashboards have the {what} {one}" for one in set(seen) if seen.count(one) > 1]
    complaints += links_of_alerts(all_boards)
    if complaints:
        sys.exit("\n".join(complaints) + f"\n{len(complaints)} complaints")


def complaints_of(board):
    yield from whole(board.json)
    yield from variables(board)
    yield from places(board.json["panels"])
    for panel in board.panels():
        for said in [*texts(panel), *units(panel), *targets(panel), *columns(panel)]:
            yield f"{panel['title']}: {said}"


def whole(dashboard):
    wanted = {"schemaVersion": 39, "id": None, "editable": False, "graphTooltip": 1, "tags": ["gpu-cost", "finops"]}
    for key, value in wanted.items():
        if dashboard[key] != value:
            yield f"{key} is not {value!r}"
    if not re.fullmatch(r"gpu-cost-[a-z]+", dashboard["uid"]):
        yield f"the uid {dashboard['uid']} is not fixed and readable"
    if not any(link["type"] == "dashboards" and link["asDropdown"] for link in dashboard["links"]):
        yield "does not link the others by their tag"


def variables(board):
    listed = board.variables()
    if [one["name"] for one in listed if one["type"] == "datasource"] != ["datasource"]:
        yield "has not one variable for the data source, called datasource"
    for one in listed:
        if not one["label"]:
            yield f"the variable {one['name']} has no label"
        if one["type"] == "query" and (one["refresh"] != 2 or one["allValue"] != ".*"):
            yield f"the variable {one['name']} does not follow the time range, or all of it is not everything"
    defined = {one["name"] for one in listed}
    used = set()
    for panel in board.panels():
        for target in panel["targets"]:
            used |= variables_in(target["expr"] + target["legendFormat"])
    used |= {name for one in listed for name in variables_in(one.get("definition", ""))}
    yield from (f"uses ${name}, which is not defined" for name in sorted(used - defined - GRAFANAS))
    yield from (f"defines ${name}, which nothing uses" for name in sorted(defined - used - GRAFANAS))


def places(panels):
    if len({panel["id"] for panel in panels}) != len(panels):
        yield "two panels have one id"
    taken = {}
    for panel in panels:
        place = panel["gridPos"]
        if place["x"] + place["w"] > 24:
            yield f"{panel['title']}: is wider than the page"
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if taken.setdefault((x, y), panel["id"]) != panel["id"]:
                    yield f"{panel['title']}: lies on another panel"
                    return


def texts(panel):
    if not panel["title"] or "?" not in panel["description"]:
        yield "has no title, or a description that asks no question"
    if "needs the recording rules" not in panel["description"].lower():
        if any(":" in name for target in panel["targets"] for name in metrics_in(target["expr"])):
            yield "reads recorded series and does not say that it needs the rules"


def units(panel):
    overrides = [one for each in panel["fieldConfig"]["overrides"] for one in each["properties"] if one["id"] == "unit"]
    for unit in [panel["fieldConfig"]["defaults"].get("unit"), *(one["value"] for one in overrides)]:
        if unit not in UNITS and not str(unit).startswith(MADE_UNITS):
            yield f"has the unit {unit}"


def targets(panel):
    if not panel["targets"]:
        yield "asks nothing"
    if len({target["refId"] for target in panel["targets"]}) != len(panel["targets"]):
        yield "two queries have one refId"
    for one in [panel, *panel["targets"]]:
        if one["datasource"] != {"type": "prometheus", "uid": "${datasource}"}:
            yield "does not use the chosen data source"
    for target in panel["targets"]:
        expr = target["expr"]
        yield from (f"names {name}, which is no metric: {expr}" for name in sorted(metrics_in(expr) - known()))
        yield from counters(expr)
        if "$__range" in expr and not target["instant"]:
            yield f"sums over the whole range at every point: {expr}"
        if "$__rate_interval" not in expr and re.search(r"\brate\(", expr):
            yield f"has a rate over a fixed time: {expr}"


def counters(expr):
    """A counter by itself says nothing; only how much it grew does."""
    for found in re.finditer(r"([\w:]+_total)\b", expr):
        if not re.search(r"\b(rate|irate|increase)\($", expr[: found.start()]):
            yield f"{found[1]} is not in rate() or increase(): {expr}"


def columns(panel):
    """Settings of a column must be those of a column that is there."""
    if panel["type"] != "table":
        return
    organize = next(one["options"] for one in panel["transformations"] if one["id"] == "organize")
    refs = [target["refId"] for target in panel["targets"]]
    fields = {"Value"} if len(refs) == 1 else {f"Value #{ref}" for ref in refs}
    placed = {name for name in [*organize["indexByName"], *organize["excludeByName"]] if name.startswith("Value")}
    if placed != fields:
        yield f"has the columns {sorted(placed)} for the queries {sorted(fields)}"
    shown = set(organize["renameByName"].values())
    named = [each["matcher"]["options"] for each in panel["fieldConfig"]["overrides"]]
    named += [one["displayName"] for one in panel["options"]["sortBy"]]
    yield from (f"sets something for {name}, which is no column" for name in named if name not in shown)


def links_of_alerts(all_boards):
    """An alert links a dashboard, and may choose values of its variables."""
    variables_of = {board.json["uid"]: {one["name"] for one in board.variables()} for board in all_boards}
    for uid, query in sorted(set(re.findall(r"/d/([\w-]+)(.*)", rules()))):
        if uid not in variables_of:
            yield f"an alert links the dashboard {uid}, which is not there"
            continue
        for chosen in sorted(set(chosen_in(query)) - variables_of[uid]):
            yield f"an alert chooses {chosen} on the dashboard {uid}, which does not let choose it"


def chosen_in(query):
    """The variables that a link sets, behind `?` and each `&`."""
    return re.findall(r"[?&]var-(\w+)=", query)


def metrics_in(expr):
    """The names of the metrics of an expression: what is left without strings, selectors, lists of labels and calls."""
    text = re.sub(r'"(\\.|[^"\\])*"', '""', expr)
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", text)
    text = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", text)
    words = re.findall(r"(?<![\w$:])([a-zA-Z_:][\w:]*)(?!\w)(\s*\()?", text)
    durations = re.compile(r"\d")
    return {word for word, call in words if not call and word not in KEYWORDS and not durations.match(word)}


def known():
    catalogue = set(re.findall(r"`((?:gpu_cost|process)_\w+)`", (ROOT / "METRICS.md").read_text(encoding="utf-8")))
    return catalogue | FOREIGN | set(re.findall(r'record: "?([\w:]+)', rules()))


def rules():
    return "".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "rules").glob("*.yml")))


def check_the_checks():
    """What these checks look for is found where it is."""
    asked = 'sum by (team) (rate(a_total{x="b_c"}[5m])) / on (y) group_left (z) (c:d:e > 0) and time() offset 1d'
    assert metrics_in(asked) == {"a_total", "c:d:e"}, metrics_in(asked)
    assert list(counters("rate(a_total[1m]) + b_total")) and not list(counters("increase(a_total[1m])"))
    assert chosen_in("?var-a={{ 1 }}&var-b={{ 2 }}") == ["a", "b"]
    assert variables_in("$a ${b} [$__range]") == {"a", "b", "__range"}


check_the_checks()
main()
