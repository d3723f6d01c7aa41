"""Whether the exporter itself is well, and its numbers to be believed: for those who run it."""

from .panels import (
    BYTES, MOMENT, NUMBER, PART, PER_SECOND, SECONDS, USD, choice, column, dashboard, labels_of, query, row, stat, table,
    timeseries,
)
from .words import CLUSTER

HERE = f'{CLUSTER}, instance=~"$instance"'
# Metrics of the process have everybody's names, so they are taken of our instances only.
OURS = f"and on (job, instance) gpu_cost_exporter_build_info{{{HERE}}}"
# Whether the last scrape was answered: Prometheus' own, so that it is there of those that never did.
UP = f'up{{job=~".*gpu-cost-exporter.*", {HERE}}}'


def exporter():
    return dashboard(
        "gpu-cost-exporter",
        "Exporter health",
        """Do the exporters run, do their sources answer, and do the lines add up to the bill?""",
        [choice("instance", "Instance", "gpu_cost_exporter_build_info")],
        [
            row(None, 4, *verdicts()),
            row("Sources", 9, *sources()),
            row("Ledger", 8, *ledger()),
            row("Its own needs", 8, *needs()),
            row("Exporters", 8, versions(), prices(), silent()),
        ],
        since="now-6h",
    )


def verdicts():
    zero = [(None, "green"), (1, "red")]
    return [
        stat("Exporters that answer", "Which part of the exporters that Prometheus knows answers the scrape? The tables below name them.",
             f"avg(max by (instance, job) ({UP}))", PART, width=3, decimals=1, steps=[(None, "red"), (1, "green")]),
        stat("Sources that fail", "How many sources (driver, kubelet, API server, prices) gave no good last answer?",
             f"count(gpu_cost_exporter_source_up{{{HERE}}} == 0) or vector(0)", NUMBER, width=3, steps=zero),
        stat("Missing from the ledger",
             "By how much do the lines differ from the bill? Anything but zero is a defect: please report it.",
             f"sum(abs(gpu_cost_ledger_imbalance_dollars{{{HERE}}}))", USD, width=3, steps=[(None, "green"), (1e-9, "red")]),
        stat("GPUs without a price", "How many GPUs cost nothing because nobody told their price?",
             f"sum(gpu_cost_device_unpriced{{{HERE}}})", NUMBER, width=3, steps=zero),
        stat("Price files not read", "How many exporters could not read their price file, and go on with older prices?",
             f"count(gpu_cost_exporter_pricing_last_reload_successful{{{HERE}}} == 0) or vector(0)", NUMBER, width=3,
             steps=zero),
        stat("GPUs missing", "How many GPUs were there since boot and are gone?",
             f'sum(gpu_cost_node_gpus{{{HERE}, kind="expected"}}) - sum(gpu_cost_node_gpus{{{HERE}, kind="seen"}})',
             NUMBER, width=3, steps=zero),
        stat("Devices nobody knows", "How many allocated devices could not be mapped to a GPU?",
             f"sum(gpu_cost_exporter_unmapped_devices{{{HERE}}})", NUMBER, width=3, steps=zero),
        stat("Simulated", "How many of these exporters invent their numbers (the demo)?",
             f"sum(gpu_cost_exporter_simulated{{{HERE}}})", NUMBER, width=3, steps=[(None, "green"), (1, "yellow")]),
    ]


def sources():
    return [
        timeseries("Sources that answer", "Which source failed, and when? The part of the exporters whose last answer was good.",
                   query(f"avg by (source) (gpu_cost_exporter_source_up{{{HERE}}})", "{{source}}"), PART, width=6, top=1),
        timeseries("Errors of sources", "Which source fails now and then? Answers per second that were errors.",
                   query(f"sum by (source) (rate(gpu_cost_exporter_source_errors_total{{{HERE}}}[$__rate_interval]))",
                         "{{source}}"), PER_SECOND, width=6),
        timeseries("Slowest answer", "Which source makes the exporter wait? The longest last answer of any node.",
                   query(f"max by (source) (gpu_cost_exporter_source_duration_seconds{{{HERE}}})", "{{source}}"), SECONDS,
                   width=6),
        timeseries("Age of the allocations",
                   """How old is the kubelet's answer that says who holds what? Beyond a minute money becomes
                   unattributed.""",
                   query(f"gpu_cost_exporter_allocations_age_seconds{{{HERE}}}", "{{instance}}"), SECONDS, width=6),
    ]


def ledger():
    def grows(metric):
        return f"sum by (instance) (increase({metric}{{{HERE}}}[$__rate_interval]))"

    not_written = grows("gpu_cost_exporter_state_write_errors_total")
    return [
        timeseries("Time nobody was looking",
                   "For how many GPU-seconds was no exporter there? unobserved is charged to nobody; recovered is charged as unmeasured.",
                   [query(grows("gpu_cost_ledger_unobserved_seconds_total"), "{{instance}} unobserved"),
                    query(grows("gpu_cost_ledger_recovered_seconds_total"), "{{instance}} recovered")], SECONDS, width=6),
        timeseries("Late ticks", "Which part of the observations took longer than the time between two of them?",
                   query(f"sum by (instance) (rate(gpu_cost_exporter_tick_overruns_total{{{HERE}}}[$__rate_interval])) / "
                         f"sum by (instance) (rate(gpu_cost_exporter_ticks_total{{{HERE}}}[$__rate_interval]))",
                         "{{instance}}"), PART, width=6),
        timeseries("Doubts", "How often do two pods name one GPU, and how many payers share a line because there are too many?",
                   [query(grows("gpu_cost_exporter_allocation_conflicts_total"), "{{instance}} conflicts"),
                    query(grows("gpu_cost_exporter_series_dropped_total"), "{{instance}} payers without a line")],
                   NUMBER, width=6),
        timeseries("Ledger not written",
                   "How often could the ledger not be written to disk? What is not written is lost by a restart.",
                   query(not_written, "{{instance}}"), NUMBER, width=6),
    ]


def needs():
    return [
        timeseries("Memory", "How much memory does each exporter use?",
                   query(f"process_resident_memory_bytes {OURS}", "{{instance}}"), BYTES, width=6),
        timeseries("Processor", "Which part of a core does each exporter use?",
                   query(f"rate(process_cpu_seconds_total[$__rate_interval]) {OURS}", "{{instance}}"), PART, width=6),
        timeseries("Scrape time", "How long does Prometheus wait for a scrape?",
                   query(f"scrape_duration_seconds {OURS}", "{{instance}}"), SECONDS, width=6),
        timeseries("Series", "How many samples does a scrape bring?",
                   query(f"scrape_samples_scraped {OURS}", "{{instance}}"), NUMBER, width=6),
    ]


def versions():
    return table(
        "Exporters",
        "Which version runs where, since when, and is its ledger as old as expected?",
        {"instance": "Instance", "version": "Version", "mode": "Mode"},
        [
            labels_of(f"max by (instance, version, mode) (gpu_cost_exporter_build_info{{{HERE}}})"),
            column("Started", f"max by (instance) (process_start_time_seconds {OURS}) * 1000", MOMENT),
            column("Ledger since", f"max by (instance) (gpu_cost_ledger_start_timestamp_seconds{{{HERE}}}) * 1000", MOMENT),
            column("Ticks", f"max by (instance) (increase(gpu_cost_exporter_ticks_total{{{HERE}}}[$__range]))", NUMBER,
                   decimals=0),
        ],
        width=11, sort="Started",
    )


def prices():
    return table(
        "Prices in force",
        "Where do prices come from, and how old is the oldest?",
        {"instance": "Instance"},
        [column("Your oldest price of", "max by (instance) "
                f'(gpu_cost_exporter_pricing_as_of_timestamp_seconds{{prices="own", {HERE}}}) * 1000', MOMENT),
         column("Oldest built-in price of", "max by (instance) "
                f'(gpu_cost_exporter_pricing_as_of_timestamp_seconds{{prices="built_in", {HERE}}}) * 1000', MOMENT),
         column("File read", f"max by (instance) (gpu_cost_exporter_pricing_last_reload_successful{{{HERE}}})", NUMBER,
                steps=[(None, "red"), (1, "green")])],
        width=7,
    )


def silent():
    """One that never answered is in no other panel: it has said nothing about itself."""
    return table(
        "Exporters that do not answer",
        "Which exporter does Prometheus know that does not answer it, and how much of the time range did it answer? Empty is well.",
        {"instance": "Instance", "job": "Job"},
        [column("Answered", f"max by (instance, job) (avg_over_time({UP}[$__range])) "
                f"and max by (instance, job) ({UP}) == 0", PART)],
        width=6,
    )
