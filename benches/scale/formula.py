"""How many series a node has, from what is on it. METRICS.md is where the numbers come from; test_scale.py counts."""

import dataclasses

LEVELS = ["showback", "pod", "container"]

# Series of one of each thing, with today's metrics.
GPU = 36  # dollars and seconds in 8 states, prices 2, bands 3, gaps 3, readings and info 12
GPU_ENERGY = 2  # dollars and grams, where the price file has a section on energy
MIG_GPU = 31  # as a GPU, without the five readings of its work, which its parts have
MIG_DEVICE = 3  # info, memory, utilization
PAYER = 10  # dollars and GPU-seconds in the 5 states of a holder
NOBODY = 8  # the same in the 4 states of what nobody holds, once for each GPU model and price model
POD = 17  # dollars and GPU-seconds in 5 states, and 7 more
CONTAINER = 10  # of its pod's: dollars and GPU-seconds in 5 states
POD_ENERGY = 2
POD_DEVICE = 2  # utilization and memory; without memory on a device that others hold, too
NODE = 50  # the node, the ledger, the price list's 3 language models, 5 sources, the process
NODE_ENERGY = 4
SCRAPE = 5  # what Prometheus itself writes about a target


@dataclasses.dataclass(frozen=True)
class Shape:
    """What is on a node."""

    gpus: int = 8
    # Of them, those that are cut into parts, and the parts.
    mig_gpus: int = 0
    mig_devices: int = 0
    pods: int = 8
    # Devices of all pods together, and those of them that one pod has alone.
    held: int = 8
    alone: int = 8
    # Containers with GPUs in each pod, and pods that ended in the last 15 minutes.
    containers: int = 1
    ended: int = 0
    # Sets of labels of who pays, since the ledger began.
    payers: int = 8
    # Pairs of GPU model and price model.
    kinds: int = 1
    energy: bool = False

    def series(self, level):
        """Series of one scrape."""
        return sum(self.parts(level).values())

    def parts(self, level):
        energy = int(self.energy)
        parts = {
            "GPUs": (self.gpus - self.mig_gpus) * GPU + self.mig_gpus * MIG_GPU + self.gpus * GPU_ENERGY * energy
            + self.mig_devices * MIG_DEVICE,
            "who pays": self.payers * PAYER + self.kinds * NOBODY,
            "the node": NODE + NODE_ENERGY * energy,
        }
        if level != "showback":
            # The first container's are in place of the pod's own.
            more = (self.containers - 1) * CONTAINER if level == "container" else 0
            pods = (self.pods + self.ended) * (POD + more + POD_ENERGY * energy)
            parts["pods"] = pods + self.held + self.alone
        return parts


# The nodes of docs/scale.md.
SHAPES = {
    "8 GPUs, 8 pods": Shape(),
    "8 GPUs, one pod": Shape(pods=1, payers=1),
    "8 GPUs, 8 pods, 96 jobs an hour": Shape(ended=24, payers=4),
    "8 GPUs, 4 slots each": Shape(pods=32, held=32, alone=0, payers=8),
    "8 GPUs, 4 pods of 2 containers": Shape(pods=4, containers=2, payers=4, held=8, alone=8),
    "8 GPUs, 56 MIG parts": Shape(mig_gpus=8, mig_devices=56, pods=56, held=56, alone=56, payers=20),
}


# === What the rules record ===

# Series of the shipped rules by how often they are written. The hours of the ledger and the sums of periods have the
# tariff in their labels, so there are two of each where peak hours are priced apart.
TARIFFS = 2
GPU_MINUTE, GPU_HOUR = 8, 8  # dollars per hour, and the snapshot, in 8 states
NODE_MINUTE, NODE_PERIOD, NODE_HOUR = 20, 8, 8 * TARIFFS + 1  # the last is when its ledger began
PAYER_MINUTE, PAYER_PERIOD, PAYER_HOUR = 10, 40 * TARIFFS, 10 * TARIFFS
WORKLOAD_MINUTE, WORKLOAD_PERIOD, WORKLOAD_HOUR = 13, 5, 5 * TARIFFS


def recorded(nodes, shape, payers, workloads):
    """Recorded series of so many such nodes, with so many payers and workloads in all, but for some thousands."""
    of_node = shape.gpus * (GPU_MINUTE + GPU_HOUR) + NODE_MINUTE + NODE_PERIOD + NODE_HOUR + snapshots(shape) + shape.pods
    of_payer = PAYER_MINUTE + PAYER_PERIOD + PAYER_HOUR
    return nodes * of_node + payers * of_payer + workloads * (WORKLOAD_MINUTE + WORKLOAD_PERIOD + WORKLOAD_HOUR)


def recorded_per_second(nodes, shape, payers, workloads):
    """Samples of them; those of the hour are too few to count."""
    minute = nodes * (shape.gpus * GPU_MINUTE + NODE_MINUTE + shape.pods) + payers * PAYER_MINUTE + workloads * WORKLOAD_MINUTE
    return minute / 60 + (nodes * NODE_PERIOD + payers * PAYER_PERIOD + workloads * WORKLOAD_PERIOD) / 120


def snapshots(shape):
    """Of who pays on a node, each hour."""
    return shape.payers * PAYER + shape.kinds * NOBODY
