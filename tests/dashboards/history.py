"""A past for a Prometheus that has just been started.

Rules and panels look back over days, and a test has a minute. So two real scrapes of every target, a few seconds
apart, say how fast each counter grows; the days before are written at that pace, gauges as they are now, and
promtool makes the server's own blocks of them.
"""

import math
import subprocess
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

DAYS = 3
# Old days are for the hourly ledger, the last hours for rates over five minutes.
STEP, RECENT_STEP, RECENT = 1200, 60, 2 * 3600


def scrape(url):
    text = urllib.request.urlopen(url, timeout=10).read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): (sample.value, family.type)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def write_history(file, targets, first, second, apart, now):
    """Writes the series of all targets over the days before `now` as OpenMetrics, each series in order of time."""
    times = [*range(now - DAYS * 86400, now - RECENT, STEP), *range(now - RECENT, now, RECENT_STEP)]
    with open(file, "w", encoding="utf-8") as out:
        for target in targets:
            for key, (value, kind) in second[target.url].items():
                before, _ = first[target.url].get(key, (value, kind))
                # The parser knows no counter without `_total`, which others have; it calls them unknown.
                pace = 0 if kind == "gauge" else (value - before) / apart
                start = value if kind == "gauge" else 0
                if not math.isnan(value):
                    head = series(key[0], dict(key[1]), target.labels)
                    out.writelines(f"{head} {start + pace * (t - times[0])!r} {t}\n" for t in times)
        out.write("# EOF\n")


def series(name, labels, more):
    """A series as a scrape would store it: labels of the target are there unless the series has its own."""
    pairs = ",".join(f"{key}={quoted(value)}" for key, value in (more | labels).items())
    return f"{name}{{{pairs}}}"


def quoted(value):
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def make_blocks(file, data):
    """Makes one block of a text of samples; small ones of two hours would be many."""
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "--max-block-duration=2400h", "-q", "openmetrics", file, data],
        check=True, stdout=subprocess.DEVNULL)
