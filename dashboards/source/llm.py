"""What a million tokens and a request cost, and whether an API would be cheaper: for those who serve models."""

from .panels import (
    NUMBER, PART, REQUESTS_PER_SECOND, TOKENS_PER_SECOND, USD, choice, column, dashboard, gauges, query, row, stat, table,
    timeseries,
)
from .words import ratio, select

NEEDS = "Needs the recording rules and the metrics of the model servers."
CHOSEN = ('namespace=~"$namespace"', 'model_name=~"$model_name"')
A_MODEL = "namespace, model_name"
# Recorded by the rules, over an hour: dollars and list price per hour, tokens and requests per second.
COST = "model_name:gpu_cost_dollars_per_hour:rate1h"
LIST = "model_name:llm_list_dollars_per_hour:rate1h"
TOKENS = "model_name:llm_tokens:rate1h"
REQUESTS = "model_name:llm_requests:rate1h"
PER_MILLION = "model_name:gpu_cost_dollars_per_million_tokens:rate1h"
BY_DIRECTION = "model_name:gpu_cost_dollars_per_million_tokens_by_direction:rate1h"
PER_REQUEST = "model_name:gpu_cost_dollars_per_request:rate1h"
TO_LIST = "model_name:gpu_cost_to_list:ratio"
CHEAPER = [(None, "green"), (0.9, "yellow"), (1, "red")]


def llm():
    return dashboard(
        "gpu-cost-llm",
        "LLM unit cost",
        """What does a million tokens cost on our GPUs, what does a request cost, and would an API be cheaper? Read from
        the counters of vLLM, SGLang, TGI, Triton, trtllm-serve and llama.cpp; everything is of the last hour.""",
        [
            choice("namespace", "Namespace", COST),
            choice("model_name", "Model", f'{COST}{{namespace=~"$namespace"}}'),
        ],
        [
            row(None, 4, *totals()),
            row("Are we cheaper than the API?", 9, *against_the_list()),
            row("Unit cost", 9, *unit_cost()),
            row("Models", 10, models()),
            row("Traffic", 8, *traffic()),
            row("Servers and list prices", 9, servers(), list_prices()),
        ],
    )


def total(metric, *matchers):
    return f"sum({select(metric, *CHOSEN, *matchers)})"


def per_model(metric, *matchers):
    return f"sum by ({A_MODEL}) ({select(metric, *CHOSEN, *matchers)})"


def listed(metric):
    """Only models that have a list price, so that both sides of a comparison are of the same ones."""
    return f"sum({select(metric, *CHOSEN)} and {select(LIST, *CHOSEN)})"


def totals():
    return [
        stat("Per million tokens", f"What do a million tokens cost, read and written ones together? {NEEDS}",
             f"{total(COST)} / 3600 * 1e6 / ({total(TOKENS)} > 0)", over_time=True),
        stat("Per request", f"What does a request cost, of models that count them? {NEEDS}",
             f"sum({select(COST, *CHOSEN)} and {select(REQUESTS, *CHOSEN)}) / 3600 / ({total(REQUESTS)} > 0)",
             decimals=5, over_time=True),
        stat("Of the list price",
             f"What do our GPUs cost as a part of what an API would take for the same tokens? Below 100 % we are cheaper. {NEEDS}",
             ratio(listed(COST), listed(LIST)), PART, steps=CHEAPER, over_time=True),
        stat("Saved per hour",
             f"What would an API cost more per hour for the same tokens? Negative: it would cost less. {NEEDS}",
             f"{listed(LIST)} - {listed(COST)}", steps=[(None, "red"), (0, "green")], over_time=True),
        stat("Cost per hour", f"What do the GPUs that serve models cost per hour? {NEEDS}", total(COST), over_time=True),
        stat("Tokens per second", f"How many tokens are read and written in a second? {NEEDS}", total(TOKENS), NUMBER,
             over_time=True, decimals=0),
    ]


def against_the_list():
    return [
        gauges("Cost of the list price, by model",
               f"Which model is cheaper on our GPUs than at the list price of the price file's model_costs? Red costs more. {NEEDS}",
               query(select(TO_LIST, *CHOSEN), "{{namespace}} {{model_name}}"), PART, width=8, steps=CHEAPER),
        timeseries("Ours and the list price per hour",
                   f"Since when are we cheaper or dearer than the API for the same tokens? {NEEDS}",
                   [query(per_model(COST), "{{namespace}} {{model_name}} ours"),
                    query(per_model(LIST), "{{namespace}} {{model_name}} list price")], width=16),
    ]


def unit_cost():
    return [
        timeseries("Dollars per million tokens", f"Does a model become dearer? Mostly it has become less busy. {NEEDS}",
                   query(select(PER_MILLION, *CHOSEN), "{{namespace}} {{model_name}}")),
        timeseries("Dollars per request", f"What does a request cost, by model? {NEEDS}",
                   query(select(PER_REQUEST, *CHOSEN), "{{namespace}} {{model_name}}")),
    ]


def models():
    return table(
        "Models",
        f"""What does each model cost by the hour, the token and the request? A written token costs a multiple of one
        that is read, as the rules' settings say. At break-even speed our tokens cost their list price. {NEEDS}""",
        {"namespace": "Namespace", "model_name": "Model"},
        [
            column("Per hour", per_model(COST), bar="blue"),
            column("Tokens/s", per_model(TOKENS), NUMBER, decimals=0),
            column("Requests/s", per_model(REQUESTS), NUMBER, decimals=2),
            column("Per million", per_model(PER_MILLION)),
            column("Per million read", per_model(BY_DIRECTION, 'direction="input"')),
            column("Per million written", per_model(BY_DIRECTION, 'direction="output"')),
            column("Per request", per_model(PER_REQUEST), decimals=5),
            column("List price per hour", per_model(LIST)),
            column("Of list price", per_model(TO_LIST), PART, steps=CHEAPER),
            column("Break-even tokens/s", f"{per_model(TO_LIST)} * {per_model(TOKENS)}", NUMBER, decimals=0),
        ],
    )


def traffic():
    return [
        timeseries("Tokens per second by model", f"How busy is each model? {NEEDS}",
                   query(per_model(TOKENS), "{{namespace}} {{model_name}}"), TOKENS_PER_SECOND, stacked=True),
        timeseries("Requests per second by model", f"How many requests does each model answer? {NEEDS}",
                   query(per_model(REQUESTS), "{{namespace}} {{model_name}}"), REQUESTS_PER_SECOND, stacked=True),
    ]


def servers():
    tokens = select("pod:llm_tokens:rate1h", CHOSEN[0])
    by = "sum by (namespace, pod, server)"
    return table(
        "Servers",
        f"Which pods count tokens, and by which server? A pod that serves and is not here is not scraped. {NEEDS}",
        {"server": "Server", "namespace": "Namespace", "pod": "Pod"},
        [column("Tokens/s", f"{by} ({tokens})", NUMBER, decimals=0)],
        width=14,
    )


def list_prices():
    def per_million(direction):
        price = select("gpu_cost_model_price_dollars_per_1k_tokens", f'direction="{direction}"')
        return f"max by (model) ({price}) * 1000"

    return table(
        "List prices per million tokens",
        "What does an API take, as the price file's model_costs say?",
        {"model": "Model"},
        [column("Read", per_million("input")), column("Written", per_million("output"))],
        width=10,
    )
