//! What is said of some nodes only, and of hardware that was bought.

use super::prices::{FLAT_PRICES, NODE_PRICES, SOURCE};
use super::{Number, PRICES, Record, Shape, dollars, field, number, part};

const MATCH: Record = Record {
    expected: "a map of what must be true, such as { provider: aws, region: us-east-1 }",
    fields: &[
        field(
            "provider",
            Shape::Text("a provider, such as aws"),
            "Who rents the node out: aws, gcp, azure, or as its labels say.",
        ),
        field(
            "region",
            Shape::Text("a region, such as us-east-1"),
            "The region; one that ends in * stands for all that begin so.",
        ),
        field("zone", Shape::Text("a zone, such as us-east-1a"), "The zone."),
        field(
            "instance_type",
            Shape::Text("an instance type, such as p5.48xlarge"),
            "The instance type; one that ends in * stands for all that begin so.",
        ),
        field("gpu_model", Shape::Text("a GPU model, such as nvidia-h100-80gb"), "The GPU model."),
        field(
            "node_labels",
            Shape::Rows(
                "a map of labels, such as pool: dgx",
                &Shape::Text("the value of a label, such as dgx"),
            ),
            "Labels that the node has.",
        ),
    ],
    required: &[],
    any_of: &[],
};

pub(super) const OVERRIDE: Record = Record {
    expected: "a map such as { match: { region: us-east-1 }, gpu_pricing: { on_demand: 6 } }",
    fields: &[
        field(
            "name",
            Shape::Text("a name"),
            "What metrics call it; its place in the list if it is not there.",
        ),
        field("match", Shape::Record(&MATCH), "The nodes that it is for."),
        field("price_model", Shape::Word(PRICES), "How these nodes were bought."),
        field("gpu_pricing", Shape::Record(&FLAT_PRICES), "What one GPU costs per hour."),
        field(
            "node_pricing",
            Shape::Record(&NODE_PRICES),
            "What the whole node costs per hour; divided by its GPUs.",
        ),
        field(
            "gpus_per_node",
            Shape::Number(Number {
                largest: 1_024,
                positive: true,
                whole: true,
                ..number("a count of GPUs, such as 8")
            }),
            "How many GPUs the node has; as many as are seen if it is not there.",
        ),
        field("valid_from", Shape::Day, "The first day, in UTC, on which it applies."),
        field("valid_until", Shape::Day, "The first day, in UTC, on which it applies no more."),
        field("source", SOURCE, "Where the prices were read."),
        field("as_of", Shape::Day, "The day of the prices."),
    ],
    required: &["match"],
    any_of: &["gpu_pricing", "node_pricing", "price_model"],
};

pub(super) const PRICE_MODEL_RULE: Record = Record {
    expected: "a map such as { label: pool, values: { cheap: spot } }",
    fields: &[
        field("label", Shape::Text("the key of a node's label"), "The label."),
        field(
            "values",
            Shape::Rows("a map of the label's values, such as cheap: spot", &Shape::Word(PRICES)),
            "What its values say; others say nothing.",
        ),
    ],
    required: &["label", "values"],
    any_of: &[],
};

pub(super) const DISCOUNT: Record = Record {
    expected: "a map such as { match: { provider: aws }, percent: 8 }",
    fields: &[
        field("match", Shape::Record(&MATCH), "The GPUs that it is for; all if it is not there."),
        field(
            "percent",
            Shape::Number(Number { largest: 100, ..number("percent, such as 8") }),
            "How much is taken off.",
        ),
    ],
    required: &["percent"],
    any_of: &[],
};

pub(super) const OWNED: Record = Record {
    expected: "a map such as { gpu_model: nvidia-h100-80gb, gpus: 8, server_usd: 300000, life_years: 4 }",
    fields: &[
        field("gpu_model", Shape::Text("a GPU model, such as nvidia-h100-80gb"), "The model of its GPUs."),
        field(
            "gpus",
            Shape::Number(Number {
                largest: 1_024,
                positive: true,
                whole: true,
                ..number("a count of GPUs, such as 8")
            }),
            "How many GPUs it has.",
        ),
        field("server_usd", dollars("US dollars, such as 300000"), "What it cost."),
        field("network_usd", dollars("US dollars, such as 60000"), "Its part of the network and storage."),
        field(
            "life_years",
            Shape::Number(Number { largest: 50, positive: true, ..number("years, such as 4") }),
            "How long it is used.",
        ),
        field(
            "residual",
            part("a part of the price, such as 0.25"),
            "What it is worth after that, as a part of its price.",
        ),
        field(
            "opex_pct",
            part("a part of the server's price, such as 0.05"),
            "Support, spares and staff per year, as a part of the server's price.",
        ),
        field("cost_of_capital", part("a part per year, such as 0.08"), "Interest per year."),
        field("kw", Shape::Number(number("kW, such as 10.2")), "The power that it draws at full load."),
        field(
            "load_factor",
            part("a part of the draw at full load, such as 0.8"),
            "The mean draw; 1 if it is not there.",
        ),
        field("usd_per_kwh", Shape::Number(number("US dollars per kWh, such as 0.08")), "What power costs."),
        field(
            "colo_usd_per_kw_month",
            Shape::Number(number("US dollars per kW and month, such as 150")),
            "What power costs where it is reserved; instead of usd_per_kwh.",
        ),
        field(
            "pue",
            Shape::Number(Number { largest: 10, positive: true, ..number("a PUE, such as 1.3") }),
            "Power of the data centre per power of its computers; 1 if it is not there.",
        ),
        field(
            "availability",
            Shape::Number(Number {
                largest: 1,
                positive: true,
                ..number("a part of the time, such as 0.99")
            }),
            "The part of its life in which it can be used; 1 if it is not there.",
        ),
    ],
    required: &["gpu_model", "gpus", "server_usd", "life_years"],
    any_of: &[],
};
