"""Measures what many nodes cost to watch: real exporters in demo mode, one real Prometheus with the shipped rules.

    python3 benches/scale/measure.py target/release/gpu-cost-exporter --write     # takes half an hour: make scale

Processor time is taken from the processes themselves, so that other work on the machine changes it little.
The numbers go to benches/scale/measured.json, from which tables.py writes those of docs/scale.md.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import tempfile
import time

import remote
from formula import LEVELS, SHAPES
from nodes import Exporter, bytes_of, replayed, samples
from servers import (ROOT, Prometheus, cpu_seconds, own_metrics, private_bytes, resident_bytes, rules, snapshot, summed,
                     version_of, wait_for)

MEASURED = pathlib.Path(__file__).parent / "measured.json"

# Name, scrape interval and length in seconds, and whether the rules run. `filled` brings so many samples that chunks
# are full, as they are after an hour at 30 s.
STAGES = [("30s", 30, 60, False), ("15s", 15, 45, False), ("filled", 2, 200, False), ("rules", 30, 90, True)]
QUICK = [("30s", 1, 2, False), ("filled", 1, 2, False), ("rules", 1, 3, True)]


def main():
    args = arguments()
    measured = {
        "date": str(datetime.date.today()), "machine": machine(), "nodes": args.nodes,
        "exporter": version_of(args.binary), "prometheus": version_of(args.prometheus),
        "shapes": shapes(args.binary, args.level), "levels": {}, "remote": {},
    }
    for level in args.level:
        with Nodes(args.binary, args.nodes, level) as nodes:
            measured["levels"][level] = watched(nodes, args.prometheus, QUICK if args.quick else STAGES)
            if level == "pod":
                measured["remote"] = remote.measured(nodes, args)
    print(json.dumps(measured, indent=1), flush=True)
    if args.write:
        kept = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
        measured["levels"] = kept.get("levels", {}) | measured["levels"]
        measured["shapes"] = {shape: kept.get("shapes", {}).get(shape, {}) | levels for shape, levels in measured["shapes"].items()}
        measured["remote"] = measured["remote"] or kept.get("remote", {})
        MEASURED.write_text(json.dumps(measured, indent=1) + "\n")
    return measured


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", help="the program, a release build")
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--level", action="append", help="all levels unless given; may be repeated")
    parser.add_argument("--prometheus", default=newest_prometheus())
    parser.add_argument("--victoria-metrics", default=shutil.which("victoria-metrics", path=f"{ROOT}/.tools/bin:{os.environ['PATH']}"))
    parser.add_argument("--quick", action="store_true", help="a few seconds of each stage: whether it works")
    parser.add_argument("--write", action="store_true", help="write measured.json, keeping levels that were not measured")
    args = parser.parse_args()
    args.level = args.level or LEVELS
    return args


def newest_prometheus():
    ours = ROOT / ".tools/bin/prometheus-created"
    return str(ours) if ours.exists() else "prometheus"


def machine():
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return {"cpus": os.cpu_count(), "cpu": model[1] if model else platform.machine(), "system": platform.platform()}


# === One scrape ===


def shapes(binary, levels):
    """Series and bytes of a scrape of each shape at each level."""
    found = {}
    for name, shape in SHAPES.items():
        for level in levels:
            with tempfile.TemporaryDirectory() as directory, replayed(binary, shape, level, directory) as exporter:
                exporter.scrape_until(lambda text: "gpu_cost_node_gpus" in text)
                found.setdefault(name, {})[level] = bytes_of(exporter)
    return found


# === Many nodes ===


class Nodes:
    """So many simulated nodes, as a context."""

    def __init__(self, binary, number, level):
        args = ["--demo", f"--metrics.level={level}", "--log.level=error"]
        self.by_name = {f"gpu-node-{at:04}": Exporter(binary, *args, f"--node.name=gpu-node-{at:04}") for at in range(number)}

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            for exporter in self.by_name.values():
                stack.enter_context(exporter)
            for exporter in self.by_name.values():
                exporter.scrape_until(lambda text: "gpu_cost_pod_info" in text or "gpu_cost_showback" in text)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def pids(self):
        return [exporter.process.pid for exporter in self.by_name.values()]

    def one(self):
        return next(iter(self.by_name.values()))

    def scraped_each(self, seconds):
        """The scrape configuration, with the labels that a PodMonitor gives."""
        targets = [{"targets": [f"127.0.0.1:{exporter.port}"], "labels": {"instance": name}}
                   for name, exporter in self.by_name.items()]
        return {
            "global": {"scrape_interval": f"{seconds}s", "evaluation_interval": "1m",
                       "external_labels": {"cluster": "scale", "replica": "a"}},
            "scrape_configs": [{"job_name": "gpu-cost-exporter", "honor_labels": True, "static_configs": targets}],
        }


def watched(nodes, program, stages):
    """What the nodes and a Prometheus cost, stage by stage."""
    found = {"scrape": bytes_of(nodes.one()), "unscraped": used(nodes.pids(), stages[0][2] / 4)}
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        config = {"scrape_configs": []}
        flags = ["--web.enable-admin-api", "--storage.tsdb.retention.time=15d"]
        with Prometheus(directory, config, program, flags) as prometheus:
            found["empty_rss"] = resident_bytes(prometheus.process.pid)
            for name, interval, seconds, with_rules in stages:
                config = nodes.scraped_each(interval) | ({"rule_files": [rules(directory, stages is QUICK)]} if with_rules else {})
                found[name] = stage(nodes, prometheus, config, interval, seconds)
                if name == "filled":
                    found["disk"] = disk(prometheus, snapshot(prometheus))
            found["recorded"] = recorded(prometheus)
            found["groups"] = groups(own_metrics(prometheus))
    return found


def stage(nodes, prometheus, config, interval, seconds):
    """Reloads the configuration and measures so many seconds after it has settled."""
    (prometheus.directory / "prometheus.yml").write_text(json.dumps(config))
    prometheus.process.send_signal(1)
    # The first scrapes and the first evaluations make series, which is dearer than going on with them.
    # And rules look back five minutes, in which there should be no denser samples of the stage before.
    time.sleep(interval * 1.2 if "rule_files" not in config else interval * 10)
    wait_for("scrapes", lambda: count(prometheus, f"up[{2 * interval}s]") >= len(nodes.by_name), 2 * interval + 20)
    before, began = own_metrics(prometheus), time.monotonic()
    exporters = used(nodes.pids(), seconds)
    after, took = own_metrics(prometheus), time.monotonic() - began
    appended = [summed(metrics, "prometheus_tsdb_head_samples_appended_total") for metrics in (before, after)]
    cpu = [metrics["process_cpu_seconds_total"] for metrics in (before, after)]
    return {
        "interval": interval, "scraped": number(prometheus, "sum(scrape_samples_scraped)"), "series": after["prometheus_tsdb_head_series"],
        "samples_per_second": (appended[1] - appended[0]) / took, "cpu": (cpu[1] - cpu[0]) / took,
        "rss": resident_bytes(prometheus.process.pid), "heap": after["go_memstats_heap_alloc_bytes"],
        "chunks": after["prometheus_tsdb_head_chunks"], "exporters": exporters,
        "scrape_mean": number(prometheus, "avg(scrape_duration_seconds)"),
        "scrape_max": number(prometheus, "max(scrape_duration_seconds)"),
    }


def used(pids, seconds):
    """What exporters use per process: processor seconds per second, and memory."""
    before, began = cpu_seconds(*pids), time.monotonic()
    time.sleep(seconds)
    return {"cpu": (cpu_seconds(*pids) - before) / (time.monotonic() - began) / len(pids),
            "rss": resident_bytes(*pids) / len(pids), "pss": private_bytes(*pids) / len(pids)}


def disk(prometheus, found):
    metrics = own_metrics(prometheus)
    return {
        "bytes_per_sample": found["chunks"] / found["numSamples"], "index_bytes_per_series": found["index"] / found["numSeries"],
        "samples": found["numSamples"], "series": found["numSeries"],
        "wal_bytes_per_sample": metrics["prometheus_tsdb_wal_storage_size_bytes"] / found["numSamples"],
    }


def recorded(prometheus):
    """Recorded series by the level in their names."""
    found = prometheus.query('count by (__name__) ({__name__=~".+:.+"})')
    by_level = {}
    for one in found:
        name = one["metric"]["__name__"]
        level = "snapshot" if name.endswith(":snapshot") else name.split(":")[0]
        by_level[level] = by_level.get(level, 0) + int(one["value"][1])
    return dict(sorted(by_level.items()))


def groups(metrics):
    """How long each group of rules took the last time, in seconds."""
    name = "prometheus_rule_group_last_duration_seconds"
    return {re.search(r";([^\"]+)", series)[1]: value for series, value in sorted(metrics.items()) if series.startswith(name)}


def count(prometheus, selector):
    return number(prometheus, f"count(count_over_time({selector}))")


def number(prometheus, query):
    found = prometheus.query(query)
    return float(found[0]["value"][1]) if found else 0


if __name__ == "__main__":
    main()
