"""Which money does nothing, whose it is, and for how long: for those who want it back."""

from .panels import (
    BANDS, GPU_HOURS, INVOICE_USD, NUMBER, PART, SECONDS, STATES, USD, choice, column, dashboard, gauges, labels_of,
    query, row, stat, table, timeseries,
)
from .words import (
    A_POD, CLUSTER, DEVICE, DEVICE_SECONDS, HELD, HOLDERS_WASTE, IDLE, POD, POD_ESTIMATE, SHOWBACK, WASTE, of_its_pod,
    per_hour, per_second, ratio, select, spent,
)

ON = ('node=~"$node"',)
CHOSEN = ('node=~"$node"', 'namespace=~"$namespace"')
BOTH = ", ".join((CLUSTER, *CHOSEN))


def waste():
    return dashboard(
        "gpu-cost-waste",
        "Who wastes",
        """Which GPU money does nothing, whose is it, and since when? The numbers of a whole GPU include what nobody
        holds; those of namespaces and pods are only what they hold.""",
        [
            choice("node", "Node", "gpu_cost_device_info"),
            choice("namespace", "Namespace", 'gpu_cost_pod_info{node=~"$node"}'),
        ],
        [
            row(None, 4, *totals()),
            row("Where it goes", 9, *over_time()),
            row("Whose pods", 11, pods(), workloads()),
            row("Held and not working, now", 10, asleep(), never_worked()),
            row("Held by nobody", 9, nodes(), bands()),
        ],
    )


def totals():
    def of(state):
        return spent(DEVICE, *ON, f'state="{state}"')

    return [
        stat("Waste", "What did all of it cost in the time range: idle, underused, unallocated, stranded, unavailable?",
             spent(DEVICE, *ON, WASTE), width=3),
        stat("Of the bill", "Which part of the bill is waste?",
             ratio(spent(DEVICE, *ON, WASTE), spent(DEVICE, *ON)), PART, width=3,
             steps=[(None, "green"), (0.3, "yellow"), (0.5, "orange")]),
        stat("In a month of this", "What would it cost to go on like this for a month of 730 hours?",
             f"{spent(DEVICE, *ON, WASTE)} / $__range_s * 3600 * 730", width=3),
        stat("Idle", "What did pods pay for GPUs on which they did nothing?", of("idle"), width=3,
             steps=[(None, STATES["idle"])]),
        stat("Underused", "What did pods pay for the part of their GPUs that did not work while the rest did?",
             of("underused"), width=3, steps=[(None, STATES["underused"])]),
        stat("Unallocated", "What did GPUs cost that no pod held, and that the scheduler could have given away?",
             of("unallocated"), width=3, steps=[(None, STATES["unallocated"])]),
        stat("Stranded", "What did MIG slices cost that cannot be given away in the present partition?",
             of("stranded"), width=3, steps=[(None, STATES["stranded"])]),
        stat("Unavailable", "What did GPUs cost while they were lost, in reset or unhealthy?",
             of("unavailable"), width=3, steps=[(None, STATES["unavailable"])]),
    ]


def over_time():
    return [
        timeseries("Waste per hour by kind", "Is it getting better, and which kind of waste is it?",
                   query(per_hour(DEVICE, *ON, WASTE, by="state"), "{{state}}"), stacked=True, colours=STATES),
        timeseries("Waste per hour by namespace", "Whose pods waste most? Idle and underused.",
                   query(per_hour(SHOWBACK, *CHOSEN, HELD, HOLDERS_WASTE, by="namespace"), "{{namespace}}"),
                   stacked=True),
    ]


def pods():
    worst = f"topk(25, {spent(POD, *CHOSEN, HOLDERS_WASTE, by='namespace, pod')})"
    return table(
        "Pods that wasted most",
        f"Whom to ask first? The 25 pods with the most idle and underused cost in the time range. {POD_ESTIMATE}",
        {"namespace": "Namespace", "pod": "Pod"},
        [
            column("Waste", worst, bar="orange"),
            column("Idle", f"{spent(POD, *CHOSEN, IDLE, by='namespace, pod')} and {worst}"),
            column("Cost", f"{spent(POD, *CHOSEN, by='namespace, pod')} and {worst}"),
        ],
        width=13,
    )


def workloads():
    def of(*matchers):
        cost = spent(POD, *CHOSEN, *matchers, by=A_POD)
        kinds = "workload_kind, workload"
        return f"sum by (namespace, {kinds}) ({of_its_pod(cost, kinds, *CHOSEN, over='$__range')})"

    return table(
        "Workloads that wasted most",
        f"""Which deployment, job or other workload to make smaller? The 25 with the most idle and underused cost of all
        their pods. {POD_ESTIMATE}""",
        {"namespace": "Namespace", "workload_kind": "Kind", "workload": "Workload"},
        [
            column("Waste", f"topk(25, {of(HOLDERS_WASTE)})", bar="orange"),
            column("Cost", f"{of()} and topk(25, {of(HOLDERS_WASTE)})"),
        ],
        width=11,
    )


def asleep():
    holds = f"max by ({A_POD}) (gpu_cost_pod_gpus{{{BOTH}}}) > 0"
    since = f"(time() - max by ({A_POD}) (gpu_cost_pod_last_active_timestamp_seconds{{{BOTH}}}))"
    price = f"max by ({A_POD}) (gpu_cost_pod_dollars_per_hour{{{BOTH}}})"
    longest = f"topk(25, {since} and ({holds}))"
    return table(
        "Pods by how long they have not worked",
        "Which pod holds GPUs now and has done nothing for longest, and what did that cost so far at today's price?",
        {"namespace": "Namespace", "pod": "Pod", "node": "Node"},
        [
            column("Nothing done for", longest, SECONDS, steps=[(None, "green"), (600, "yellow"), (3600, "red")]),
            column("Cost since", f"{since} / 3600 * {price} and {longest}", bar="orange"),
            column("Cost per hour", f"{price} and {longest}"),
            column("GPUs", f"{holds} and {longest}", NUMBER, decimals=2),
        ],
        width=14, hide=["pod_uid"],
    )


def never_worked():
    active = f"max by ({A_POD}) (gpu_cost_pod_last_active_timestamp_seconds)"
    price = f"max by ({A_POD}) (gpu_cost_pod_dollars_per_hour{{{BOTH}}}) > 0 unless {active}"
    return table(
        "Pods that have never worked",
        """Which pod holds GPUs now and has done nothing since it began? A pod whose work cannot be measured is here
        too, with its cost not under Idle.""",
        {"namespace": "Namespace", "pod": "Pod", "node": "Node"},
        [
            column("Cost per hour", price),
            column("Idle", f"{spent(POD, *CHOSEN, IDLE, by=A_POD)} and ({price})", bar="orange"),
        ],
        width=10, hide=["pod_uid"],
    )


def nodes():
    def of(state):
        return spent(DEVICE, *ON, f'state="{state}"', by="node")

    free = per_second(DEVICE_SECONDS, *ON, 'state="unallocated"', by="node")
    return table(
        "Capacity that nobody holds, by node",
        "Which node could be smaller or gone, and which needs another MIG partition or a repair?",
        {"node": "Node"},
        [
            column("Unallocated", of("unallocated"), bar="#8e8e8e"),
            column("Stranded", of("stranded")),
            column("Unattributed", of("unattributed")),
            column("Unavailable", of("unavailable")),
            column("Free GPUs now", free, NUMBER, decimals=2),
        ],
        width=16,
    )


def bands():
    held = f"increase({select('gpu_cost_device_band_seconds_total', *ON)}[$__range])"
    return gauges(
        "How busy held GPUs were",
        """Are GPUs too large for what runs on them? Held GPU hours by utilization: low is below 30 %, high above
        70 %. Much of low means batching, smaller GPUs, MIG or time-slicing.""",
        query(f"sum by (band) ({held}) / 3600", "{{band}}"), GPU_HOURS, width=8, colours=BANDS,
    )
