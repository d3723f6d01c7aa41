//! From a tree in which no mistake was found to what it means.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::cost::attribution::{MigShare, SharingPolicy};
use crate::cost::gpu_model;
use crate::cost::money::Rate;
use crate::cost::pricing::{
    Change, Date, Discount, EnergyTerms, Intensity, Match, Override, OverridePrices, OwnedHardware, Percent,
    Power, PriceModel, PriceModelRule, PriceTable, Prices, Provenance, Tariff, TokenPrices,
};
use crate::yaml::decimal::{self, ONE};
use crate::yaml::tree::{Node, Value};

use super::format::PRICES;
use super::rules::DEFAULT;
use super::{Budget, PricingFile, Server, date, grid};

/// By how many minutes clocks are ahead of UTC anywhere, from Baker Island to the Line Islands.
const UTC_OFFSETS: RangeInclusive<i32> = -12 * 60..=14 * 60;

/// A value of the file, for reading; what is not there is `None`.
#[derive(Clone, Copy)]
struct View<'t>(&'t Node);

/// What one unit of the file's currency is worth, in billionths of a dollar.
#[derive(Clone, Copy)]
struct Currency(u64);

/// What a file says in which no mistake was found.
pub(super) fn of(root: &Node) -> PricingFile {
    let root = View(root);
    let exchange_rates: BTreeMap<Arc<str>, u64> =
        root.rows("exchange_rates").map(|(name, rate)| (Arc::from(name), rate.number())).collect();
    let currency = root
        .text("currency")
        .filter(|name| *name != "USD")
        .and_then(|name| exchange_rates.get(name))
        .copied();
    let reader = Reader { currency: Currency(currency.unwrap_or(ONE)), as_of: root.day("as_of") };
    let defaults = root.get("defaults");
    let prices = reader.table(root);
    let named = (1..).zip(root.items("overrides"));
    PricingFile {
        overrides: named.map(|(place, it)| reader.over(place, it, &prices)).collect(),
        price_model_rules: root.items("price_model_rules").map(rule).collect(),
        usual_price_model: defaults.and_then(|defaults| PriceModel::from_name(defaults.text("price_model")?)),
        discounts: root.items("discounts").map(|it| discount(it, &prices)).collect(),
        owned_hardware: root
            .rows("owned_hardware")
            .filter_map(|(name, it)| server(name, it, &prices))
            .collect(),
        prices,
        exchange_rates,
        model_costs: root
            .rows("model_costs")
            .map(|(model, row)| (Arc::from(model), reader.tokens(row)))
            .collect(),
        mig_share: root.text("mig_share").map(mig_share),
        sharing_policy: root.text("sharing_policy").map(sharing_policy),
        energy: root.get("energy").map(energy),
        budgets: root.items("budgets").map(budget).collect(),
        hours_per_month: defaults.and_then(|defaults| defaults.nanos("hours_per_month")),
        warnings: Vec::new(),
    }
}

/// The minutes after midnight of a time such as `22:00`.
pub(super) fn minutes(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.len() == 2 && !text.starts_with('+'));
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

/// The minutes that a clock is ahead of UTC, from a text such as `+05:30`; negative if it is behind.
pub(super) fn offset(text: &str) -> Option<i32> {
    let minutes = |text: &str| i32::try_from(minutes(text)?).ok();
    let ahead = match text.strip_prefix('-') {
        Some(behind) => -minutes(behind)?,
        None => minutes(text.strip_prefix('+')?)?,
    };
    UTC_OFFSETS.contains(&ahead).then_some(ahead)
}

/// A server that was bought.
pub(super) fn owned(node: &Node) -> OwnedHardware {
    let row = View(node);
    let nanos = |key: &str, usual: u64| row.nanos(key).unwrap_or(usual);
    let power = match row.nanos("colo_usd_per_kw_month") {
        Some(per_kw_month) => Power::Contracted { per_kw_month },
        None => Power::Metered {
            load_factor: nanos("load_factor", ONE),
            pue: nanos("pue", ONE),
            per_kwh: nanos("usd_per_kwh", 0),
        },
    };
    OwnedHardware {
        gpus: row.count("gpus").unwrap_or(0),
        server: nanos("server_usd", 0),
        network: nanos("network_usd", 0),
        life_years: nanos("life_years", 0),
        residual: nanos("residual", 0),
        upkeep: nanos("opex_pct", 0),
        cost_of_capital: nanos("cost_of_capital", 0),
        kilowatts: nanos("kw", 0),
        power,
        availability: nanos("availability", ONE),
    }
}

/// What a GPU of a server that was bought costs; `None` if the numbers make no rate.
fn server(name: &str, row: View<'_>, table: &PriceTable) -> Option<Server> {
    let model = gpu_model::of_product(row.text("gpu_model")?);
    Some(Server { name: name.into(), gpu_model: table.meant_by(&model).into(), rate: owned(row.0).rate()? })
}

/// What all amounts of a file have in common.
struct Reader {
    currency: Currency,
    as_of: Option<Date>,
}

// === impl Reader ===

impl Reader {
    fn table(&self, root: View<'_>) -> PriceTable {
        let mut table = PriceTable::default();
        for (name, rows) in root.rows("gpu_pricing") {
            let model = (!name.eq_ignore_ascii_case(DEFAULT)).then(|| gpu_model::of_product(name));
            for row in rows.one_or_more() {
                self.add_row(&mut table, model.clone(), row);
            }
        }
        table.changes.sort_by_key(|change| change.from);
        for (_, server) in root.rows("owned_hardware") {
            let model = server.text("gpu_model").map(gpu_model::of_product);
            let model = model.map(|name| Arc::from(table.meant_by(&name)));
            if let Some((model, rate)) = model.zip(owned(server.0).rate()) {
                table.models.entry(Arc::clone(&model)).or_default();
                let changes = table.changes.iter_mut().filter(|change| change.model.as_ref() == Some(&model));
                let rows = changes.map(|change| &mut change.prices).chain(table.models.get_mut(&model));
                for row in rows {
                    row.owned = row.owned.or(Some(rate));
                }
            }
        }
        table
    }

    fn add_row(&self, table: &mut PriceTable, model: Option<Arc<str>>, row: View<'_>) {
        if let Some(model) = &model {
            for alias in row.items("aliases").filter_map(View::as_text) {
                table.aliases.insert(gpu_model::of_product(alias), Arc::clone(model));
            }
        }
        let prices = self.prices(row, row);
        match (row.day("valid_from"), model) {
            (Some(from), model) => table.changes.push(Change { from, model, prices }),
            (None, Some(model)) => _ = table.models.insert(model, prices),
            (None, None) => table.default = Some(prices),
        }
    }

    /// The prices in a map; `about` says where they were read.
    fn prices(&self, row: View<'_>, about: View<'_>) -> Prices {
        let source = about.get("source");
        let name = |source: View<'_>| source.as_text().or_else(|| source.text("name")).map(Arc::from);
        let mut prices = Prices {
            source: source.and_then(name),
            as_of: about.day("as_of").or_else(|| source?.day("as_of")).or(self.as_of),
            ..Prices::default()
        };
        for model in PRICES.iter().filter_map(|name| PriceModel::from_name(name)) {
            let Some(price) = row.get(model.as_str()) else { continue };
            let nanos = price.nanos("price").unwrap_or_else(|| price.number());
            *prices.under_mut(model) = Some(Rate::from_nanos_per_hour(self.currency.in_dollars(nanos)));
            let own = Provenance { source: price.text("source").map(Arc::from), as_of: price.day("as_of") };
            if own != Provenance::default() {
                prices.provenance.insert(model, own);
            }
        }
        prices
    }

    fn over(&self, place: usize, row: View<'_>, table: &PriceTable) -> Override {
        let node = row.get("node_pricing").map(|prices| OverridePrices::Node {
            prices: self.prices(prices, row),
            gpus: row.count("gpus_per_node"),
        });
        let gpu = row.get("gpu_pricing").map(|prices| OverridePrices::Gpu(self.prices(prices, row)));
        Override {
            name: row.text("name").map_or_else(|| place.to_string().into(), Arc::from),
            matching: row.get("match").map(|it| matching(it, table)).unwrap_or_default(),
            valid_from: row.day("valid_from"),
            valid_until: row.day("valid_until"),
            price_model: row.text("price_model").and_then(PriceModel::from_name),
            prices: node.or(gpu),
        }
    }

    /// Prices of a thousand tokens. Prices of a million that have more decimals than are kept are rounded.
    fn tokens(&self, row: View<'_>) -> TokenPrices {
        let thousands = if row.text("unit") == Some("per_1m") { 1_000 } else { 1 };
        let per_thousand = |nanos: u64| (self.currency.in_dollars(nanos) + thousands / 2) / thousands;
        let nanos = |key: &str| row.nanos(key).map(per_thousand);
        TokenPrices {
            input_nanos: nanos("input_tokens").unwrap_or(0),
            output_nanos: nanos("output_tokens").unwrap_or(0),
            cached_input_nanos: nanos("cached_input_tokens"),
        }
    }
}

/// What is matched; the table says which model a name of a GPU means.
fn matching(row: View<'_>, table: &PriceTable) -> Match {
    let text = |key: &str| row.text(key).map(Arc::from);
    Match {
        provider: text("provider"),
        region: text("region"),
        zone: text("zone"),
        instance_type: text("instance_type"),
        gpu_model: row.text("gpu_model").map(|name| table.meant_by(&gpu_model::of_product(name)).into()),
        node_labels: row
            .rows("node_labels")
            .filter_map(|(key, value)| Some((Arc::from(key), Arc::from(value.as_text()?))))
            .collect(),
    }
}

fn rule(row: View<'_>) -> PriceModelRule {
    let value =
        |(value, model): (&str, View<'_>)| Some((Arc::from(value), PriceModel::from_name(model.as_text()?)?));
    PriceModelRule {
        label: row.text("label").unwrap_or_default().into(),
        values: row.rows("values").filter_map(value).collect(),
    }
}

fn discount(row: View<'_>, table: &PriceTable) -> Discount {
    Discount {
        matching: row.get("match").map(|it| matching(it, table)).unwrap_or_default(),
        part: Percent::from_nanos(row.nanos("percent").unwrap_or(0)),
    }
}

fn energy(row: View<'_>) -> EnergyTerms {
    let by_region = || Intensity::ByRegion(grid::built_in());
    EnergyTerms {
        dollars_per_kwh: row.nanos("usd_per_kwh"),
        tariffs: row.items("tariff").filter_map(|item| tariff(item.0)).collect(),
        utc_offset_minutes: row.text("utc_offset").and_then(offset).unwrap_or(0),
        intensity: row.nanos("gco2e_per_kwh").map_or_else(by_region, Intensity::Told),
        pue: row.nanos("pue").unwrap_or(ONE),
        host_factor: row.nanos("host_factor").unwrap_or(ONE),
    }
}

/// A time of the day with a price of its own; `None` if it is none.
pub(super) fn tariff(node: &Node) -> Option<Tariff> {
    let row = View(node);
    Some(Tariff {
        from_minute: row.text("from").and_then(minutes)?,
        to_minute: row.text("to").and_then(minutes)?,
        dollars_per_kwh: row.nanos("usd_per_kwh").unwrap_or(0),
    })
}

fn budget(row: View<'_>) -> Budget {
    let label = |(key, value): (&str, View<'_>)| Some((Arc::from(key), Arc::from(value.as_text()?)));
    Budget {
        matching: row.rows("match").filter_map(label).collect(),
        monthly: row.nanos("monthly_usd").unwrap_or(0),
    }
}

fn mig_share(word: &str) -> MigShare {
    match word {
        "memory" => MigShare::Memory,
        "blend" => MigShare::Blend,
        _ => MigShare::Compute,
    }
}

fn sharing_policy(word: &str) -> SharingPolicy {
    if word == "active" { SharingPolicy::Active } else { SharingPolicy::Slots }
}

// === impl Currency ===

impl Currency {
    /// An amount in dollars, to the nearest billionth.
    fn in_dollars(self, nanos: u64) -> u64 {
        let dollars = (u128::from(nanos) * u128::from(self.0) + u128::from(ONE) / 2) / u128::from(ONE);
        u64::try_from(dollars).unwrap_or(u64::MAX)
    }
}

// === impl View ===

impl<'t> View<'t> {
    fn get(self, key: &str) -> Option<Self> {
        self.entries().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    fn entries(self) -> impl Iterator<Item = (&'t str, Self)> {
        let entries: &[(Node, Node)] = if let Value::Map(entries) = &self.0.value { entries } else { &[] };
        entries.iter().filter_map(|(key, value)| Some((View(key).as_text()?, View(value))))
    }

    /// The entries of the map at a key.
    fn rows(self, key: &str) -> impl Iterator<Item = (&'t str, Self)> {
        self.get(key).into_iter().flat_map(View::entries)
    }

    /// The items of the list at a key.
    fn items(self, key: &str) -> impl Iterator<Item = Self> {
        let list = self.get(key).filter(|value| matches!(value.0.value, Value::List(_)));
        list.into_iter().flat_map(View::one_or_more)
    }

    /// The items of a list, or the value itself.
    fn one_or_more(self) -> impl Iterator<Item = Self> {
        let items = if let Value::List(items) = &self.0.value { items } else { std::slice::from_ref(self.0) };
        items.iter().map(View)
    }

    fn as_text(self) -> Option<&'t str> {
        if let Value::Scalar { text, .. } = &self.0.value { Some(text) } else { None }
    }

    fn text(self, key: &str) -> Option<&'t str> {
        self.get(key)?.as_text()
    }

    /// The billionths in a number; 0 if it is none.
    fn number(self) -> u64 {
        self.as_text().and_then(|text| decimal::billionths_up_to(text, u64::MAX / ONE).ok()).unwrap_or(0)
    }

    fn nanos(self, key: &str) -> Option<u64> {
        self.get(key).map(View::number)
    }

    fn count(self, key: &str) -> Option<u32> {
        self.nanos(key).and_then(|nanos| u32::try_from(nanos / ONE).ok())
    }

    fn day(self, key: &str) -> Option<Date> {
        date::parse(self.text(key)?).ok()
    }
}
