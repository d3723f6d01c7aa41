//! What all parts of a state share: texts, keys, and sums by state.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::Error as _;
use serde::ser::SerializeMap as _;
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

#[derive(Debug, Default)]
struct WireSums(Vec<(State, u128, u128)>);

/// The price model of this name.
pub(super) fn price_model(name: &Text) -> Result<PriceModel, String> {
    PriceModel::from_name(&name.0).ok_or_else(|| format!("there is no price model `{}`", name.0))
}

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
        let sums = State::ALL
            .map(|state| (state, totals.cost(state).unwrap_or_default().units(), totals.time(state).nanos()));
        let is_something = |(_, cost, time): &(State, u128, u128)| *cost > 0 || *time > 0;
        Self {
            priced: totals.cost(State::Used).is_some(),
            states: WireSums(sums.into_iter().filter(is_something).collect()),
        }
    }

    pub(super) fn totals(self) -> Totals {
        let mut totals = Totals::default();
        totals.open(self.priced);
        for (state, cost, time) in self.states.0 {
            let cost = (self.priced || cost > 0).then(|| Cost::from_units(cost));
            totals.post(state, Amount { cost, time: GpuTime::from_nanos(time) });
        }
        totals
    }
}

impl Serialize for WireSums {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (state, cost, time) in &self.0 {
            map.serialize_entry(state.as_str(), &(cost, time))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for WireSums {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sums = BTreeMap::<String, (u128, u128)>::deserialize(deserializer)?;
        let sum = |(name, (cost, time)): (String, (u128, u128))| {
            let state = State::ALL.into_iter().find(|state| state.as_str() == name);
            let state = state.ok_or_else(|| D::Error::custom(format!("there is no state `{name}`")))?;
            Ok((state, cost, time))
        };
        Ok(Self(sums.into_iter().map(sum).collect::<Result<_, _>>()?))
    }
}
