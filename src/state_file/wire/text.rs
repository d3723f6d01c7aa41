//! What all parts of a state share: texts, keys, and sums by state.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cost::attribution::DeviceKey;
use crate::cost::money::{Amount, Cost, GpuTime};
use crate::cost::pricing::PriceModel;
use crate::cost::report::{State, Totals};

/// A text that is shared with its original: ten thousand of them are written with every tick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text(pub(super) Arc<str>);

/// A GPU, or a MIG device on it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireKey {
    gpu: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mig_device: Option<Text>,
}

/// Money and time by state, as units of both. A state without either is left out.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct WireTotals {
    #[serde(default)]
    priced: bool,
    #[serde(default)]
    states: WireSums,
}

/// In the order of [`State::ALL`].
#[derive(Debug, Default)]
struct WireSums([(u128, u128); State::ALL.len()]);

/// A price model, by its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct WirePriceModel(pub(super) PriceModel);

// === impl Text ===

impl From<&Arc<str>> for Text {
    fn from(text: &Arc<str>) -> Self {
        Self(Arc::clone(text))
    }
}

impl From<Text> for Arc<str> {
    fn from(text: Text) -> Self {
        text.0
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(String::deserialize(deserializer)?.into()))
    }
}

// === impl WireKey ===

impl WireKey {
    pub(super) fn of((gpu, mig_device): &DeviceKey) -> Self {
        Self { gpu: gpu.into(), mig_device: mig_device.as_ref().map(Text::from) }
    }

    pub(super) fn key(self) -> DeviceKey {
        (self.gpu.into(), self.mig_device.map(Into::into))
    }
}

// === impl WireTotals ===

impl WireTotals {
    pub(super) fn of(totals: &Totals) -> Self {
        let sum = |state| (totals.cost(state).unwrap_or_default().units(), totals.time(state).nanos());
        Self { priced: totals.cost(State::Used).is_some(), states: WireSums(State::ALL.map(sum)) }
    }

    pub(super) fn totals(self) -> Totals {
        let mut totals = Totals::default();
        totals.open(self.priced);
        for (state, (cost, time)) in State::ALL.into_iter().zip(self.states.0) {
            let cost = (self.priced || cost > 0).then(|| Cost::from_units(cost));
            totals.post(state, Amount { cost, time: GpuTime::from_nanos(time) });
        }
        totals
    }
}

impl Serialize for WireSums {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_something = |(_, (cost, time)): &(State, &(u128, u128))| *cost > 0 || *time > 0;
        let sums = State::ALL.into_iter().zip(&self.0).filter(is_something);
        serializer.collect_map(sums.map(|(state, sum)| (state.as_str(), sum)))
    }
}

impl<'de> Deserialize<'de> for WireSums {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut sums = Self::default();
        for (name, sum) in BTreeMap::<String, (u128, u128)>::deserialize(deserializer)? {
            let place = State::ALL.into_iter().position(|state| state.as_str() == name);
            let place = place.ok_or_else(|| D::Error::custom(format!("there is no state `{name}`")))?;
            sums.0[place] = sum;
        }
        Ok(sums)
    }
}

// === impl WirePriceModel ===

impl Serialize for WirePriceModel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for WirePriceModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let model = PriceModel::from_name(&name);
        model.map(Self).ok_or_else(|| D::Error::custom(format!("there is no price model `{name}`")))
    }
}
