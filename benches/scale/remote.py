"""Remote write as docs/scale.md says: what is sent, and whether both sides hold the same."""

import contextlib
import pathlib
import tempfile
import time

import yaml

from servers import ROOT, Prometheus, VictoriaMetrics, own_metrics, resident_bytes, rules, summed, version_of, wait_for

DOCUMENT = ROOT / "docs/scale.md"
RECEIVER = ("--web.enable-remote-write-receiver",)
# One sum of each kind that an invoice is made of.
SUMS = ["sum by (team, state) (showback:gpu_cost_dollars_per_hour:rate5m)", "sum by (node) (node:gpu_cost_dollars:delta1h)",
        "sum by (namespace, state) (showback:gpu_cost_dollars:delta1h)", "sum(cluster:gpu_cost_dollars:sum24h)",
        "sum by (team) (sum_over_time(showback:gpu_cost_dollars:delta1h[1h]))"]

BILLS = ("abs(sum(gpu_cost_device_dollars_total) - sum(gpu_cost_showback_dollars_total))"
         " / sum(gpu_cost_device_dollars_total)")


def snippet(which):
    """A block of the document by the name in its first comment."""
    blocks = DOCUMENT.read_text(encoding="utf-8").split("```yaml\n")[1:]
    (found,) = [block.split("```")[0] for block in blocks if block.startswith(f"# {which}")]
    return yaml.safe_load(found)


def measured(nodes, args):
    """What a server with rules sends, and what an agent sends that has none."""
    seconds = 4 if args.quick else 120
    interval = 1 if args.quick else 15
    return {"recorded": recorded(nodes, args, interval, seconds), "agent": agent(nodes, args, interval, seconds / 2)}


def recorded(nodes, args, interval, seconds):
    with contextlib.ExitStack() as stack:
        here, there, vm = (pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(3))
        receivers = {"prometheus": stack.enter_context(Prometheus(there, {"scrape_configs": []}, args.prometheus, RECEIVER))}
        if args.victoria_metrics:
            receivers["victoria-metrics"] = stack.enter_context(VictoriaMetrics(vm, args.victoria_metrics))
        config = nodes.scraped_each(interval) | {
            "rule_files": [rules(here, args.quick)],
            "remote_write": [write_to(receiver, snippet("Recorded")) for receiver in receivers.values()],
        }
        sender = stack.enter_context(Prometheus(here, config, args.prometheus, ("--storage.tsdb.retention.time=15d",)))
        wait_for("every sum", lambda: all(sender.query(query) for query in SUMS), 240)
        before, began = own_metrics(sender), time.monotonic()
        time.sleep(seconds)
        after, took = own_metrics(sender), time.monotonic() - began
        found = {name: differences(sender, receiver) for name, receiver in receivers.items()}
        sent = [per_second(before, after, took, name) / len(receivers)
                for name in ("prometheus_remote_storage_samples_total", "prometheus_remote_storage_bytes_total")]
        return {
            "samples_per_second": sent[0], "bytes_per_second": sent[1],
            "failed": summed(after, "prometheus_remote_storage_samples_failed_total"),
            "appended_per_second": per_second(before, after, took, "prometheus_tsdb_head_samples_appended_total"),
            "series": own_metrics(receivers["prometheus"])["prometheus_tsdb_head_series"], "differ": found,
        }


def write_to(receiver, document):
    """The document's remote_write, to an address of ours."""
    (written,) = document["remote_write"]
    return written | {"url": f"http://{receiver.address}/api/v1/write"}


def differences(sender, receiver):
    """How many sums of an invoice are not the same on both sides, and how many were compared.

    They are asked for the same past moment, once all that the sender had until then has arrived."""
    at = time.time() - 5
    wait_for("what was sent", lambda: sent_until(sender) > at + 1, 150)
    # VictoriaMetrics shows what it has taken a second later.
    time.sleep(2)
    compared = differ = 0
    for query in SUMS:
        here, there = ({tuple(sorted(one["metric"].items())): float(one["value"][1]) for one in server.query(query, at)}
                       for server in (sender, receiver))
        compared += len(here)
        differ += sum(1 for key in here.keys() | there.keys() if not close(here.get(key), there.get(key)))
    return {"compared": compared, "differ": differ}


def close(one, other):
    """Whether two sums of the same numbers are equal but for the order in which they were added."""
    return None not in (one, other) and abs(one - other) <= 1e-12 * max(abs(one), abs(other))


def sent_until(sender):
    """The time up to which every receiver has acknowledged samples."""
    name = "prometheus_remote_storage_queue_highest_sent_timestamp_seconds"
    return min((value for series, value in own_metrics(sender).items() if series.startswith(name)), default=0)


def agent(nodes, args, interval, seconds):
    """An agent that sends the exporters' own counters, and the server that it sends them to."""
    with tempfile.TemporaryDirectory() as here, tempfile.TemporaryDirectory() as there:
        here, there = pathlib.Path(here), pathlib.Path(there)
        with Prometheus(there, {"scrape_configs": []}, args.prometheus, RECEIVER) as receiver:
            config = nodes.scraped_each(interval) | {"remote_write": [write_to(receiver, snippet("Agent"))]}
            with Prometheus(here, config, args.prometheus, agent_flags(args.prometheus)) as sender:
                # An agent first reads its log, which is empty, and sends what comes after that.
                wait_for("the first series", lambda: receiver.query(BILLS), 60)
                before, began = own_metrics(sender), time.monotonic()
                time.sleep(seconds)
                after, took = own_metrics(sender), time.monotonic() - began
                at = time.time()
                wait_for("what was sent", lambda: sent_until(sender) > at + 1, 60)
                (differs,) = receiver.query(BILLS, at)
                return {
                    "samples_per_second": per_second(before, after, took, "prometheus_remote_storage_samples_total"),
                    "bytes_per_second": per_second(before, after, took, "prometheus_remote_storage_bytes_total"),
                    "cpu": per_second(before, after, took, "process_cpu_seconds_total"),
                    "rss": resident_bytes(sender.process.pid), "series": own_metrics(receiver)["prometheus_tsdb_head_series"],
                    "bill_differs_by": float(differs["value"][1]),
                }


def agent_flags(program):
    """How to start an agent: since Prometheus 3 by a flag of its own."""
    return ("--enable-feature=agent",) if version_of(program).startswith("2.") else ("--agent",)


def per_second(before, after, took, name):
    return (summed(after, name) - summed(before, name)) / took
