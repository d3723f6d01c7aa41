//! What energy costs and emits.

use super::{Number, Record, Shape, field, number};
use crate::pricing_file::meaning;
use crate::pricing_file::shape::Pattern;

/// A kWh for more than this is in another unit; the dearest grids cost less than a dollar.
const DEAREST: u64 = 1_000;

/// A kWh that emits more than this is in another unit; the dirtiest grids emit about 1,000 g, a diesel generator 1,500.
const DIRTIEST: u64 = 10_000;

pub(super) const ENERGY: Record = Record {
    expected: "a map such as { usd_per_kwh: 0.08, gco2e_per_kwh: 396, pue: 1.2 }",
    fields: &[
        field(
            "usd_per_kwh",
            per_kwh("US dollars per kWh, such as 0.08", DEAREST),
            "What a kWh costs; without it there are no dollars of energy, unless `tariff` has a price for all of the day.",
        ),
        field(
            "gco2e_per_kwh",
            per_kwh("grams of CO2e per kWh, such as 396", DIRTIEST),
            "What a kWh emits, on the average of the grid; if it is not there, what is known of the node's region (data/grid_intensity.csv).",
        ),
        field(
            "pue",
            factor("a PUE, such as 1.2"),
            "Power of the data centre per power of its computers; 1 if it is not there.",
        ),
        field(
            "host_factor",
            factor("a factor, such as 1.8"),
            "Power of the node per power of its GPUs; 1 if it is not there.",
        ),
        field(
            "tariff",
            Shape::List(
                "a list of times, such as - { from: \"22:00\", to: \"06:00\", usd_per_kwh: 0.05 }",
                &Shape::Record(&TARIFF),
            ),
            "Times of the day with another price, by the clock of `utc_offset`; they must not overlap.",
        ),
        field(
            "utc_offset",
            Shape::Pattern(UTC_OFFSET),
            "How far the tariff's clock is ahead of UTC, all the year; \"+00:00\" if it is not there.",
        ),
    ],
    required: &[],
    any_of: &["usd_per_kwh", "gco2e_per_kwh", "tariff", "pue"],
};

const TARIFF: Record = Record {
    expected: "a map such as { from: \"22:00\", to: \"06:00\", usd_per_kwh: 0.05 }",
    fields: &[
        field("from", Shape::Pattern(TIME), "The first minute."),
        field(
            "to",
            Shape::Pattern(TIME),
            "The minute after the last; before `from` if midnight lies between them.",
        ),
        field("usd_per_kwh", per_kwh("US dollars per kWh, such as 0.05", DEAREST), "What a kWh costs then."),
    ],
    required: &["from", "to", "usd_per_kwh"],
    any_of: &[],
};

const TIME: Pattern = Pattern {
    expected: "a time of the day in quotes, such as \"22:00\"",
    regex: "^([01][0-9]|2[0-3]):[0-5][0-9]$",
    fits: |text| meaning::minutes(text).is_some(),
};

const UTC_OFFSET: Pattern = Pattern {
    expected: "hours and minutes from \"-12:00\" to \"+14:00\" in quotes, such as \"+05:30\"",
    regex: "^([+](0[0-9]|1[0-3]):[0-5][0-9]|[+]14:00|-(0[0-9]|1[01]):[0-5][0-9]|-12:00)$",
    fits: |text| meaning::offset(text).is_some(),
};

const fn per_kwh(expected: &'static str, largest: u64) -> Shape {
    Shape::Number(Number { largest, ..number(expected) })
}

/// Something that comes on top: never less than one.
const fn factor(expected: &'static str) -> Shape {
    Shape::Number(Number { smallest: 1, largest: 10, ..number(expected) })
}
