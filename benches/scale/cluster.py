"""What a cluster costs to watch: arithmetic on what was measured of fewer nodes."""

import dataclasses

from formula import POD, POD_DEVICE, SCRAPE, SHAPES, Shape, recorded, recorded_per_second

HOURS_A_MONTH = 730
# Groups of rules that read the exporters' own series, so that they take longer with every node.
EVALUATED = ["gpu-cost.live", "gpu-cost.alerts.waste", "gpu-cost.ledger"]
RETENTION_DAYS = 15
# Blocks of the longest length that such a retention makes: a tenth of it.
BLOCKS = 10
# How long Prometheus keeps a series in memory that has ended.
HEAD_HOURS = 3
# Dollars a month, round figures of a general-purpose instance on demand and its disk.
DOLLARS = {"vcpu": 25, "memory_gb": 3, "disk_gb": 0.10}
GPU_DOLLARS_PER_HOUR = 6.88
GB = 1e9


@dataclasses.dataclass(frozen=True)
class Cluster:
    nodes: int = 5000
    shape: Shape = Shape()
    level: str = "pod"
    interval: int = 30
    payers: int = 500
    workloads: int = 5000

    def cost(self, measured):
        """What it takes to watch it, from what was measured of fewer nodes."""
        level = measured["levels"][self.level]
        with_pods = self.level != "showback"
        scraped = self.nodes * (self.shape.series(self.level) + SCRAPE)
        ruled = (self.nodes, self.shape, self.payers, self.workloads if with_pods else 0)
        by_rules = recorded(*ruled)
        # Series of pods that have ended and are still in memory, beside those that are still served.
        left = self.nodes * self.shape.ended * (4 * HEAD_HOURS - 1) * (POD + POD_DEVICE) if with_pods else 0
        samples = scraped / self.interval + recorded_per_second(*ruled)
        memory = (scraped + by_rules + left) * bytes_per_series(level) / GB
        # The rules' processor time goes with the series that they read.
        cpu = scraped / self.interval * cpu_per_sample(level) + cpu_of_rules(level) * scraped / level["rules"]["scraped"]
        disk = (samples * RETENTION_DAYS * 86400 * level["disk"]["bytes_per_sample"]
                + BLOCKS * (scraped + by_rules + left * 12) * level["disk"]["index_bytes_per_series"]
                + samples * HEAD_HOURS * 3600 * level["disk"]["wal_bytes_per_sample"]) / GB
        evaluations = {name: level["groups"][name] * scraped / level["rules"]["scraped"] for name in EVALUATED}
        exporters = level["30s"]["exporters"]
        found = {
            "scraped": scraped, "recorded": by_rules, "left": left, "samples": samples, "memory_gb": memory, "vcpu": cpu,
            "disk_gb": disk, "network_mb": self.nodes * measured["shapes"][self.name()][self.level]["text_gzip"] / self.interval / 1e6,
            "exporters_vcpu": self.nodes * exporters["cpu"], "exporters_gb": self.nodes * exporters["rss"] / GB,
            "evaluations": evaluations,
        }
        return found | {
            "dollars": sum(found[what] * DOLLARS[what] for what in DOLLARS),
            "exporters_dollars": found["exporters_vcpu"] * DOLLARS["vcpu"] + found["exporters_gb"] * DOLLARS["memory_gb"],
            "gpus_dollars": self.nodes * self.shape.gpus * GPU_DOLLARS_PER_HOUR * HOURS_A_MONTH,
        }

    def name(self):
        return next(name for name, shape in SHAPES.items() if shape == self.shape)


def bytes_per_series(level):
    """Memory of a server with full chunks, over that of an empty one, while the rules run, by the series that it holds."""
    return (level["rules"]["rss"] - level["empty_rss"]) / level["rules"]["series"]


def cpu_per_sample(level):
    """Processor seconds for a sample more: between two intervals, so that what is there anyway does not count."""
    slow, fast = level["30s"], level["filled"]
    return (fast["cpu"] - slow["cpu"]) / (fast["samples_per_second"] - slow["samples_per_second"])


def cpu_of_rules(level):
    """Of all rules at their own pace, of which the ledger's is an hour and no other's less than a minute.

    How long they took is an upper bound of the processor time that they used."""
    ledger = level["groups"]["gpu-cost.ledger"]
    return (sum(level["groups"].values()) - ledger) / 60 + ledger / 3600
