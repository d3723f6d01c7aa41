"""Runs every query of every dashboard against a real Prometheus and demands data.

The server scrapes two demos and one server of each kind of language model; it has a past of some days (history.py)
and the real recording rules and alerts. Usage: live.py BINARY, with RULES as a directory other than rules/.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import rules
from board import ALL, FIRST, ROOT, boards, substituted
from history import make_blocks, scrape, write_history
from model_servers import SERVERS, Servers
from prometheus import Prometheus, QueryError, free_port, wait_for

# What Grafana would put in for a day, at a scrape each second; a past of one point a minute wants five of them.
GRAFANA = {"__rate_interval": "5m", "__interval": "1m", "__range": "1d", "__range_s": "86400", "datasource": "x"}
# Pods of the demo that serve language models, and with what.
SERVED = {"vllm": "assistant-canary", "sglang": "llama-playground", "tgi": "embedder", "triton": "reranker",
          "llamacpp": "query-expansion"}


class Target:
    """What Prometheus scrapes, with the labels that a PodMonitor would give it."""

    def __init__(self, url, **labels):
        self.url, self.labels = url, labels

    def static_config(self):
        address, _, path = self.url.removeprefix("http://").partition("/")
        return {"targets": [address], "labels": self.labels | {"__metrics_path__": f"/{path}"}}


def main():
    with tempfile.TemporaryDirectory() as directory, Demos(sys.argv[1], 2) as demos:
        directory = pathlib.Path(directory)
        servers = Servers((pathlib.Path(__file__).parent / "seldom.prom").read_text())
        targets = targets_of(demos, servers)
        give_it_a_past(directory, targets)
        fast = rules.record_the_hours(directory, os.environ.get("RULES", ROOT / "rules"))
        silent = Target(f"http://127.0.0.1:{free_port()}/metrics", job="gpu-cost-exporter", instance="gpu-node-4", cluster="test")
        with Prometheus(directory, config([*targets, silent], [fast, budgets(directory)])) as prometheus:
            wait_for("scrapes", lambda: scraped(prometheus, len(targets)))
            wait_for("rules", lambda: rules.evaluated(prometheus))
            complaints = [*rules.complaints(prometheus), *empty_queries(prometheus), *broken_queries(prometheus),
                          *disagreements(prometheus)]
    if complaints:
        sys.exit("\n".join(complaints) + f"\n{len(complaints)} complaints")


class Demos:
    """A few exporters that invent a node each, as a context."""

    def __init__(self, binary, number):
        self.nodes = {f"gpu-node-{one}": free_port() for one in range(1, number + 1)}
        self.binary = binary
        self.directory = tempfile.TemporaryDirectory()

    def __enter__(self):
        prices = pathlib.Path(__file__).parent / "pricing.yaml"
        self.processes = [
            subprocess.Popen(
                [self.binary, "--demo", f"--node.name={node}", f"--pricing.file={prices}",
                 f"--web.listen-address=127.0.0.1:{port}", f"--state.dir={self.directory.name}/{node}"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for node, port in self.nodes.items()
        ]
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.directory.cleanup()


def targets_of(demos, servers):
    targets = [
        Target(f"http://127.0.0.1:{port}/metrics", job="gpu-cost-exporter", instance=node, cluster="test")
        for node, port in demos.nodes.items()
    ]
    for target in targets:
        wait_for(f"a scrape of {target.url}", lambda url=target.url: answers(url))
    pods = {
        (dict(labels)["namespace"], dict(labels)["pod"])
        for name, labels in scrape(targets[0].url)
        if name == "gpu_cost_pod_info"
    }
    for server in SERVERS:
        namespace, pod = next(pod for pod in sorted(pods) if pod[1].startswith(SERVED[server]))
        labels = {"cluster": "test", "job": server, "instance": pod, "namespace": namespace, "pod": pod}
        targets.append(Target(f"http://{servers.address}/{server}", **labels))
    return [*targets, Target(f"http://{servers.address}/seldom", job="gpu-cost-exporter", instance="gpu-node-3", cluster="test")]


def answers(url):
    """Whether the exporter has charged something: its first tick has nothing to charge."""
    try:
        return any(name == "gpu_cost_pod_dollars_total" and value for (name, _), (value, _) in scrape(url).items())
    except OSError:
        return False


def give_it_a_past(directory, targets):
    started = time.monotonic()
    first = {target.url: scrape(target.url) for target in targets}
    before = time.monotonic() - started
    time.sleep(max(0, 3 - before))
    second = {target.url: scrape(target.url) for target in targets}
    # The newest sample of the past must be older than the oldest of the scrapes to come.
    write_history(directory / "history.om", targets, first, second, time.monotonic() - started, int(time.time()) - 1)
    make_blocks(directory / "history.om", directory / "data")


def config(targets, rule_files):
    jobs = {}
    for target in targets:
        jobs.setdefault(target.labels["job"], []).append(target.static_config())
    scrapes = [{"job_name": job, "honor_labels": True, "static_configs": one} for job, one in jobs.items()]
    return {"global": {"scrape_interval": "1s", "evaluation_interval": "2s"},
            "scrape_configs": scrapes, "rule_files": [str(file) for file in rule_files]}


def budgets(directory):
    """What a site would put into settings.yml."""
    file = directory / "budgets.json"
    scopes = [{"scope": "cluster"}, {"scope": "team", "team": "nlp"}, {"scope": "project", "project": "catalog"},
              {"scope": "namespace", "namespace": "search"}]
    budgets = [{"record": "gpu_cost_budget_dollars", "expr": "vector(50000)", "labels": scope | {"period": "month"}}
               for scope in scopes]
    file.write_text(json.dumps({"groups": [{"name": "budgets of the test", "interval": "2s", "rules": budgets}]}))
    return file


def scraped(prometheus, number):
    up = prometheus.query("count(count_over_time((up == 1)[1m:1s]) >= 3)")
    return up and int(up[0]["value"][1]) == number


# === The queries ===


def empty_queries(prometheus):
    """Every query and every variable must give something while all is chosen."""
    for board in boards():
        values = GRAFANA | dict(chosen(prometheus, board, ALL))
        for variable in board.variables():
            if variable["type"] == "query" and not values_of(prometheus, variable, values):
                yield f"{board.name}: the variable {variable['name']} has no values"
        for panel, target in queries(board):
            expr = substituted(target["expr"], values)
            try:
                data = wait_for_data(lambda: run(prometheus, panel, target, expr))
                said = "no data" if not data else wrong_labels(panel, target, data)
            except QueryError as error:
                said = str(error)
            if said and not too_early(expr):
                yield f"{board.name}: {panel['title']}: {target['refId']}: {said}: {expr}"


def too_early(expr):
    """In the first hour of a month nothing is known of the month yet, and that is what the ledger says."""
    now = time.gmtime()
    return (now.tm_mday, now.tm_hour) == (1, 0) and re.search("month|budget", expr)


def broken_queries(prometheus):
    """With one value chosen of each variable there may be nothing, but no error."""
    for board in boards():
        values = GRAFANA | dict(chosen(prometheus, board, FIRST))
        for panel, target in queries(board):
            expr = substituted(target["expr"], values)
            try:
                run(prometheus, panel, target, expr)
            except QueryError as error:
                yield f"{board.name}: {panel['title']}: {error}: {expr}"


# Panels that show one sum in several ways: (dashboard, title, query) on the left, its parts on the right.
SUMS = [
    [("bill", "Cost in this range", "A"), ("bill", "Who pays what", "q0")],
    [("bill", "Cost in this range", "A"), ("bill", "By team", "q0"), ("bill", "Held by nobody", "A")],
    [("bill", "By team", "q0"), ("bill", "By project", "q0")],
    [("bill", "By team", "q1"), ("waste", "Idle", "A"), ("waste", "Underused", "A")],
    [("bill", "Cost in this range", "A"), ("node", "Every GPU", "q5")],
    [("node", "Every GPU", "q5"), ("node", "Nodes", "q2")],
    [("team", "Cost in this range", "A"), ("team", "Our pods", "q0")],
    [("team", "Cost in this range", "A"), ("team", "By task", "A")],
    [("waste", "Waste", "A"), *(("waste", title, "A") for title in
                                ("Idle", "Underused", "Unallocated", "Stranded", "Unavailable"))],
    [("llm", "Cost per hour", "A"), ("llm", "Models", "q0")],
]


def disagreements(prometheus):
    """A total and its parts must be equal, but for what an estimate of increases may be off on young series."""
    asked = {(board.name.removeprefix("gpu-cost-").removesuffix(".json"), panel["title"], target["refId"]):
             substituted(target["expr"], GRAFANA | chosen(prometheus, board, ALL))
             for board in boards() for panel, target in queries(board)}
    for whole, *parts in SUMS:
        now = time.time()
        total, *summed = (sum(float(one["value"][1]) for one in prometheus.query(asked[key], now))
                          for key in [whole, *parts])
        if not total or abs(total - sum(summed)) > 0.01 * total:
            yield f"{whole} is {total}, and {parts} are {summed}"


def queries(board):
    return [(panel, target) for panel in board.panels() for target in panel["targets"]]


def chosen(prometheus, board, which):
    """The variables and what is chosen of each, in their order, as later ones may depend on earlier ones."""
    values = {}
    for variable in board.variables():
        if variable["type"] == "query":
            first = values_of(prometheus, variable, GRAFANA | values) if which == FIRST else []
            values[variable["name"]] = first[0] if first else variable["allValue"]
        elif variable["type"] == "custom":
            values[variable["name"]] = variable["options"][0]["value"]
    return values


def values_of(prometheus, variable, values):
    asked = substituted(variable["definition"], values)
    metric, _, label = asked.removeprefix("label_values(").removesuffix(")").rpartition(",")
    return prometheus.get(f"label/{label.strip()}/values", **{"match[]": metric.strip()})


def run(prometheus, panel, target, expr):
    """The labels of the series of an answer that have a number."""
    if target["instant"]:
        result = [one | {"values": [one["value"]]} for one in prometheus.query(expr)]
    else:
        step = 86400 if panel.get("interval") == "1d" else 60
        end = int(time.time()) // 60 * 60 + 60
        span = 2 * 86400 if step == 86400 else 1800
        result = prometheus.query_range(expr, end - span, end, step)
    return [one["metric"] for one in result if any(value != "NaN" for _, value in one["values"])]


def wrong_labels(panel, target, series):
    """What a legend names, or the first query of a table has to bring, must be a label of some series; and a table
    must know every label that it gets, as each would be a column."""
    found = {label for labels in series for label in labels}
    wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    unknown = set()
    if panel["type"] == "table":
        organize = next(one["options"] for one in panel["transformations"] if one["id"] == "organize")
        shown = {name for name in organize["indexByName"] if not name.startswith("Value")}
        unknown = found - shown - set(organize["excludeByName"])
        wanted |= shown if target is panel["targets"][0] else set()
    if unknown:
        return f"brings the label {', '.join(sorted(unknown))}, which the table does not know"
    missing = wanted - found
    return f"no label {', '.join(sorted(missing))}" if missing else ""


def wait_for_data(ask, seconds=8):
    """Asks again for a while: a recorded series may need another evaluation."""
    end = time.monotonic() + seconds
    while not (data := ask()) and time.monotonic() < end:
        time.sleep(1)
    return data


main()
