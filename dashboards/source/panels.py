"""The kinds of panels there are, and how a dashboard is put together from them.

A dashboard is a list of rows, a row a list of panels; places and ids follow from that. Every panel has a title, a
description that says what question it answers, a unit, and queries.
"""

import copy

# Units by Grafana's ids. A price list and an invoice need every cent; USD shortens 12,345 to $12.35K.
USD = "currencyUSD"
INVOICE_USD = "currency:financial:$"
PART = "percentunit"
NUMBER = "none"
GPU_HOURS = "suffix: GPU h"
BYTES = "bytes"
WATTS = "watt"
JOULES = "joule"
GRAMS = "massg"
SECONDS = "s"
MOMENT = "dateTimeFromNow"
PER_SECOND = "ops"
TOKENS_PER_SECOND = "suffix: tokens/s"
REQUESTS_PER_SECOND = "reqps"

# A unit's usual number of decimals.
DECIMALS = {USD: 2, INVOICE_USD: 2, PART: 0, NUMBER: 0, GPU_HOURS: 1, BYTES: 1, WATTS: 0, SECONDS: 0}

# The same state has the same colour everywhere: green works, yellow to red is a holder's waste, greys are nobody's.
STATES = {
    "used": "green",
    "underused": "yellow",
    "idle": "orange",
    "unmeasured": "purple",
    "unallocated": "#8e8e8e",
    "stranded": "#c4c4c4",
    "unattributed": "blue",
    "unavailable": "red",
}
BANDS = {"low": "orange", "medium": "yellow", "high": "green"}

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


# === Queries ===


def query(expr, legend="__auto", ref=None):
    """One query; `legend` is what a line is called, with labels as {{label}}."""
    return {"expr": " ".join(expr.split()), "legend": legend, "ref": ref}


def target(asked, number, instant, table=False):
    built = {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": asked["expr"],
        "legendFormat": asked["legend"],
        "range": not instant,
        "instant": instant,
        "refId": asked["ref"] or chr(ord("A") + number),
    }
    if table:
        built["format"] = "table"
    return built


def queries_of(asked):
    """A query may be given as its text alone, several as a list."""
    asked = asked if isinstance(asked, list) else [asked]
    return [query(one) if isinstance(one, str) else one for one in asked]


# === Panels ===


def panel(kind, title, description, unit, width, targets, options, defaults=None, overrides=(), **more):
    return {
        "type": kind,
        "title": title,
        "description": " ".join(description.split()),
        "datasource": DATASOURCE,
        "gridPos": {"w": width},
        "targets": targets,
        "fieldConfig": {
            "defaults": {"unit": unit, "decimals": DECIMALS.get(unit, 1)} | (defaults or {}),
            "overrides": list(overrides),
        },
        "options": options,
    } | more


def stat(title, description, expr, unit=USD, width=4, steps=None, over_time=False, decimals=None, none="no data"):
    """One number. It is that of the whole range or of now; `over_time` draws its course behind it.

    `steps` are the values from which it has another colour: [(None, "green"), (0.9, "red")]. `none` is what is shown
    when there is no number, which is never the same as zero.
    """
    defaults = {"noValue": none, "color": {"mode": "thresholds"}, "thresholds": thresholds(steps)}
    if decimals is not None:
        defaults["decimals"] = decimals
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "area" if over_time else "none",
        "justifyMode": "auto",
        "textMode": "value",
        "orientation": "auto",
        "wideLayout": True,
    }
    targets = [target(query(expr, title), 0, instant=not over_time)]
    return panel("stat", title, description, unit, width, targets, options, defaults)


def timeseries(title, description, asked, unit=USD, width=12, stacked=False, colours=None, top=None, step=None):
    """Lines over time, or a stack whose height is the sum. `step` is the least time between two points."""
    custom = {
        "drawStyle": "line",
        "fillOpacity": 70 if stacked else 5,
        "lineWidth": 1,
        "pointSize": 5,
        "showPoints": "never",
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "axisSoftMin": 0,
    }
    defaults = {"custom": custom, "color": {"mode": "palette-classic"}, "min": 0}
    if top is not None:
        defaults["max"] = top
    options = {
        "legend": {
            "displayMode": "table",
            "placement": "right" if width > 12 else "bottom",
            "showLegend": True,
            "calcs": ["lastNotNull", "mean"],
            "sortBy": "Mean",
            "sortDesc": True,
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    targets = [target(one, number, instant=False) for number, one in enumerate(queries_of(asked))]
    more = {"interval": step} if step else {}
    return panel("timeseries", title, description, unit, width, targets, options, defaults, fixed(colours), **more)


def bars(title, description, asked, unit=USD, width=12, colours=None, step="1d"):
    """A stacked bar for each step of time, a day unless told otherwise."""
    drawn = timeseries(title, description, asked, unit, width, stacked=True, colours=colours, step=step)
    drawn["fieldConfig"]["defaults"]["custom"] |= {"drawStyle": "bars", "fillOpacity": 80, "lineWidth": 0}
    drawn["options"]["legend"]["calcs"] = ["sum"]
    drawn["options"]["legend"]["sortBy"] = "Total"
    return drawn


def gauges(title, description, asked, unit=USD, width=6, colours=None, top=None, steps=None):
    """A horizontal bar for each line of an answer, to compare a few of them."""
    colour = {"mode": "thresholds"} if steps else {"mode": "palette-classic"}
    defaults = {"color": colour, "thresholds": thresholds(steps), "min": 0, "noValue": "no data"}
    if top is not None:
        defaults["max"] = top
    options = {
        "displayMode": "basic",
        "orientation": "horizontal",
        "valueMode": "color",
        "namePlacement": "auto",
        "showUnfilled": True,
        "sizing": "auto",
        "minVizHeight": 16,
        "minVizWidth": 8,
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    targets = [target(one, number, instant=True) for number, one in enumerate(queries_of(asked))]
    return panel("bargauge", title, description, unit, width, targets, options, defaults, fixed(colours))


# === Tables ===


def column(title, expr, unit=USD, bar=None, decimals=None, steps=None, words=None):
    """A column of numbers: one instant query.

    `bar` draws the number as a bar of that colour, `steps` colour it, `words` say it: {0: ("OK", "green")}.
    """
    return {"title": title, "expr": expr, "unit": unit, "bar": bar, "decimals": decimals, "steps": steps, "words": words}


def table(title, description, labels, columns, width=24, sort=None, totals=False, hide=()):
    """A line for each set of labels. `labels` gives each label its heading, `hide` are those that are not shown;
    with `totals` there is a last line with the sum of each column.

    Every column must have the same labels as the first, or fewer, and the first has them all.
    """
    targets = [
        target(query(one["expr"], ref=f"q{number}"), number, instant=True, table=True)
        for number, one in enumerate(columns)
    ]
    fields = value_fields(columns)
    # Infos are there for their labels; their number is always 1.
    hidden = ["Time", *hide] + [field for field, one in zip(fields, columns) if one["title"] is None]
    shown = [(field, one) for field, one in zip(fields, columns) if one["title"] is not None]
    order = list(labels) + [field for field, _ in shown]
    organize = {
        "excludeByName": {field: True for field in hidden},
        "indexByName": {name: place for place, name in enumerate(order)},
        "renameByName": labels | {field: one["title"] for field, one in shown},
    }
    options = {
        "showHeader": True,
        "cellHeight": "sm",
        "footer": {"show": totals, "reducer": ["sum"], "countRows": False, "fields": ""},
        "sortBy": [{"displayName": sort or shown[0][1]["title"], "desc": True}],
    }
    defaults = {"custom": {"filterable": True}, "noValue": ""}
    transformations = [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]
    overrides = [look(one) for _, one in shown]
    return panel(
        "table", title, description, NUMBER, width, targets, options, defaults, overrides,
        transformations=transformations,
    )


def labels_of(expr):
    """A column that is not shown: it brings its labels into the table."""
    return column(None, expr, NUMBER)


def value_fields(columns):
    """Grafana calls a lone query's number `Value`, one of several `Value #` and its reference."""
    return ["Value"] if len(columns) == 1 else [f"Value #q{number}" for number in range(len(columns))]


def look(one):
    """How a column of a table is shown."""
    decimals = DECIMALS.get(one["unit"], 1) if one["decimals"] is None else one["decimals"]
    properties = [{"id": "unit", "value": one["unit"]}, {"id": "decimals", "value": decimals}]
    if one["bar"]:
        cell = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
        properties += [{"id": "custom.cellOptions", "value": cell}, {"id": "min", "value": 0}]
        properties.append({"id": "color", "value": {"mode": "fixed", "fixedColor": one["bar"]}})
        if one["unit"] == PART:
            properties.append({"id": "max", "value": 1})
    if one["steps"]:
        properties.append({"id": "custom.cellOptions", "value": {"type": "color-text"}})
        properties.append({"id": "thresholds", "value": thresholds(one["steps"])})
        properties.append({"id": "color", "value": {"mode": "thresholds"}})
    if one["words"]:
        said = {str(number): {"text": text, "color": colour} for number, (text, colour) in one["words"].items()}
        properties.append({"id": "mappings", "value": [{"type": "value", "options": said}]})
        properties.append({"id": "custom.cellOptions", "value": {"type": "color-text"}})
    return {"matcher": {"id": "byName", "options": one["title"]}, "properties": properties}


def thresholds(steps):
    steps = steps or [(None, "text")]
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in steps]}


def fixed(colours):
    """Each name in its own colour, wherever it appears."""
    return [
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
        }
        for name, colour in (colours or {}).items()
    ]


# === Variables ===


def choice(name, label, metric, of=None):
    """Values of a label to choose from, several or all. All of them is also what has no such label."""
    asked = f"label_values({metric}, {of or name})"
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": asked,
        "query": {"qryType": 1, "query": asked, "refId": f"PrometheusVariableQueryEditor-{name}"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "hide": 0,
        "regex": "",
        "skipUrlSync": False,
        "options": [],
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def options(name, label, values):
    """One of a few fixed values."""
    return {
        "name": name,
        "label": label,
        "type": "custom",
        "query": ",".join(values),
        "multi": False,
        "includeAll": False,
        "hide": 0,
        "skipUrlSync": False,
        "options": [{"selected": place == 0, "text": value, "value": value} for place, value in enumerate(values)],
        "current": {"selected": True, "text": values[0], "value": values[0]},
    }


def which_datasource():
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "regex": "",
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "refresh": 1,
        "skipUrlSync": False,
        "options": [],
    }


def which_cluster():
    """Of Prometheus' clusters; a dashboard of one cluster has nothing to choose, and all of them is what there is."""
    return choice("cluster", "Cluster", "gpu_cost_exporter_build_info")


# === Dashboards ===


def row(title, height, *panels):
    """Panels side by side, all of one height; what does not fit into 24 columns goes on below. No title, no heading."""
    return {"title": title, "height": height, "panels": list(panels)}


def dashboard(uid, title, description, variables, rows, since="now-24h"):
    """A dashboard as Grafana imports it."""
    return {
        "id": None,
        "uid": uid,
        "title": f"GPU cost / {title}",
        "description": " ".join(description.split()),
        "tags": ["gpu-cost", "finops"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "5m",
        "timezone": "",
        "time": {"from": since, "to": "now"},
        "timepicker": {},
        "weekStart": "",
        "fiscalYearStartMonth": 0,
        "annotations": {"list": []},
        "links": [to_the_others()],
        "templating": {"list": [which_datasource(), which_cluster(), *variables]},
        "panels": placed(rows),
    }


def to_the_others():
    return {
        "type": "dashboards",
        "title": "GPU cost",
        "tags": ["gpu-cost"],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }


def placed(rows):
    """The panels of all rows with an id and a place each, from the top left."""
    panels, y = [], 0
    for one in rows:
        if one["title"]:
            panels.append(heading(one["title"], y))
            y += 1
        x = 0
        for each in one["panels"]:
            # A building block may stand on several dashboards.
            each = copy.deepcopy(each)
            width = each["gridPos"]["w"]
            if x + width > 24:
                x, y = 0, y + one["height"]
            each["gridPos"] = {"h": one["height"], "w": width, "x": x, "y": y}
            x += width
            panels.append(each)
        y += one["height"]
    return [{"id": number} | each for number, each in enumerate(panels, start=1)]


def heading(title, y):
    return {"type": "row", "title": title, "collapsed": False, "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}, "panels": []}
