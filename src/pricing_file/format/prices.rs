//! Rows of prices: of one GPU, of the GPUs of some nodes, and of whole nodes.

use super::{Number, PRICES, Record, Shape, field, number, part};

/// A row of `gpu_pricing`, or several that are valid one after the other.
pub(in crate::pricing_file) const GPU_ROW: Shape = Shape::Either(&[
    Shape::Record(&GPU_COLUMNS),
    Shape::List(
        "a list of rows, each from a day on, such as - { valid_from: 2026-09-01, on_demand: 3 }",
        &Shape::Record(&GPU_COLUMNS),
    ),
]);

pub(super) const GPU_PRICE: Number = number("dollars per hour for one GPU, such as 3.5");
pub(super) const NODE_PRICE: Number = number("dollars per hour for the whole node, such as 88.49");

pub(super) const SOURCE: Shape = Shape::Either(&[
    Shape::Text("text that says where the prices come from"),
    Shape::Record(&Record {
        expected: "a map such as { name: aws us-east-1, as_of: 2026-07-20 }",
        fields: &[
            field("name", Shape::Text("text that says where the prices come from"), "Who published them."),
            field("url", Shape::Text("the address of a page"), "Where they were published."),
            field("as_of", Shape::Day, "The day they were valid on."),
        ],
        required: &["name"],
        any_of: &[],
    }),
]);

/// A price: a number, or a map with it and where it was read.
macro_rules! priced {
    ($number:expr) => {
        Shape::Either(&[
            Shape::Number($number),
            Shape::Record(&Record {
                expected: "a price, or a map such as { price: 3.5, as_of: 2026-07-20 }",
                fields: &[
                    field("price", Shape::Number($number), "The price."),
                    field(
                        "source",
                        Shape::Text("text that says where the price comes from"),
                        "Who published it.",
                    ),
                    field("as_of", Shape::Day, "The day it was valid on."),
                ],
                required: &["price"],
                any_of: &[],
            }),
        ])
    };
}

macro_rules! price_columns {
    ($number:expr; $($more:expr,)*) => {
        &[
            field("on_demand", priced!($number), "Pay as you go."),
            field("spot", priced!($number), "Interruptible capacity."),
            field("reserved_1y", priced!($number), "Committed for one year, nothing paid up front."),
            field("reserved_3y", priced!($number), "Committed for three years, nothing paid up front."),
            field("savings_plan", priced!($number), "Covered by a commitment to spend so much per hour."),
            field("capacity_block", priced!($number), "Paid in advance for a fixed time."),
            field("flex_start", priced!($number), "Begins when there is capacity, and runs for a limited time."),
            field("owned", priced!($number), "Bought, not rented: what it costs to have it for an hour."),
            $($more,)*
        ]
    };
}

/// A row of `gpu_pricing`.
pub(in crate::pricing_file) const GPU_COLUMNS: Record = Record {
    expected: "a map of prices, such as { on_demand: 3.5, spot: 1.2 }",
    fields: price_columns![GPU_PRICE;
        field("source", SOURCE, "Where the prices were read."),
        field("as_of", Shape::Day, "The day of the prices."),
        field("valid_from", Shape::Day, "The first day, in UTC, on which they apply."),
        field("aliases", Shape::List("a list of names, such as [NVIDIA H100 80GB HBM3]", &Shape::Text("another name of the GPU model")), "Other names of the model that have this price."),
        field("memory_gib", Shape::Number(number("GiB, such as 80")), "The memory of one GPU, for people."),
        field("gpu_share", part("a part of the node's price, such as 0.89"), "The part of a node's price that its GPUs are, for people."),
    ],
    required: &[],
    any_of: PRICES,
};

pub(super) const FLAT_PRICES: Record = Record {
    expected: "a map of prices, such as { on_demand: 3.5, spot: 1.2 }",
    fields: price_columns![GPU_PRICE;],
    required: &[],
    any_of: PRICES,
};

pub(super) const NODE_PRICES: Record = Record {
    expected: "a map of prices of the whole node, such as { on_demand: 88.49, spot: 50.61 }",
    fields: price_columns![NODE_PRICE;],
    required: &[],
    any_of: PRICES,
};
