"""Every GPU and MIG device: what it is, does, draws and costs: for those who run the nodes."""

from .panels import (
    BYTES, GRAMS, INVOICE_USD, JOULES, NUMBER, PART, STATES, USD, WATTS, choice, column, dashboard, labels_of, query, row, stat,
    table, timeseries,
)
from .words import CLUSTER, DEVICE, IDLE, WASTE, per_hour, ratio, spent

NODE = 'node=~"$node"'
ON = f"{CLUSTER}, {NODE}"
CHOSEN = (NODE, 'gpu_uuid=~"$gpu"')
BOTH = ", ".join((CLUSTER, *CHOSEN))
A_GPU = "node, gpu_uuid"
A_MIG = "node, gpu_uuid, mig_uuid"
NUMBERED = f"on ({A_GPU}) group_left (gpu) max by ({A_GPU}, gpu) (gpu_cost_device_info{{{BOTH}}})"


def node():
    return dashboard(
        "gpu-cost-nodes",
        "Node and GPU",
        """What is every GPU and MIG device doing, what does it draw, and what does that cost?""",
        [choice("node", "Node", "gpu_cost_device_info"),
         choice("gpu", "GPU", f"gpu_cost_device_info{{{ON}}}", of="gpu_uuid")],
        [
            row(None, 4, *totals()),
            row("Money", 9, *money()),
            row("GPUs", 11, gpus()),
            row("Work", 9, *work()),
            row("Power", 8, *power()),
            row("MIG devices", 9, mig(), mig_over_time()),
            row("Nodes", 7, nodes(), errors()),
        ],
    )


def totals():
    price = f'gpu_cost_device_price_dollars_per_hour{{{BOTH}, basis="effective"}}'
    return [
        stat("Price per hour now", "What do these GPUs cost per hour at the rates in force?", f"sum({price})"),
        stat("Waste per hour now", "How many dollars per hour do nothing at this moment?",
             per_hour(DEVICE, *CHOSEN, WASTE), over_time=True),
        stat("At work", "Which part of the cost did work in the time range?",
             ratio(spent(DEVICE, *CHOSEN, 'state="used"'), spent(DEVICE, *CHOSEN)), PART,
             steps=[(None, "orange"), (0.3, "yellow"), (0.6, "green")]),
        stat("GPUs", "How many GPUs do the drivers of these nodes show?",
             f'sum(gpu_cost_node_gpus{{{ON}, kind="seen"}})', NUMBER),
        stat("GPUs missing", "How many GPUs were there since boot and are gone?",
             f'sum(gpu_cost_node_gpus{{{ON}, kind="expected"}}) - sum(gpu_cost_node_gpus{{{ON}, kind="seen"}})',
             NUMBER, steps=[(None, "green"), (1, "red")]),
        stat("Power now", "How many watts do the boards draw?", f"sum(gpu_cost_device_power_watts{{{BOTH}}})", WATTS,
             over_time=True),
    ]


def money():
    return [
        timeseries("Cost per hour by state", "What does the money of these GPUs do? The height is the bill.",
                   query(per_hour(DEVICE, *CHOSEN, by="state"), "{{state}}"), stacked=True, colours=STATES),
        timeseries("Waste per hour by GPU", "Which GPU's money does nothing?",
                   query(f"({per_hour(DEVICE, *CHOSEN, WASTE, by=A_GPU)}) * {NUMBERED}", "{{node}} GPU {{gpu}}"),
                   stacked=True),
    ]


def gpus():
    def now(metric):
        return f"max by ({A_GPU}) ({metric}{{{BOTH}}})"

    price = f'max by ({A_GPU}) (gpu_cost_device_price_dollars_per_hour{{{BOTH}, basis="effective"}})'
    return table(
        "Every GPU",
        """What is each GPU, what does it do now, and what did it cost in the time range? What cannot be measured is
        empty, never zero.""",
        {"node": "Node", "gpu": "GPU", "gpu_model": "Model", "sharing": "Sharing", "price_model": "Price model",
         "price_rule": "Price from", "gpu_uuid": "UUID"},
        [
            labels_of(f"max by ({A_GPU}, gpu, gpu_model, sharing, price_model, price_rule) (gpu_cost_device_info{{{BOTH}}})"),
            column("Price per hour", price),
            column("Utilization", now("gpu_cost_device_utilization_ratio"), PART, bar="green"),
            column("Memory", f"{now('gpu_cost_device_memory_used_bytes')} / {now('gpu_cost_device_memory_total_bytes')}",
                   PART, bar="blue"),
            column("Power", now("gpu_cost_device_power_watts"), WATTS),
            column("Cost", spent(DEVICE, *CHOSEN, by=A_GPU)),
            column("Waste", spent(DEVICE, *CHOSEN, WASTE, by=A_GPU), bar="orange"),
            column("Idle", spent(DEVICE, *CHOSEN, IDLE, by=A_GPU)),
        ],
        sort="Waste",
    )


def work():
    def part(title, question, metric):
        return timeseries(title, question, query(f"{metric}{{{BOTH}}} * {NUMBERED}", "{{node}} GPU {{gpu}}"), PART,
                          width=6, top=1)

    used = f"gpu_cost_device_memory_used_bytes{{{BOTH}}} / gpu_cost_device_memory_total_bytes{{{BOTH}}}"
    return [
        part("Utilization", "In which part of the time did at least one kernel run?", "gpu_cost_device_utilization_ratio"),
        part("Multiprocessors busy", "How much of the chip was busy? Only GPUs since Hopper can say.",
             "gpu_cost_device_sm_active_ratio"),
        part("Tensor cores", "How much of the tensor cores' peak was used? Only GPUs since Hopper can say.",
             "gpu_cost_device_tensor_active_ratio"),
        timeseries("Memory used", "Which part of its memory does each GPU use?",
                   query(f"({used}) * {NUMBERED}", "{{node}} GPU {{gpu}}"), PART, width=6, top=1),
    ]


def power():
    return [
        timeseries("Power by GPU", "What does each board draw?",
                   query(f"gpu_cost_device_power_watts{{{BOTH}}} * {NUMBERED}", "{{node}} GPU {{gpu}}"), WATTS, width=8),
        stat("Energy", "How much energy did the boards use in the time range?",
             f"sum(increase(gpu_cost_device_energy_joules_total{{{BOTH}}}[$__range]))", JOULES, width=3),
        stat("Electricity",
             "What did that energy cost, beside the bill? Empty where the price file has no `energy` section.",
             f"sum(increase(gpu_cost_device_energy_dollars_total{{{BOTH}}}[$__range]))", USD, width=3),
        stat("CO2e", "What did that energy emit? Empty where the price file has no `energy` section.",
             f"sum(increase(gpu_cost_device_co2e_grams_total{{{BOTH}}}[$__range]))", GRAMS, width=3),
        timeseries("Dollars per GPU hour at work, by node",
                   "What does an hour of real work cost on each node, if everything else is put on its price?",
                   query(f"{per_hour(DEVICE, *CHOSEN, by='node')} / {at_work()}", "{{node}}"), width=7),
    ]


def at_work():
    """GPUs at work, by node: GPU-seconds used in a second."""
    seconds = f'gpu_cost_device_seconds_total{{{BOTH}, state="used"}}'
    return f"(sum by (node) (rate({seconds}[$__rate_interval])) > 0)"


def mig():
    labels = f"{A_MIG}, mig_profile"
    devices = f"max by ({labels}) (gpu_cost_mig_info{{{BOTH}}})"
    # A MIG device may be shared, too: one of its holders is named.
    holder = 'topk by (mig_uuid) (1, group by (mig_uuid, namespace, pod) (gpu_cost_pod_memory_used_bytes{mig_uuid!=""}))'
    return table(
        "Every MIG device",
        """Who holds each MIG device, and what does it do now? Where the hardware cannot say (A100, A30) the utilization is empty.""",
        {"node": "Node", "mig_profile": "Profile", "namespace": "Namespace", "pod": "Pod", "mig_uuid": "UUID"},
        [
            labels_of(f"{devices} * on (mig_uuid) group_left (namespace, pod) {holder} "
                      f"or {devices} unless on (mig_uuid) {holder}"),
            column("Utilization", f"max by ({labels}) (gpu_cost_mig_utilization_ratio{{{BOTH}}})", PART, bar="green"),
            column("Memory", f"max by ({labels}) (gpu_cost_mig_memory_used_bytes{{{BOTH}}})", BYTES),
        ],
        width=14, sort="Memory", hide=["gpu_uuid"],
    )


def mig_over_time():
    return timeseries("Utilization of MIG devices", "Which MIG device is worth its slices?",
                      query(f"gpu_cost_mig_utilization_ratio{{{BOTH}}}", "{{node}} {{mig_profile}} {{gpu_instance}}"),
                      PART, width=10, top=1)


def nodes():
    labels = "node, provider, instance_type, region_name, zone_name, capacity_type, price_model"
    return table(
        "Nodes",
        "Which instance is each node, how was it bought, and what did its GPUs cost in the time range?",
        {"node": "Node", "provider": "Provider", "instance_type": "Instance", "region_name": "Region",
         "zone_name": "Zone", "capacity_type": "Capacity", "price_model": "Price model"},
        [
            labels_of(f"max by ({labels}) (gpu_cost_node_info{{{ON}}})"),
            column("GPUs", f'max by (node) (gpu_cost_node_gpus{{{ON}, kind="seen"}})', NUMBER),
            column("Cost", spent(DEVICE, NODE, by="node"), INVOICE_USD),
            column("Waste", spent(DEVICE, NODE, WASTE, by="node"), INVOICE_USD, bar="orange"),
        ],
        width=16, sort="Waste",
    )


def errors():
    return table(
        "Critical errors of GPUs",
        "Which GPU reported critical errors (XID) in the time range? Empty is well.",
        {"node": "Node", "gpu_uuid": "GPU", "xid": "XID"},
        [column("Errors", "sum by (node, gpu_uuid, xid) (increase(gpu_cost_device_xid_errors_total{"
                + BOTH + "}[$__range])) > 0", NUMBER)],
        width=8,
    )
