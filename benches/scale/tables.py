"""The tables of docs/scale.md, made of measured.json and of the formulas. `UPDATE_EXPECT=1` (make bless) writes them."""

import json
import pathlib
import re

import formula
from cluster import BLOCKS, DOLLARS, EVALUATED, HEAD_HOURS, RETENTION_DAYS, Cluster, bytes_per_series, cpu_of_rules, cpu_per_sample
from formula import LEVELS, SHAPES

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs/scale.md"
MEASURED = pathlib.Path(__file__).parent / "measured.json"


def written():
    """The document with its tables as they should be."""
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        text, count = re.subn(rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda found: found[1] + table(measured) + found[2], text,
                              flags=re.DOTALL)
        assert count == 1, f"{DOCUMENT} has {count} places for the table {name}"
    return text


def table(head, rows):
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def things(_):
    """Series of one of each thing."""
    rows = [
        ["GPU", formula.GPU], ["GPU cut into MIG devices", formula.MIG_GPU], ["MIG device", formula.MIG_DEVICE],
        ["set of labels that pays, on a node", formula.PAYER], ["what nobody holds, for each GPU and price model", formula.NOBODY],
        ["node and exporter", formula.NODE], ["pod, also for 15 minutes after its end *", formula.POD],
        ["each further container of a pod, at the level container", formula.CONTAINER],
        ["device of a pod *", f"{formula.POD_DEVICE}; {formula.POD_DEVICE - 1} if it is shared"],
        ["energy section in the price file", f"{formula.GPU_ENERGY} per GPU, {formula.POD_ENERGY} per pod *, {formula.NODE_ENERGY}"],
    ]
    return table(["of each", "series"], rows)


def shapes(measured):
    head = ["node", *(f"{level}: series / text / gzip" for level in LEVELS)]
    rows = []
    for name, shape in SHAPES.items():
        row = [name]
        for level in LEVELS:
            found = measured["shapes"][name][level]
            row.append(f"{shape.series(level)} / {found['text'] / 1000:.0f} kB / {found['text_gzip'] / 1000:.1f} kB")
        rows.append(row)
    return table(head, rows)


def hundred(measured):
    def row(what, value):
        return [what, *(value(measured["levels"][level]) for level in levels(measured))]

    def cores(key, stage):
        return lambda level: f"{level[stage][key] * 100:.1f} % of a core"

    rows = [
        row("series of a scrape (the demo's node)", lambda level: level["scrape"]["series"]),
        row("bytes of a scrape: text, gzip, protobuf, gzip", lambda level: " / ".join(
            f"{level['scrape'][form] / 1000:.1f} kB" for form in ["text", "text_gzip", "protobuf", "protobuf_gzip"])),
        row("series in Prometheus, without and with the rules", lambda level: f"{level['filled']['series']:,.0f} / {level['rules']['series']:,.0f}"),
        row("samples per second, every 30 s, with the rules", lambda level: f"{level['rules']['samples_per_second']:,.0f}"),
        row("Prometheus, scraping every 30 s", cores("cpu", "30s")),
        row("the same every 15 s", cores("cpu", "15s")),
        row("every 30 s with all rules and alerts", cores("cpu", "rules")),
        row("processor time of a sample", lambda level: f"{cpu_per_sample(level) * 1e6:.1f} µs"),
        row("Prometheus' memory with full chunks", lambda level: f"{level['filled']['rss'] / 1e6:.0f} MB"),
        row("with the rules' series and queries", lambda level: f"{level['rules']['rss'] / 1e6:.0f} MB"),
        row("of that per series, above an empty server", lambda level: f"{bytes_per_series(level):,.0f} bytes"),
        row("a scrape takes, mean / longest", lambda level: f"{level['30s']['scrape_mean'] * 1000:.0f} / {level['30s']['scrape_max'] * 1000:.0f} ms"),
        row("disk per sample, and per series in each block", lambda level: f"{level['disk']['bytes_per_sample']:.2f} / {level['disk']['index_bytes_per_series']:.0f} bytes"),
        row("write-ahead log per sample", lambda level: f"{level['disk']['wal_bytes_per_sample']:.1f} bytes"),
        row("one exporter, not scraped / every 30 s / every 2 s", lambda level: " / ".join(
            f"{used['cpu'] * 100:.2f}" for used in [level["unscraped"], level["30s"]["exporters"], level["filled"]["exporters"]]) + " % of a core"),
        row("one exporter's memory: resident, its own", lambda level: f"{level['30s']['exporters']['rss'] / 1e6:.0f} / {level['30s']['exporters']['pss'] / 1e6:.0f} MB"),
    ]
    return table([f"{measured['nodes']} nodes", *levels(measured)], rows)


def rules(measured):
    names = ["gpu-cost.ledger", "gpu-cost.live", "gpu-cost.ratios", "gpu-cost.periods", "gpu-cost.alerts.waste"]
    rows = []
    for name in names:
        found = [measured["levels"][level]["groups"][name] for level in levels(measured)]
        every = re.search(rf"name: {name}\n +interval: (\w+)", "".join(file.read_text() for file in sorted(ROOT.glob("rules/*.yml"))))[1]
        rows.append([f"`{name}`, every {every}", *(f"{seconds * 1000:.0f} ms" for seconds in found)])
    return table(["an evaluation takes", *levels(measured)], rows)


def remote(measured):
    found, agent = measured["remote"]["recorded"], measured["remote"]["agent"]
    rows = [
        ["series held by the receiver", f"{found['series']:,.0f}", f"{agent['series']:,.0f}"],
        ["samples per second", f"{found['samples_per_second']:,.0f}", f"{agent['samples_per_second']:,.0f}"],
        ["bytes per second on the wire", f"{found['bytes_per_second']:,.0f}", f"{agent['bytes_per_second']:,.0f}"],
        ["sums compared, of them different", " and ".join(f"{name}: {one['compared']}, {one['differ']}" for name, one in found["differ"].items()),
         f"the bill by GPU and by payer differ by {agent['bill_differs_by']:.0e}"],
        ["sender", "a server with the rules", f"an agent: {agent['cpu'] * 100:.1f} % of a core, {agent['rss'] / 1e6:.0f} MB"],
    ]
    return table([f"{measured['nodes']} nodes", "recorded series", "all series, by an agent, every 15 s"], rows)


def clusters(measured):
    plain, jobs = SHAPES["8 GPUs, 8 pods"], SHAPES["8 GPUs, 8 pods, 96 jobs an hour"]
    cases = {level: Cluster(level=level, shape=plain) for level in levels(measured)}
    cases |= {f"{level}, 96 jobs an hour and node": Cluster(level=level, shape=jobs) for level in levels(measured) if level != "container"}
    costs = [cluster.cost(measured) for cluster in cases.values()]

    def row(what, form):
        return [what, *(form(cost) for cost in costs)]

    rows = [
        row("series scraped", lambda cost: f"{cost['scraped'] / 1e6:.2f} M"),
        row("series recorded by the rules", lambda cost: f"{cost['recorded'] / 1e6:.2f} M"),
        row("series of ended pods still in memory", lambda cost: f"{cost['left'] / 1e6:.2f} M"),
        row("samples per second", lambda cost: f"{cost['samples'] / 1e3:.0f} k"),
        row("scrapes on the wire, gzip", lambda cost: f"{cost['network_mb']:.1f} MB/s"),
        row("Prometheus' memory", lambda cost: f"{cost['memory_gb']:.0f} GB"),
        row("Prometheus' processors", lambda cost: f"{cost['vcpu']:.1f}"),
        *(row(f"an evaluation of `{name}`, on one core", lambda cost, name=name: f"{cost['evaluations'][name]:.0f} s")
          for name in EVALUATED),
        row(f"disk for {RETENTION_DAYS} days", lambda cost: f"{cost['disk_gb']:.0f} GB"),
        row("Prometheus a month", lambda cost: f"{cost['dollars']:,.0f} $"),
        row("all exporters: processors, memory", lambda cost: f"{cost['exporters_vcpu']:.0f}, {cost['exporters_gb']:.0f} GB"),
        row("all exporters a month", lambda cost: f"{cost['exporters_dollars']:,.0f} $"),
        row("of the GPUs' own price", lambda cost: f"{(cost['dollars'] + cost['exporters_dollars']) / cost['gpus_dollars'] * 1e6:.0f} millionths"),
    ]
    return table(["5,000 nodes of 8 GPUs, every 30 s", *cases], rows)


def levels(measured):
    return [level for level in LEVELS if level in measured["levels"]]


TABLES = {"things": things, "shapes": shapes, "hundred": hundred, "rules": rules, "remote": remote, "clusters": clusters}

if __name__ == "__main__":
    DOCUMENT.write_text(written(), encoding="utf-8")
