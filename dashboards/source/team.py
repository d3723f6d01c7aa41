"""What a team's own pods cost and do: for those who run them."""

from .panels import (
    GPU_HOURS, INVOICE_USD, NUMBER, PART, STATES, USD, bars, choice, column, dashboard, gauges, query, row, stat, table,
    timeseries,
)
from .words import (
    A_POD, ESTIMATE, HELD, HOLDERS_WASTE, IDLE, LEDGER, POD, POD_ESTIMATE, SHOWBACK, SHOWBACK_SECONDS, USED, a_day, called,
    of_its_pod, per_hour, ratio, select, spent,
)

TEAM = 'team=~"$team"'
CHOSEN = (HELD, TEAM, 'project=~"$project"', 'environment=~"$environment"')
OF_PODS = CHOSEN[1:]


def team():
    return dashboard(
        "gpu-cost-team",
        "Team",
        """What do my team's pods cost, how much of it does nothing, and which pods are they? Only what pods hold is
        here; GPUs that nobody holds are on the bill's dashboard.""",
        [
            choice("team", "Team", SHOWBACK),
            choice("project", "Project", f"{SHOWBACK}{{{TEAM}}}"),
            choice("environment", "Environment", f"{SHOWBACK}{{{TEAM}}}"),
        ],
        [
            row(None, 4, *totals()),
            row("Over time", 9, *over_time()),
            row("For what", 8, *for_what()),
            row("When", 9, *when()),
            row("Pods", 12, pods()),
        ],
    )


def totals():
    used = spent(SHOWBACK_SECONDS, *CHOSEN, USED)
    hours = spent(SHOWBACK_SECONDS, *CHOSEN)
    return [
        stat("Cost in this range", f"What did our pods cost? {ESTIMATE}", spent(SHOWBACK, *CHOSEN), INVOICE_USD),
        stat("Of everybody's cost", "Which part is that of what all pods of all teams cost?",
             ratio(spent(SHOWBACK, *CHOSEN), spent(SHOWBACK, HELD)), PART),
        stat("Waste", "Which part of it did nothing, idle or underused?",
             ratio(spent(SHOWBACK, *CHOSEN, HOLDERS_WASTE), spent(SHOWBACK, *CHOSEN)), PART,
             steps=[(None, "green"), (0.3, "yellow"), (0.5, "orange")]),
        stat("GPU hours", "How many hours did we hold a GPU? Half a GPU for two hours is one.", f"{hours} / 3600",
             GPU_HOURS),
        stat("At work", "Which part of these hours did work?", ratio(used, hours), PART,
             steps=[(None, "orange"), (0.3, "yellow"), (0.6, "green")]),
        stat("Cost per hour now", "What do our pods cost per hour at this moment?", per_hour(SHOWBACK, *CHOSEN),
             over_time=True),
    ]


def over_time():
    return [
        timeseries("Cost per hour by state", "What does our money do? Yellow and orange could be saved.",
                   query(per_hour(SHOWBACK, *CHOSEN, by="state"), "{{state}}"), stacked=True, colours=STATES),
        timeseries("Cost per hour by project", "Which of our projects costs it?",
                   query(called("project", "(no project)", per_hour(SHOWBACK, *CHOSEN, by="project")), "{{project}}"),
                   stacked=True),
    ]


def for_what():
    def by(label, title, question):
        asked = called(label, f"(no {label.replace('_', ' ')})", spent(SHOWBACK, *CHOSEN, by=label))
        return gauges(title, question, query(asked, f"{{{{{label}}}}}"), USD)

    return [
        by("task_type", "By task", "What did training, inference and other kinds of task cost?"),
        by("model", "By model", "What did each of our models cost?"),
        by("environment", "By environment", "What did production cost, and what everything else?"),
        by("gpu_model", "By GPU", "Which kinds of GPU did we pay for?"),
    ]


def when():
    return [
        bars("Cost per day by task", "What did each day cost (UTC), and for which kind of task?",
             query(called("task_type", "(no task type)", a_day(SHOWBACK, *CHOSEN, by="task_type")), "{{task_type}}"),
             width=14),
        gauges("Peak and off-peak",
               """What did our pods cost in peak hours, and what outside of them? Full hours of the time range. Needs the
               recording rules; their settings say which hours are peak.""",
               query(f"sum by (tariff) (sum_over_time({select(LEDGER, *CHOSEN)}[$__range]))", "{{tariff}}"), USD,
               width=10, colours={"peak": "orange", "offpeak": "blue"}),
    ]


def pods():
    def of(*matchers):
        return of_its_pod(spent(POD, *matchers, by=A_POD), "project, workload", *OF_PODS, over="$__range")

    dearest = f"topk(100, {of()})"
    working = f"avg by ({A_POD}) ({select('gpu_cost_pod_utilization_ratio')})"
    held = f"max by ({A_POD}) ({select('gpu_cost_pod_gpus')})"
    return table(
        "Our pods",
        f"What did each of our pods cost, and did it work? The hundred dearest. {POD_ESTIMATE}",
        {"namespace": "Namespace", "pod": "Pod", "project": "Project", "workload": "Workload", "node": "Node"},
        [
            column("Cost", dearest, bar="blue"),
            column("Idle", f"{of(IDLE)} and {dearest}"),
            column("Waste", f"{of(HOLDERS_WASTE)} and {dearest}", bar="orange"),
            column("GPUs now", f"{held} and on ({A_POD}) {dearest}", NUMBER, decimals=2),
            column("Working now", f"{working} and on ({A_POD}) {dearest}", PART, bar="green"),
        ],
        hide=["pod_uid"],
    )
