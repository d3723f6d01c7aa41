//! Version 1 of the price file as serde reads it.
//!
//! By the time that a text comes here, every mistake in it has been found and told with its place, so an error from here
//! means that two YAML readers disagree about the text. It is refused then, too.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor};

use crate::cost::gpu_model;
use crate::cost::money::Rate;
use crate::cost::pricing::{Date, PriceTable, Prices, TokenPrices};

use super::rules::DEFAULT;
use super::{PricingFile, date, decimal};

/// The whole file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Version1 {
    #[expect(dead_code, reason = "it was checked, and there is only one")]
    schema_version: Option<u32>,
    #[serde(default)]
    gpu_pricing: BTreeMap<String, GpuRow>,
    #[serde(default)]
    model_costs: BTreeMap<String, TokenRow>,
}

/// One row of `gpu_pricing`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct GpuRow {
    on_demand: Option<Dollars>,
    spot: Option<Dollars>,
    reserved_1y: Option<Dollars>,
    source: Option<String>,
    as_of: Option<Day>,
}

/// One row of `model_costs`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRow {
    input_tokens: Dollars,
    output_tokens: Dollars,
}

/// A decimal number of dollars, in billionths.
#[derive(Clone, Copy)]
struct Dollars(u64);

/// A date as `YYYY-MM-DD`.
#[derive(Clone, Copy)]
struct Day(Date);

/// Reads a text in which no mistake was found.
pub(super) fn read(text: &str) -> Result<PricingFile, serde_yaml::Error> {
    let file: Version1 = serde_yaml::from_str(text)?;
    let mut prices = PriceTable::default();
    for (model, row) in file.gpu_pricing {
        if model.eq_ignore_ascii_case(DEFAULT) {
            prices.default = Some(row.into());
        } else {
            prices.models.insert(gpu_model::of_product(&model), row.into());
        }
    }
    let model_costs =
        file.model_costs.into_iter().map(|(model, row)| (Arc::from(model), row.into())).collect();
    Ok(PricingFile { prices, model_costs, warnings: Vec::new() })
}

impl From<GpuRow> for Prices {
    fn from(row: GpuRow) -> Self {
        let rate = |dollars: Dollars| Rate::from_nanos_per_hour(dollars.0);
        Self {
            on_demand: row.on_demand.map(rate),
            spot: row.spot.map(rate),
            reserved_1y: row.reserved_1y.map(rate),
            source: row.source.map(Arc::from),
            as_of: row.as_of.map(|day| day.0),
            ..Self::default()
        }
    }
}

impl From<TokenRow> for TokenPrices {
    fn from(row: TokenRow) -> Self {
        Self { input_nanos: row.input_tokens.0, output_nanos: row.output_tokens.0, ..Self::default() }
    }
}

// === impl Dollars ===

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Asked for a string, the reader gives the digits as they were written and makes no float of them.
        let text = deserializer.deserialize_str(Text)?;
        decimal::billionths(&text)
            .map(Self)
            .map_err(|_| D::Error::custom(format_args!("`{text}` is no price")))
    }
}

// === impl Day ===

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = deserializer.deserialize_str(Text)?;
        date::parse(&text).map(Self).map_err(|_| D::Error::custom(format_args!("`{text}` is no day")))
    }
}

/// The text of any scalar.
struct Text;

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}
