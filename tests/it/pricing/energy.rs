//! What a file says of energy: its tariff, its mistakes, and what is known of the grid without it.

use std::collections::BTreeMap;

use expect_test::expect;
use gpu_cost_exporter::cost::pricing::{EnergyRates, NodeFacts};
use gpu_cost_exporter::demo;
use gpu_cost_exporter::observation::UnixTime;
use gpu_cost_exporter::pricing_file;

use super::{check_command, parse, said_about};

const INTENSITIES: &str = include_str!("../../../data/grid_intensity.csv");

/// What holds on a node in a region at so many minutes after a midnight in UTC.
fn rates(text: &str, provider: &str, region: &str, minute: u64) -> EnergyRates {
    let file = parse(&format!("energy: {text}")).unwrap_or_else(|problems| panic!("{problems:?}"));
    let sheet = pricing_file::sheet(Some(file), None);
    let node =
        NodeFacts { provider: Some(provider.into()), region: Some(region.into()), ..NodeFacts::default() };
    sheet.energy.unwrap().at(UnixTime::from_millis(1_767_225_600_000 + minute * 60_000), &node)
}

/// The grams per kWh and who says so.
fn intensity(text: &str, provider: &str, region: &str) -> Option<(u64, String)> {
    let found = rates(text, provider, region, 0).intensity?;
    Some((found.grams_per_kwh, found.origin.to_string()))
}

#[test]
fn each_region_of_the_table_emits_what_it_says() {
    let mut regions = BTreeMap::new();
    for line in INTENSITIES.lines().skip(1) {
        let values: Vec<&str> = line.split(',').collect();
        assert_eq!(values.len(), 8, "{line}");
        let region = values[1].replace(' ', "").to_lowercase();
        let origin = format!("built_in:{}/{region}@{}", values[0], values[4]);
        let (whole, fraction) = values[3].split_once('.').unwrap_or((values[3], ""));
        let grams: u64 = format!("{whole}{fraction:0<9}").parse().unwrap();
        let known = intensity("{ usd_per_kwh: 0.1 }", values[0], &region);
        assert_eq!(known, Some((grams, origin)), "{line}");
        regions.insert((values[0].to_owned(), region), grams);
    }
    let grid = pricing_file::grid();
    assert_eq!((grid.regions().count(), regions.len()), (93, 93));
    // Tens of times the mean of the cleanest grid, and no more than the dirtiest there is.
    assert!(regions.values().all(|grams| (2..=1_000).contains(&(grams / 1_000_000_000))));
    // Azure's regions are called as its nodes' labels call them.
    assert_eq!(regions[&("azure".to_owned(), "eastus2".to_owned())], 415_800_000_000);
}

#[test]
fn the_operators_intensity_counts_and_nothing_is_made_up() {
    let told = intensity("{ gco2e_per_kwh: 41.5 }", "aws", "us-east-1");
    assert_eq!(told, Some((41_500_000_000, "file".to_owned())));
    assert_eq!(intensity("{ pue: 1 }", "aws", "us-east-1").map(|it| it.0), Some(415_800_000_000));
    assert_eq!(intensity("{ pue: 1 }", "aws", "here"), None);
    assert_eq!(rates("{ gco2e_per_kwh: 5 }", "aws", "us-east-1", 0).dollars_per_kwh, None);
    let nothing = pricing_file::sheet(parse("gpu_pricing: { default: { on_demand: 1 } }").ok(), None);
    assert_eq!(nothing.energy, None);
    assert_eq!(pricing_file::built_in().energy, None, "the shipped list has no tariff");
}

#[test]
fn a_tariff_is_by_its_own_clock() {
    let text = r#"{ usd_per_kwh: 0.3, utc_offset: "+05:30", tariff: [{ from: "22:00", to: "06:00", usd_per_kwh: 0.1 }, { from: "18:00", to: "20:30", usd_per_kwh: 0.5 }] }"#;
    let price = |hours: u64, minutes: u64| {
        rates(text, "", "", hours * 60 + minutes).dollars_per_kwh.map(|nanos| nanos / 100_000_000)
    };
    // 18:00 there is 12:30 in UTC.
    let found = [(12, 29), (12, 30), (14, 59), (15, 0), (16, 29), (16, 30), (0, 29), (0, 30)]
        .map(|(hours, minutes)| price(hours, minutes));
    assert_eq!(found, [3, 5, 5, 3, 3, 1, 1, 3].map(Some));
    let all_day = r#"{ pue: 1.5, tariff: [{ from: "06:00", to: "22:00", usd_per_kwh: 0.2 }, { from: "22:00", to: "06:00", usd_per_kwh: 0.1 }] }"#;
    assert_eq!(rates(all_day, "", "", 300).dollars_per_kwh, Some(100_000_000));
    assert_eq!(
        (rates(all_day, "", "", 0).pue, rates(all_day, "", "", 0).host_factor),
        (1_500_000_000, 1_000_000_000)
    );
}

#[test]
fn mistakes_about_energy_are_told_with_their_place() {
    let said = [
        // Nothing, and nothing that says what it would be for.
        "{}",
        "{ host_factor: 2 }",
        // Without a PUE.
        "{ usd_per_kwh: 0.1 }",
        "{ usd_per_kwh: 0.1, pue: 1 }",
        "{ usd_per_kwh: 12, pue: 0.99 }",
        "{ usd_per_kwh: 1001, pue: 11, host_factor: 0 }",
        "{ usd_per_kwh: -0.1, gco2e_per_kwh: 0.4 kg }",
        "{ usd_per_kwh: 12, gco2e_per_kwh: 0.396, pue: 1 }",
        // Holes.
        r#"{ pue: 1, tariff: [{ from: "00:00", to: "12:00", usd_per_kwh: 1 }, { from: "12:30", to: "00:00", usd_per_kwh: 1 }] }"#,
        r#"{ pue: 1, usd_per_kwh: 0.2, tariff: [{ from: "00:00", to: "12:00", usd_per_kwh: 1 }] }"#,
        // Overlaps.
        r#"{ pue: 1, usd_per_kwh: 1, tariff: [{ from: "22:00", to: "06:00", usd_per_kwh: 1 }, { from: "05:59", to: "07:00", usd_per_kwh: 1 }] }"#,
        r#"{ pue: 1, usd_per_kwh: 1, tariff: [{ from: "22:00", to: "22:00", usd_per_kwh: 1 }] }"#,
        r#"{ pue: 1, usd_per_kwh: 1, tariff: [{ from: "22:00", usd_per_kwh: 1 }, { from: "24:00", to: "7:00", usd_per_kwh: 1 }] }"#,
        // Offsets.
        r#"{ pue: 1, usd_per_kwh: 1, utc_offset: "+14:00" }"#,
        r#"{ pue: 1, usd_per_kwh: 1, utc_offset: "+14:01" }"#,
        r#"{ pue: 1, usd_per_kwh: 1, utc_offset: "-12:30" }"#,
        r#"{ pue: 1, usd_per_kwh: 1, utc_offset: "+05:60" }"#,
        r#"{ pue: 1, usd_per_kwh: 1, utc_offset: "05:30" }"#,
        "{ pue: 1, usd_per_kwh: 1, utc_offset: +2 }",
        "{ pue: 1, usd_per_kwh: 1, utc_offset: Europe/Berlin }",
    ];
    let said = said.map(|text| {
        format!("{text}\n    {}", said_about(&format!("energy:\n  {text}")).trim().replace('\n', "\n    "))
    });
    expect![[r#"
        {}
            line 2, energy: expected a map such as { usd_per_kwh: 0.08, gco2e_per_kwh: 396, pue: 1.2 }, found an empty map
        { host_factor: 2 }
            line 2, energy: expected at least one of usd_per_kwh, gco2e_per_kwh, tariff, pue, found none
        { usd_per_kwh: 0.1 }
            ok
            warning: line 2, energy: without pue, 1 is taken: what cooling draws is not counted; write `pue: 1` if that is meant
        { usd_per_kwh: 0.1, pue: 1 }
            ok
        { usd_per_kwh: 12, pue: 0.99 }
            line 2, energy.pue: expected a PUE, such as 1.2, found the number `0.99`, which is less than 1
        { usd_per_kwh: 1001, pue: 11, host_factor: 0 }
            line 2, energy.usd_per_kwh: expected US dollars per kWh, such as 0.08, found the number `1001`, which is more than 1000
            line 2, energy.pue: expected a PUE, such as 1.2, found the number `11`, which is more than 10
            line 2, energy.host_factor: expected a factor, such as 1.8, found the number `0`, which is less than 1
        { usd_per_kwh: -0.1, gco2e_per_kwh: 0.4 kg }
            line 2, energy.usd_per_kwh: expected US dollars per kWh, such as 0.08, found the number `-0.1`, which is below zero
            line 2, energy.gco2e_per_kwh: expected grams of CO2e per kWh, such as 396, found the text `0.4 kg`
        { usd_per_kwh: 12, gco2e_per_kwh: 0.396, pue: 1 }
            ok
            warning: line 2, energy.usd_per_kwh: no grid is that dear: is it in cents?
            warning: line 2, energy.gco2e_per_kwh: no grid is that clean: is it in kilograms?
        { pue: 1, tariff: [{ from: "00:00", to: "12:00", usd_per_kwh: 1 }, { from: "12:30", to: "00:00", usd_per_kwh: 1 }] }
            line 2, energy.tariff: expected usd_per_kwh or a tariff for all of the day, found none at 12:00
        { pue: 1, usd_per_kwh: 0.2, tariff: [{ from: "00:00", to: "12:00", usd_per_kwh: 1 }] }
            ok
        { pue: 1, usd_per_kwh: 1, tariff: [{ from: "22:00", to: "06:00", usd_per_kwh: 1 }, { from: "05:59", to: "07:00", usd_per_kwh: 1 }] }
            line 2, energy.tariff[2]: expected times that do not overlap, found 05:59 in line 2, too
        { pue: 1, usd_per_kwh: 1, tariff: [{ from: "22:00", to: "22:00", usd_per_kwh: 1 }] }
            line 2, energy.tariff[1]: expected another time in `to` than in `from`; the price of the whole day is energy.usd_per_kwh
        { pue: 1, usd_per_kwh: 1, tariff: [{ from: "22:00", usd_per_kwh: 1 }, { from: "24:00", to: "7:00", usd_per_kwh: 1 }] }
            line 2, energy.tariff[1]: expected from and to and usd_per_kwh, found no to
            line 2, energy.tariff[2].from: expected a time of the day in quotes, such as "22:00", found the text `24:00`
            line 2, energy.tariff[2].to: expected a time of the day in quotes, such as "22:00", found the text `7:00`
        { pue: 1, usd_per_kwh: 1, utc_offset: "+14:00" }
            ok
        { pue: 1, usd_per_kwh: 1, utc_offset: "+14:01" }
            line 2, energy.utc_offset: expected hours and minutes from "-12:00" to "+14:00" in quotes, such as "+05:30", found the text `+14:01`
        { pue: 1, usd_per_kwh: 1, utc_offset: "-12:30" }
            line 2, energy.utc_offset: expected hours and minutes from "-12:00" to "+14:00" in quotes, such as "+05:30", found the text `-12:30`
        { pue: 1, usd_per_kwh: 1, utc_offset: "+05:60" }
            line 2, energy.utc_offset: expected hours and minutes from "-12:00" to "+14:00" in quotes, such as "+05:30", found the text `+05:60`
        { pue: 1, usd_per_kwh: 1, utc_offset: "05:30" }
            line 2, energy.utc_offset: expected hours and minutes from "-12:00" to "+14:00" in quotes, such as "+05:30", found the text `05:30`
        { pue: 1, usd_per_kwh: 1, utc_offset: +2 }
            line 2, energy.utc_offset: expected hours and minutes from "-12:00" to "+14:00" in quotes, such as "+05:30", found the number `+2`; put it in quotes
        { pue: 1, usd_per_kwh: 1, utc_offset: Europe/Berlin }
            line 2, energy.utc_offset: expected hours and minutes from "-12:00" to "+14:00" in quotes, such as "+05:30", found the text `Europe/Berlin`"#]].assert_eq(&said.join("\n"));
}

#[test]
fn check_says_what_budgets_are_for() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "budgets: [{ match: { namespace: ml }, monthly_usd: 20000 }]").unwrap();
    let mut out = Vec::new();
    let day = gpu_cost_exporter::cost::pricing::Date::default();
    assert!(pricing_file::check(file.path(), day, &mut out).unwrap());
    let said = String::from_utf8(out).unwrap().replace(&file.path().display().to_string(), "FILE");
    expect![[r#"
        FILE: ok, 0 GPU models, 0 model costs
        FILE: 1 budget for your alert rules: a node does not know what the others spend, so none is exported
    "#]]
    .assert_eq(&said);
}

#[test]
fn the_demos_file_is_right() {
    let file = parse(demo::PRICING).unwrap();
    assert_eq!(file.warnings, []);
    assert!(file.prices.models.is_empty() && file.overrides.is_empty(), "it prices nothing but energy");
    assert!(file.energy.is_some());
    check_command(
        "src/demo/pricing.yaml",
        true,
        &expect![[r#"
        src/demo/pricing.yaml: ok, 0 GPU models, 0 model costs
    "#]],
    );
}
