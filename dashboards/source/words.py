"""Expressions that several dashboards use."""

# Every query is of the chosen clusters. All of them matches, too, where nobody sets such a label.
CLUSTER = 'cluster=~"$cluster"'
# The states that are waste: a holder's, and those of a whole node with what nobody can use.
HOLDERS_WASTE = 'state=~"idle|underused"'
WASTE = 'state=~"idle|underused|unallocated|stranded|unavailable"'
USED = 'state="used"'
IDLE = 'state="idle"'
UNDERUSED = 'state="underused"'
# Money of pods; what nobody holds is on lines with an empty namespace.
HELD = 'namespace!=""'

DEVICE = "gpu_cost_device_dollars_total"
DEVICE_SECONDS = "gpu_cost_device_seconds_total"
SHOWBACK = "gpu_cost_showback_dollars_total"
SHOWBACK_SECONDS = "gpu_cost_showback_gpu_seconds_total"
POD = "gpu_cost_pod_dollars_total"
POD_SECONDS = "gpu_cost_pod_gpu_seconds_total"
# What each hour cost by who pays, exactly, with its year, month and tariff (peak, offpeak); recorded by the rules.
LEDGER = "showback:gpu_cost_dollars:delta1h"
# What tells pods apart in one cluster and in several, and over the life of a name.
A_POD = "node, namespace, pod, pod_uid"

ESTIMATE = "Prometheus estimates increases of counters; of long-lived ones like these it is right to 0.3 %."
POD_ESTIMATE = (
    "Of a pod that lived for a few minutes Prometheus misses the beginning: use this to find pods, and the GPU bill's "
    "dashboard to charge them."
)


def spent(metric, *matchers, by=""):
    """The increase of a counter over the range of the dashboard."""
    return f"{summed(by)} (increase({select(metric, *matchers)}[$__range]))"


def per_second(metric, *matchers, by=""):
    """How fast a counter grows: GPUs for GPU-seconds, watts for joules."""
    return f"{summed(by)} (rate({select(metric, *matchers)}[$__rate_interval]))"


def per_hour(metric, *matchers, by=""):
    """How fast a counter of dollars grows, in dollars per hour."""
    return f"{per_second(metric, *matchers, by=by)} * 3600"


def a_day(metric, *matchers, by=""):
    """The increase of a counter over the day that begins at each point, so that a bar stands on its own day."""
    return f"{summed(by)} (increase({select(metric, *matchers)}[1d] offset -1d))"


def ratio(part, whole):
    """A part of a whole; nothing where the whole is nothing."""
    return f"{part} / ({whole} > 0)"


def summed(by):
    return f"sum by ({by})" if by else "sum"


def select(metric, *matchers):
    """A metric of the chosen clusters, and of whatever else is asked for."""
    return f"{metric}{{{', '.join((CLUSTER, *matchers))}}}"


def called(label, name, expr):
    """Gives an empty label a name to be shown by."""
    return f'label_replace({expr}, "{label}", "{name}", "{label}", "")'


def of_its_pod(expr, labels, *matchers, over=None):
    """Adds labels of the pod's info to a vector by pod. `over` looks for pods that ended in that time, too.

    An info changes when a pod's labels become known; one line per pod is then chosen.
    """
    info = select("gpu_cost_pod_info", *matchers)
    info = f"last_over_time({info}[{over}])" if over else info
    one = f"topk by ({A_POD}) (1, max by ({A_POD}, {labels}) ({info}))"
    return f"({expr}) * on ({A_POD}) group_left ({labels}) {one}"
