"""All dashboards, by the file each is written to."""

from .bill import bill
from .exporter import exporter
from .llm import llm
from .node import node
from .team import team
from .waste import waste

DASHBOARDS = {
    "gpu-cost-bill.json": bill,
    "gpu-cost-waste.json": waste,
    "gpu-cost-team.json": team,
    "gpu-cost-node.json": node,
    "gpu-cost-llm.json": llm,
    "gpu-cost-exporter.json": exporter,
}
