//! The price file: every key, what may stand there, and what it means.
//!
//! Version 1 is `gpu_pricing` with `on_demand`, `spot` and `reserved_1y`, and `model_costs`. Version 2 has all the rest.
//! Amounts are in the file's `currency` unless their name says `usd`.

mod energy;
mod nodes;
mod prices;

use crate::yaml::decimal::LARGEST;

use self::energy::ENERGY;
use self::nodes::{DISCOUNT, OVERRIDE, OWNED, PRICE_MODEL_RULE};
use super::shape::{Field, Number, Pattern, Record, Shape};

pub(super) use self::prices::{GPU_COLUMNS, GPU_ROW};

/// The keys of a row that hold a price, in the order of a sheet's columns.
pub(super) const PRICES: &[&str] = &[
    "on_demand",
    "spot",
    "reserved_1y",
    "reserved_3y",
    "savings_plan",
    "capacity_block",
    "flex_start",
    "owned",
];

/// What `mig_share` may be.
const MIG_SHARES: &[&str] = &["compute", "memory", "blend"];
/// What `sharing_policy` may be.
const SHARING_POLICIES: &[&str] = &["slots", "active"];
/// Keys and values that somebody may look for here and that contradict the ledger; an empty value is any.
const REFUSED: &[(&str, &str, &str)] = &[
    ("shared_costs", "", "what nobody holds is a line of its own"),
    (
        "price_basis",
        "gpu_only",
        "the price of a node is divided by its GPUs whole, so that they add up to the bill",
    ),
    ("missing_rate", "zero", "a price that nobody knows is unpriced, which is a state and no zero"),
];
/// The values of `unit` in `model_costs`.
const TOKEN_UNITS: &[&str] = &["per_1k", "per_1m"];

pub(super) const FILE_EXPECTED: &str = "a map with gpu_pricing or model_costs";
pub(super) const GPU_ROWS: &str = "a map of GPU models, such as nvidia-t4: { on_demand: 0.526 }";
const TOKEN_ROWS: &str = "a map of models, such as gpt-4: { input_tokens: 0.03, output_tokens: 0.06 }";

const fn field(name: &'static str, shape: Shape, says: &'static str) -> Field {
    Field { name, shape, says }
}

const fn number(expected: &'static str) -> Number {
    Number { expected, smallest: 0, largest: LARGEST, positive: false, whole: false }
}

const fn part(expected: &'static str) -> Shape {
    Shape::Number(Number { largest: 1, ..number(expected) })
}

const fn dollars(expected: &'static str) -> Shape {
    Shape::Number(Number { largest: 1_000_000_000, ..number(expected) })
}

/// Why there is no such key with this value; `None` if there is nothing to say about it.
pub(super) fn why_refused(key: &str, value: &str) -> Option<&'static str> {
    let refused = REFUSED.iter().find(|(name, word, _)| *name == key && (word.is_empty() || *word == value));
    refused.map(|(_, _, why)| *why)
}

/// The whole file.
pub(super) const FILE: Record = Record {
    expected: FILE_EXPECTED,
    fields: &[
        field(
            "gpu_pricing",
            Shape::Rows(GPU_ROWS, &GPU_ROW),
            "What one GPU costs per hour, by GPU model; `default` is for the models that are in no list.",
        ),
        field(
            "model_costs",
            Shape::Rows(TOKEN_ROWS, &Shape::Record(&TOKEN_ROW)),
            "What tokens cost, by model.",
        ),
        field(
            "schema_version",
            Shape::Version(&[1, 2]),
            "1 or 2; 1 if it is not there. Every file of version 1 is one of version 2.",
        ),
        field(
            "currency",
            Shape::Pattern(CURRENCY),
            "The currency of the amounts in this file; USD if it is not there. Metrics are in US dollars.",
        ),
        field(
            "exchange_rates",
            Shape::Rows("a map of currencies, such as EUR: 1.08", &EXCHANGE_RATE),
            "US dollars for one unit of a currency.",
        ),
        field("as_of", Shape::Day, "The day of the prices that have none of their own."),
        field("defaults", Shape::Record(&DEFAULTS), "What holds where nothing else is said."),
        field(
            "overrides",
            Shape::List(
                "a list of overrides, such as - { match: { region: us-east-1 }, gpu_pricing: { on_demand: 6 } }",
                &Shape::Record(&OVERRIDE),
            ),
            "Prices of some nodes only; the first that matches counts, before all other prices.",
        ),
        field(
            "price_model_rules",
            Shape::List(
                "a list of rules, such as - { label: pool, values: { cheap: spot } }",
                &Shape::Record(&PRICE_MODEL_RULE),
            ),
            "Labels of nodes that tell how they were bought, before those of Karpenter, EKS, GKE and AKS; the first that a node has counts.",
        ),
        field(
            "discounts",
            Shape::List(
                "a list of discounts, such as - { match: { provider: aws }, percent: 8 }",
                &Shape::Record(&DISCOUNT),
            ),
            "What was negotiated off on_demand and reserved prices, whoever wrote them; the first that matches counts.",
        ),
        field(
            "owned_hardware",
            Shape::Rows(
                "a map of servers, such as dgx: { gpu_model: nvidia-h100-80gb, gpus: 8, server_usd: 300000, life_years: 4 }",
                &Shape::Record(&OWNED),
            ),
            "Servers that were bought, from which the `owned` price of their GPU model follows.",
        ),
        field("energy", Shape::Record(&ENERGY), "What energy costs and emits. Never a part of the bill."),
        field(
            "budgets",
            Shape::List(
                "a list of budgets, such as - { match: { namespace: ml }, monthly_usd: 20000 }",
                &Shape::Record(&BUDGET),
            ),
            "What may be spent per month, for those who write alert rules: a node does not know what others spend, so no budget is exported.",
        ),
        field("mig_share", Shape::Word(MIG_SHARES), "By what a MIG device's share of its GPU is measured."),
        field(
            "sharing_policy",
            Shape::Word(SHARING_POLICIES),
            "Who pays for free slots of a shared GPU: `slots`, the node; `active`, those who hold the others.",
        ),
    ],
    required: &[],
    any_of: &[],
};

const CURRENCY: Pattern = Pattern {
    expected: "a currency, such as EUR",
    regex: "^[A-Z]{3}$",
    fits: |text| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()),
};
const EXCHANGE_RATE: Shape =
    Shape::Number(Number { positive: true, ..number("US dollars for one unit, such as 1.08") });

const DEFAULTS: Record = Record {
    expected: "a map such as { price_model: on_demand }",
    fields: &[
        field("price_model", Shape::Word(PRICES), "How a node was bought whose labels do not say so."),
        field(
            "price_basis",
            Shape::Word(&["node_share"]),
            "What a GPU's price covers: its part of the whole node.",
        ),
        field(
            "missing_rate",
            Shape::Word(&["fall_back"]),
            "What a price model without a price costs: as much as on_demand.",
        ),
        field(
            "hours_per_month",
            Shape::Number(Number { largest: 744, positive: true, ..number("hours, such as 730") }),
            "How many hours a month has where `price` tells a price per month; 730 if it is not there.",
        ),
    ],
    required: &[],
    any_of: &[],
};

// === what else there is ===

const BUDGET: Record = Record {
    expected: "a map such as { match: { namespace: ml }, monthly_usd: 20000 }",
    fields: &[
        field(
            "match",
            Shape::Rows(
                "a map of labels, such as namespace: ml",
                &Shape::Text("the value of a label, such as ml"),
            ),
            "Whose it is: namespace, team, project and so on.",
        ),
        field("monthly_usd", dollars("US dollars per month, such as 20000"), "How much it is."),
    ],
    required: &["match", "monthly_usd"],
    any_of: &[],
};

const TOKEN_ROW: Record = Record {
    expected: "a map such as { input_tokens: 0.03, output_tokens: 0.06 }",
    fields: &[
        field("input_tokens", Shape::Number(TOKEN_PRICE), "What tokens cost that are read."),
        field("output_tokens", Shape::Number(TOKEN_PRICE), "What tokens cost that are written."),
        field("cached_input_tokens", Shape::Number(TOKEN_PRICE), "What tokens cost that are read again."),
        field(
            "unit",
            Shape::Word(TOKEN_UNITS),
            "For how many tokens the prices are: per_1k, or per_1m for a million; per_1k if it is not there.",
        ),
    ],
    required: &["input_tokens", "output_tokens"],
    any_of: &[],
};

const TOKEN_PRICE: Number = number("dollars per 1,000 tokens, such as 0.0008");
