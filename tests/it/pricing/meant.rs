//! What a file of version 2 means, found twice: in what we made of it, and in what `serde_yaml` alone makes of the text.
//!
//! The second way has nothing of ours but the names of GPUs: another YAML reader, floats instead of digits, and each key
//! looked up where its documentation says that it stands.

use std::collections::BTreeMap;

use gpu_cost_exporter::cost::attribution::{MigShare, SharingPolicy};
use gpu_cost_exporter::cost::gpu_model;
use gpu_cost_exporter::cost::pricing::{Date, Intensity, Match, OverridePrices, PriceModel, Prices};
use gpu_cost_exporter::pricing_file::PricingFile;
use serde_yaml::Value;

/// What a file means: its numbers in billionths and its words, by what they are about.
#[derive(Debug, Default)]
pub(super) struct Meant {
    pub(super) numbers: BTreeMap<String, f64>,
    /// By which part a number may be off, where it is computed in twelve decimals.
    pub(super) tolerances: BTreeMap<String, f64>,
    pub(super) words: BTreeMap<String, String>,
}

const PRICE_MODELS: &[&str] = &[
    "on_demand",
    "spot",
    "reserved_1y",
    "reserved_3y",
    "savings_plan",
    "capacity_block",
    "flex_start",
    "owned",
];
const MATCH: &[&str] = &["provider", "region", "zone", "instance_type"];

// === as we read it ===

impl Meant {
    /// What we made of a file.
    pub(super) fn by_us(file: &PricingFile) -> Self {
        let mut meant = Self::default();
        for (model, prices) in &file.prices.models {
            meant.prices(&format!("{model} since ever"), prices);
        }
        file.prices.default.iter().for_each(|prices| meant.prices("default since ever", prices));
        for change in &file.prices.changes {
            let model = change.model.as_deref().unwrap_or("default");
            meant.prices(&format!("{model} since {}", change.from), &change.prices);
        }
        meant.words_of(file.prices.aliases.iter().map(|(alias, model)| (format!("alias {alias}"), model)));
        for (at, it) in file.overrides.iter().enumerate() {
            let about = format!("override {at}");
            meant.word(&about, "name", &it.name);
            meant.matching(&about, &it.matching);
            let day = |day: Option<Date>| day.map(|day| day.to_string());
            meant.some_word(&about, "valid_from", day(it.valid_from));
            meant.some_word(&about, "valid_until", day(it.valid_until));
            meant.some_word(&about, "price_model", it.price_model.map(PriceModel::as_str));
            match &it.prices {
                Some(OverridePrices::Gpu(prices)) => meant.prices(&format!("{about} gpu"), prices),
                Some(OverridePrices::Node { prices, gpus }) => {
                    meant.prices(&format!("{about} node"), prices);
                    meant.some_number(&about, "gpus", gpus.map(|gpus| u64::from(gpus) * 1_000_000_000));
                }
                None => {}
            }
        }
        for (at, rule) in file.price_model_rules.iter().enumerate() {
            let about = format!("rule {at} {}", rule.label);
            rule.values.iter().for_each(|(value, model)| meant.word(&about, value, model.as_str()));
        }
        for (at, discount) in file.discounts.iter().enumerate() {
            let about = format!("discount {at}");
            meant.matching(&about, &discount.matching);
            meant.number(&about, "percent", discount.part.nanos());
        }
        meant.rest(file);
        meant
    }

    fn rest(&mut self, file: &PricingFile) {
        file.exchange_rates.iter().for_each(|(name, rate)| self.number("exchange", name, *rate));
        for (model, tokens) in &file.model_costs {
            let about = format!("tokens of {model}");
            self.number(&about, "input_tokens", tokens.input_nanos);
            self.number(&about, "output_tokens", tokens.output_nanos);
            self.some_number(&about, "cached_input_tokens", tokens.cached_input_nanos);
        }
        for (at, budget) in file.budgets.iter().enumerate() {
            self.number(&format!("budget {at}"), "monthly_usd", budget.monthly);
            let about = format!("budget {at} match");
            budget.matching.iter().for_each(|(key, value)| self.word(&about, key, value));
        }
        if let Some(energy) = &file.energy {
            self.some_number("energy", "usd_per_kwh", energy.dollars_per_kwh);
            if let Intensity::Told(grams) = energy.intensity {
                self.number("energy", "gco2e_per_kwh", grams);
            }
            self.number("energy", "pue", energy.pue);
            self.number("energy", "host_factor", energy.host_factor);
            self.word("energy", "utc_offset", &energy.utc_offset_minutes.to_string());
            for (at, tariff) in energy.tariffs.iter().enumerate() {
                let about = format!("tariff {at}");
                let clock = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
                self.word(&about, "from", &clock(tariff.from_minute));
                self.word(&about, "to", &clock(tariff.to_minute));
                self.number(&about, "usd_per_kwh", tariff.dollars_per_kwh);
            }
        }
        self.some_number("defaults", "hours_per_month", file.hours_per_month);
        self.some_word("defaults", "price_model", file.usual_price_model.map(PriceModel::as_str));
        let mig_share = file.mig_share.map(|it| match it {
            MigShare::Compute => "compute",
            MigShare::Memory => "memory",
            MigShare::Blend => "blend",
        });
        self.some_word("file", "mig_share", mig_share);
        let sharing_policy = file.sharing_policy.map(|it| match it {
            SharingPolicy::Slots => "slots",
            SharingPolicy::Active => "active",
        });
        self.some_word("file", "sharing_policy", sharing_policy);
    }

    fn prices(&mut self, about: &str, prices: &Prices) {
        for name in PRICE_MODELS {
            let model = PriceModel::from_name(name).unwrap();
            let Some(rate) = prices.under(model) else { continue };
            self.number(about, name, rate.nanos_per_hour());
            self.some_word(about, &format!("{name} source"), prices.source(model));
            self.some_word(about, &format!("{name} as_of"), prices.as_of(model).map(|day| day.to_string()));
        }
    }

    fn matching(&mut self, about: &str, matching: &Match) {
        let Match { provider, region, zone, instance_type, gpu_model, node_labels } = matching;
        for (name, value) in MATCH.iter().zip([provider, region, zone, instance_type]) {
            self.some_word(about, name, value.as_deref());
        }
        self.some_word(about, "gpu_model", gpu_model.as_deref());
        for (key, value) in node_labels {
            self.word(&format!("{about} label"), key, value);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "floats are compared with some tolerance")]
    fn number(&mut self, about: &str, name: &str, billionths: u64) {
        self.numbers.insert(format!("{about} {name}"), billionths as f64);
    }

    fn some_number(&mut self, about: &str, name: &str, billionths: Option<u64>) {
        if let Some(billionths) = billionths {
            self.number(about, name, billionths);
        }
    }

    fn word(&mut self, about: &str, name: &str, word: &str) {
        self.words.insert(format!("{about} {name}"), word.to_owned());
    }

    fn some_word(&mut self, about: &str, name: &str, word: Option<impl AsRef<str>>) {
        if let Some(word) = word {
            self.word(about, name, word.as_ref());
        }
    }

    fn words_of(&mut self, words: impl Iterator<Item = (String, impl AsRef<str>)>) {
        self.words.extend(words.map(|(name, word)| (name, word.as_ref().to_owned())));
    }
}

// === as anybody reads it ===

impl Meant {
    /// What `serde_yaml` alone makes of a text; `None` where it is no YAML.
    pub(super) fn independently(text: &str) -> Option<Self> {
        let root: Value = serde_yaml::from_str(text.strip_prefix('\u{feff}').unwrap_or(text)).ok()?;
        let currency = root.get("currency").and_then(Value::as_str).filter(|name| *name != "USD");
        let factor = currency.map_or(1.0, |name| root["exchange_rates"][name].as_f64().unwrap());
        let mut meant = Self::default();
        for (name, rows) in map(root.get("gpu_pricing")) {
            let is_default = name.eq_ignore_ascii_case("default");
            let model =
                if is_default { "default".to_owned() } else { gpu_model::of_product(name).to_string() };
            for row in rows.as_sequence().unwrap_or(&vec![rows.clone()]) {
                let since = row.get("valid_from").and_then(Value::as_str).unwrap_or("ever");
                meant.written_prices(
                    &format!("{model} since {since}"),
                    row,
                    (row, root.get("as_of")),
                    factor,
                );
                for alias in list(row.get("aliases")) {
                    let alias = gpu_model::of_product(alias.as_str().unwrap());
                    meant.words.insert(format!("alias {alias}"), model.clone());
                }
            }
        }
        meant.written_owned(&root);
        for (at, row) in list(root.get("overrides")).iter().enumerate() {
            let about = format!("override {at}");
            let place = (at + 1).to_string();
            meant.word(&about, "name", row.get("name").map_or(&place, |name| name.as_str().unwrap()));
            meant.written_match(&about, row.get("match"));
            for key in ["valid_from", "valid_until", "price_model"] {
                meant.some_word(&about, key, row.get(key).and_then(Value::as_str));
            }
            let (gpu, node) = (row.get("gpu_pricing"), row.get("node_pricing"));
            for (of, prices) in [("gpu", gpu), ("node", node)] {
                let Some(prices) = prices else { continue };
                meant.written_prices(&format!("{about} {of}"), prices, (row, root.get("as_of")), factor);
            }
            if node.is_some() {
                meant.written_number(&about, "gpus", row.get("gpus_per_node"), 1.0);
            }
        }
        for (at, rule) in list(root.get("price_model_rules")).iter().enumerate() {
            let about = format!("rule {at} {}", rule["label"].as_str().unwrap());
            map(rule.get("values")).for_each(|(key, model)| meant.word(&about, key, model.as_str().unwrap()));
        }
        for (at, discount) in list(root.get("discounts")).iter().enumerate() {
            let about = format!("discount {at}");
            meant.written_match(&about, discount.get("match"));
            meant.written_number(&about, "percent", discount.get("percent"), 1.0);
        }
        meant.written_rest(&root, factor);
        Some(meant)
    }

    fn written_rest(&mut self, root: &Value, factor: f64) {
        map(root.get("exchange_rates"))
            .for_each(|(name, rate)| self.written_number("exchange", name, Some(rate), 1.0));
        for (model, row) in map(root.get("model_costs")) {
            let is_per_million = row.get("unit").and_then(Value::as_str) == Some("per_1m");
            let factor = if is_per_million { factor / 1e3 } else { factor };
            for key in ["input_tokens", "output_tokens", "cached_input_tokens"] {
                self.written_number(&format!("tokens of {model}"), key, row.get(key), factor);
            }
        }
        for (at, budget) in list(root.get("budgets")).iter().enumerate() {
            self.written_number(&format!("budget {at}"), "monthly_usd", budget.get("monthly_usd"), 1.0);
            let about = format!("budget {at} match");
            map(budget.get("match")).for_each(|(key, value)| self.word(&about, key, value.as_str().unwrap()));
        }
        if let Some(energy) = root.get("energy") {
            self.numbers.extend(["pue", "host_factor"].map(|key| (format!("energy {key}"), 1e9)));
            for key in ["usd_per_kwh", "gco2e_per_kwh", "pue", "host_factor"] {
                self.written_number("energy", key, energy.get(key), 1.0);
            }
            let offset = energy.get("utc_offset").map_or(0, |offset| {
                let (sign, clock) = offset.as_str().unwrap().split_at(1);
                let (hours, minutes) = clock.split_once(':').unwrap();
                let minutes = hours.parse::<i32>().unwrap() * 60 + minutes.parse::<i32>().unwrap();
                if sign == "-" { -minutes } else { minutes }
            });
            self.word("energy", "utc_offset", &offset.to_string());
            for (at, tariff) in list(energy.get("tariff")).iter().enumerate() {
                let about = format!("tariff {at}");
                self.word(&about, "from", tariff["from"].as_str().unwrap());
                self.word(&about, "to", tariff["to"].as_str().unwrap());
                self.written_number(&about, "usd_per_kwh", tariff.get("usd_per_kwh"), 1.0);
            }
        }
        let defaults = root.get("defaults").unwrap_or(&Value::Null);
        self.written_number("defaults", "hours_per_month", defaults.get("hours_per_month"), 1.0);
        self.some_word("defaults", "price_model", defaults.get("price_model").and_then(Value::as_str));
        for key in ["mig_share", "sharing_policy"] {
            self.some_word("file", key, root.get(key).and_then(Value::as_str));
        }
    }

    /// The prices in a map. Where and when they were read is said by each itself, by the row, or by the file.
    fn written_prices(
        &mut self,
        about: &str,
        prices: &Value,
        (row, day): (&Value, Option<&Value>),
        factor: f64,
    ) {
        let source = row.get("source");
        let name = source.map(|source| source.get("name").unwrap_or(source));
        let day = row.get("as_of").or(source.and_then(|source| source.get("as_of"))).or(day);
        for model in PRICE_MODELS {
            let Some(price) = prices.get(model) else { continue };
            self.written_number(about, model, Some(price.get("price").unwrap_or(price)), factor);
            for (key, usual) in [("source", name), ("as_of", day)] {
                let told = price.get(key).or(usual).and_then(Value::as_str);
                self.some_word(about, &format!("{model} {key}"), told);
            }
        }
    }

    /// What a server of one's own costs goes to all rows of its GPU that do not say what it costs.
    fn written_owned(&mut self, root: &Value) {
        for (_, server) in map(root.get("owned_hardware")) {
            let model = gpu_model::of_product(server["gpu_model"].as_str().unwrap()).to_string();
            let model = self.words.get(&format!("alias {model}")).cloned().unwrap_or(model);
            let ever = format!("{model} since ever");
            let rows =
                map(root.get("gpu_pricing")).filter(|(name, _)| *gpu_model::of_product(name) == *model);
            let rows: Vec<(String, Option<&Value>)> = rows
                .flat_map(|(_, rows)| rows.as_sequence().map_or(std::slice::from_ref(rows), Vec::as_slice))
                .map(|row| match row.get("valid_from").and_then(Value::as_str) {
                    Some(day) => (format!("{model} since {day}"), Some(row)),
                    None => (ever.clone(), Some(row)),
                })
                .collect();
            let listed = rows.iter().any(|(about, _)| *about == ever);
            for (about, row) in rows.into_iter().chain((!listed).then_some((ever, None))) {
                let key = format!("{about} owned");
                if self.numbers.contains_key(&key) {
                    continue;
                }
                let (rate, tolerance) = rate_of_owned(server);
                self.numbers.insert(key.clone(), rate * 1e9);
                self.tolerances.insert(key, tolerance);
                let source = row.and_then(|row| row.get("source"));
                let name = source.map(|source| source.get("name").unwrap_or(source));
                let day =
                    row.and_then(|row| row.get("as_of")).or(source.and_then(|source| source.get("as_of")));
                let day = day.or(row.and(root.get("as_of")));
                for (key, told) in [("source", name), ("as_of", day)] {
                    self.some_word(&about, &format!("owned {key}"), told.and_then(Value::as_str));
                }
            }
        }
    }

    fn written_match(&mut self, about: &str, matching: Option<&Value>) {
        let Some(matching) = matching else { return };
        for name in MATCH {
            self.some_word(about, name, matching.get(name).and_then(Value::as_str));
        }
        let model = matching.get("gpu_model").and_then(Value::as_str).map(gpu_model::of_product);
        let meant = model
            .map(|model| self.words.get(&format!("alias {model}")).cloned().unwrap_or(model.to_string()));
        self.some_word(about, "gpu_model", meant);
        let about = format!("{about} label");
        map(matching.get("node_labels"))
            .for_each(|(key, value)| self.word(&about, key, value.as_str().unwrap()));
    }

    fn written_number(&mut self, about: &str, name: &str, number: Option<&Value>, factor: f64) {
        if let Some(number) = number {
            self.numbers.insert(format!("{about} {name}"), number.as_f64().unwrap() * factor * 1e9);
        }
    }
}

/// Dollars per hour of one GPU of a server that was bought, by the formula of its documentation, and how far off they may be.
fn rate_of_owned(server: &Value) -> (f64, f64) {
    let number = |key: &str, usual: f64| server.get(key).map_or(usual, |value| value.as_f64().unwrap());
    let (price, life) = (number("server_usd", 0.0) + number("network_usd", 0.0), number("life_years", 0.0));
    let (residual, per_year) = (number("residual", 0.0), number("cost_of_capital", 0.0));
    let (interest, months) = (per_year / 12.0, (life * 12.0).floor());
    let growth = (1.0 + interest).powf(months);
    let capital = if per_year == 0.0 {
        price * (1.0 - residual) / (8_760.0 * life)
    } else {
        (price - price * residual / growth) * interest / (1.0 - 1.0 / growth) * 12.0 / 8_760.0
    };
    let upkeep = number("server_usd", 0.0) * number("opex_pct", 0.0) / 8_760.0;
    let contracted =
        server.get("colo_usd_per_kw_month").map(|price| price.as_f64().unwrap() * 12.0 / 8_760.0);
    let metered = number("load_factor", 1.0) * number("pue", 1.0) * number("usd_per_kwh", 0.0);
    let power = number("kw", 0.0) * contracted.unwrap_or(metered);
    let rate = (capital + upkeep + power) / number("gpus", 0.0) / number("availability", 1.0);
    // Interest per month has twelve decimals, and so has what it grows to.
    (rate, 1e-9 + if per_year == 0.0 { 0.0 } else { 4e-11 / per_year })
}

/// The entries of a map; none if there is none.
fn map(value: Option<&Value>) -> impl Iterator<Item = (&str, &Value)> {
    let entries = value.and_then(Value::as_mapping).into_iter().flatten();
    entries.map(|(key, value)| (key.as_str().unwrap(), value))
}

/// The items of a list; none if there is none.
fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_sequence).map_or(&[], Vec::as_slice)
}
