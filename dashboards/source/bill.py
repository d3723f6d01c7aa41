"""What the GPUs cost, who pays, and whether the budget lasts: for those who read the bill."""

from .panels import (
    GPU_HOURS, INVOICE_USD, NUMBER, PART, STATES, USD, bars, choice, column, dashboard, query, row, stat, table,
    timeseries,
)
from .words import (
    ESTIMATE, HELD, HOLDERS_WASTE, IDLE, LEDGER, SHOWBACK, SHOWBACK_SECONDS, UNDERUSED, USED, WASTE, a_day, called, per_hour,
    ratio, select, spent,
)

CHOSEN = ('team=~"$team"', 'project=~"$project"', 'model=~"$model"')
PAYER = "namespace, team, project, model, environment, cost_center, department, gpu_model, price_model"


PRICE = "gpu_cost_device_price_dollars_per_hour"
LIST, EFFECTIVE = 'basis="list"', 'basis="effective"'
# Recorded by the rules.
MONTH_TO_DATE = f"sum({select('cluster:gpu_cost_dollars:month_to_date')})"
MONTH_END = f"sum({select('cluster:gpu_cost_dollars:month_end_forecast')})"
BUDGET = 'max(gpu_cost_budget_dollars{scope="cluster"})'
BUDGET_USED = "max(" + select("budget:gpu_cost_used:ratio", 'scope="cluster"') + ")"
USED_UP = [(None, "green"), (0.75, "yellow"), (0.9, "orange"), (1, "red")]


def bill():
    return dashboard(
        "gpu-cost-bill",
        "Bill",
        """What do the GPUs cost, who pays, and does the budget last? Everything follows the time range, which begins
        as the month so far.""",
        [
            choice("team", "Team", SHOWBACK),
            choice("project", "Project", 'gpu_cost_showback_dollars_total{team=~"$team"}'),
            choice("model", "Model", 'gpu_cost_showback_dollars_total{team=~"$team", project=~"$project"}'),
        ],
        [
            row(None, 4, *totals()),
            row(None, 4, *what_to_look_at()),
            row("Where the money goes", 10, *over_time()),
            row("Who pays", 10, by("team", "Team"), by("project", "Project"), by("model", "Model"),
                by("namespace", "Namespace"), by_application()),
            row("Does the budget last?", 9, *budget()),
            row("Invoice", 12, invoice(), months()),
        ],
        since="now/M",
    )


def totals():
    return [
        stat("Cost in this range",
             f"What did the GPUs cost in the time range, with what nobody held? {ESTIMATE}",
             spent(SHOWBACK, *CHOSEN), INVOICE_USD),
        stat("Cost per hour now", "What do they cost per hour at this moment, at the rates in force?",
             per_hour(SHOWBACK, *CHOSEN), over_time=True),
        stat("Month to date", "What did all teams' GPUs cost since the month began (UTC)? Exact; needs the recording rules.",
             MONTH_TO_DATE, INVOICE_USD),
        stat("Month's end, expected",
             """What will the month cost if it goes on as in the last seven days? All teams; needs the recording rules.""",
             MONTH_END, USD),
        stat("Budget used", "Which part of the month's budget is spent? All teams; needs the recording rules, with a budget.",
             BUDGET_USED, PART,
             steps=USED_UP),
        stat("Waste",
             """Which part of the cost did nothing? Idle and underused of those who hold GPUs, and unallocated, stranded
             and unavailable capacity.""",
             ratio(spent(SHOWBACK, *CHOSEN, WASTE), spent(SHOWBACK, *CHOSEN)), PART,
             steps=[(None, "green"), (0.3, "yellow"), (0.5, "orange")]),
    ]


def what_to_look_at():
    return [
        stat("Idle cost", "What did pods pay for GPUs on which they did nothing at all?",
             spent(SHOWBACK, *CHOSEN, IDLE), INVOICE_USD, steps=[(None, "orange")]),
        stat("Held by nobody", "What did capacity cost that no pod held?",
             spent(SHOWBACK, 'namespace=""'), INVOICE_USD, steps=[(None, "text")]),
        stat("Without a team", "Which part of what pods cost has no team to pay for it?",
             ratio(spent(SHOWBACK, HELD, 'team=""'), spent(SHOWBACK, HELD)), PART,
             steps=[(None, "green"), (0.05, "yellow"), (0.2, "orange")], decimals=1),
        stat("Cost per GPU hour at work", "What does an hour cost in which a GPU works, if all else is put on its price?",
             ratio(spent(SHOWBACK, *CHOSEN), f"{spent(SHOWBACK_SECONDS, *CHOSEN, USED)} / 3600"), USD),
        stat("Saved against list prices",
             """How far are the prices in force below the list prices of the same GPUs? Per hour, now; negative where
             they are above.""",
             f"sum({select(PRICE, LIST)}) - sum({select(PRICE, EFFECTIVE)})"),
        stat("GPUs without a price", "How many GPUs have no known price? Their time is counted, and no dollars.",
             f"sum({select('gpu_cost_device_unpriced')})", NUMBER, steps=[(None, "green"), (1, "red")]),
    ]


def over_time():
    return [
        timeseries("Cost per hour by state",
                   """What is the money doing? Every dollar is in one state, so the height is the bill. used: did work.
                   underused: the rest of a GPU that does some. idle: held, and nothing done. unmeasured: held, work
                   unknown. unallocated: free. stranded: MIG slices that fit nobody. unattributed: holder unknown.
                   unavailable: broken.""",
                   query(per_hour(SHOWBACK, *CHOSEN, by="state"), "{{state}}"), stacked=True, colours=STATES),
        bars("Cost per day by team",
             "What does each team cost, day by day (UTC)? Each bar stands at the beginning of its day.",
             [query(called("team", "(no team)", a_day(SHOWBACK, *CHOSEN, HELD, by="team")), "{{team}}"),
              query(a_day(SHOWBACK, *CHOSEN, 'namespace=""'), "(held by nobody)")],
             colours={"(held by nobody)": STATES["unallocated"], "(no team)": "dark-red"}),
    ]


def by(label, heading):
    """Cost, waste and GPU hours of each team, project or model."""
    def shown(expr):
        return called(label, f"(no {label})", expr)

    hours = f"{spent(SHOWBACK_SECONDS, *CHOSEN, HELD, by=label)} / 3600"
    return table(
        f"By {label}",
        f"What did each {label}'s pods cost, and how much of it did nothing? Waste is idle and underused.",
        {label: heading},
        [
            column("Cost", shown(spent(SHOWBACK, *CHOSEN, HELD, by=label)), INVOICE_USD, bar="blue"),
            column("Waste", shown(spent(SHOWBACK, *CHOSEN, HELD, HOLDERS_WASTE, by=label)), INVOICE_USD),
            column("GPU hours", shown(hours), GPU_HOURS),
        ],
        width=8, totals=True,
    )


def by_application():
    """Of the exact ledger: pods of one application come and go faster than increases can be estimated."""
    hours = "workload:gpu_cost_dollars:delta1h"

    def of(*matchers):
        cost = select(hours, 'team=~"$team"', *matchers)
        return f"sum by (namespace, workload_kind, workload) (sum_over_time({cost}[$__range]))"

    return table(
        "By application",
        """What did each deployment, job or other workload cost, with all the pods it has had? Full hours of the time
        range, of the chosen teams. Needs the recording rules.""",
        {"workload": "Application", "workload_kind": "Kind", "namespace": "Namespace"},
        [column("Cost", of(), INVOICE_USD, bar="blue"), column("Waste", of(HOLDERS_WASTE), INVOICE_USD)],
        width=16, totals=True,
    )


def budget():
    scope = 'scope="cluster"'
    return [
        timeseries("Month to date and its budget",
                   "How near is the spending to the budget, and where will the month end? Needs the recording rules.",
                   [query(MONTH_TO_DATE, "spent"), query(MONTH_END, "expected at month's end"), query(BUDGET, "budget")],
                   colours={"spent": "blue", "expected at month's end": "orange", "budget": "red"}),
        timeseries("How fast the budget burns",
                   """Is the budget used up faster than in a month? 1 is exactly in thirty days, 2 in fifteen. Needs the
                   recording rules.""",
                   [query(f"max({select('budget:gpu_cost_burn:ratio1h', scope)})", "in the last hour"),
                    query(f"max({select('budget:gpu_cost_burn:ratio1d', scope)})", "in the last day")], NUMBER),
        budgets(),
    ]


def budgets():
    whose = "scope, team, project, namespace"

    def of(metric):
        return f"max by ({whose}) ({metric})"

    status = {0: ("OK", "green"), 1: ("CAUTION", "yellow"), 2: ("WARNING", "orange"), 3: ("CRITICAL", "red")}
    return table(
        "Budgets",
        """Who is about to run out of budget? Projected is thirty days at the average of the last seven: over 90 % is
        CAUTION, over 100 % WARNING, over 110 % CRITICAL. Needs the recording rules, with budgets in their settings.""",
        {"scope": "Budget of", "team": "Team", "project": "Project", "namespace": "Namespace"},
        [
            column("Budget", of('gpu_cost_budget_dollars{period="month"}'), INVOICE_USD),
            column("Status", of("budget:gpu_cost_status:level"), NUMBER, words=status),
            column("Spent", of("budget:gpu_cost_dollars:month_to_date"), INVOICE_USD),
            column("Used", of("budget:gpu_cost_used:ratio"), PART, bar="blue"),
            column("Projected", of("budget:gpu_cost_projected:ratio"), PART, steps=USED_UP),
            column("Left", of("budget:gpu_cost_remaining_dollars:month"), INVOICE_USD),
            column("Left per day", of("budget:gpu_cost_remaining_dollars_per_day:month"), INVOICE_USD),
        ],
        sort="Projected",
    )


def months():
    hours = select(LEDGER, *CHOSEN)
    return table(
        "Exact bill by month and team",
        """What did each calendar month cost each team, to the cent? Full hours of the time range; widen it to see months
        gone by. Needs the recording rules.""",
        {"year": "Year", "month": "Month", "team": "Team"},
        [column("Cost", f"sum by (year, month, team) (sum_over_time({hours}[$__range]))", INVOICE_USD),
         column("Idle", f"sum by (year, month, team) (sum_over_time({select(LEDGER, *CHOSEN, IDLE)}[$__range]))",
                INVOICE_USD)],
        totals=True,
    )


def invoice():
    hours = f"{spent(SHOWBACK_SECONDS, *CHOSEN, by=PAYER)} / 3600"
    return table(
        "Who pays what",
        f"""Which line of the bill is whose? One line per payer and kind of GPU; those without a namespace are capacity
        that nobody held. Download it as CSV by Inspect, Data. {ESTIMATE}""",
        {"team": "Team", "project": "Project", "cost_center": "Cost center", "department": "Department",
         "environment": "Environment", "namespace": "Namespace", "model": "Model", "gpu_model": "GPU",
         "price_model": "Price model"},
        [
            column("Cost", spent(SHOWBACK, *CHOSEN, by=PAYER), INVOICE_USD),
            column("GPU hours", hours, GPU_HOURS),
            column("Used", spent(SHOWBACK, *CHOSEN, USED, by=PAYER), INVOICE_USD),
            column("Idle", spent(SHOWBACK, *CHOSEN, IDLE, by=PAYER), INVOICE_USD),
            column("Underused", spent(SHOWBACK, *CHOSEN, UNDERUSED, by=PAYER), INVOICE_USD),
        ],
        totals=True,
    )
