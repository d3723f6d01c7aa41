//! Price files: what is read from the ones that are right, and what is said about the ones that are wrong.

#![expect(clippy::needless_raw_string_hashes, reason = "snapshots are written by expect-test")]

mod any_text;
mod catalogue;
mod energy;
mod meant;
mod resolution;
mod told;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use expect_test::{Expect, expect, expect_file};
use gpu_cost_exporter::cost::gpu_model;
use gpu_cost_exporter::cost::money::Rate;
use gpu_cost_exporter::cost::pricing::{Date, NodeFacts, PriceModel, PriceRule, PriceTable, Prices};
use gpu_cost_exporter::pricing_file::{self, PricingFile, Problem};

const VERSION_1: &str = include_str!("../pricing/version-1.yaml");
const SHIPPED: &str = include_str!("../../pricing.yaml");

fn parse(text: &str) -> Result<PricingFile, Vec<Problem>> {
    pricing_file::parse(text, None)
}

/// What is said about a text: the problems, or `ok` and the warnings.
fn said_about(text: &str) -> String {
    let list = |problems: Vec<Problem>, before: &str| {
        problems.iter().fold(String::new(), |mut lines, problem| {
            writeln!(lines, "{before}{problem}").unwrap();
            lines
        })
    };
    match parse(text) {
        Ok(file) => format!("ok\n{}", list(file.warnings, "warning: ")),
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a word");
            list(problems, "")
        }
    }
}

#[track_caller]
fn check(text: &str, expected: &Expect) {
    expected.assert_eq(&said_about(text));
}

/// Checks many values of one price at once.
#[track_caller]
fn check_prices(values: &[&str], expected: &Expect) {
    let said = values.iter().map(|value| {
        let said = said_about(&format!("gpu_pricing: {{ nvidia-b200: {{ on_demand: {value} }} }}"));
        format!("{value:<24}{}", said.replace("line 1, gpu_pricing.nvidia-b200.on_demand: ", ""))
    });
    expected.assert_eq(&said.collect::<String>());
}

/// Checks what `gpu-cost-exporter check` prints and whether it is content.
#[track_caller]
fn check_command(path: &str, is_usable: bool, expected: &Expect) {
    let mut out = Vec::new();
    assert_eq!(
        pricing_file::check(Path::new(path), Date::from_calendar(2026, 8, 1).unwrap(), &mut out).unwrap(),
        is_usable
    );
    expected.assert_eq(&String::from_utf8(out).unwrap());
}

#[expect(clippy::unnecessary_wraps, reason = "a row holds optional rates")]
fn rate(nanos: u64) -> Option<Rate> {
    Some(Rate::from_nanos_per_hour(nanos))
}

// === What is right ===

#[test]
fn version_1_loads_as_it_stands() {
    let file = parse(VERSION_1).unwrap();
    let row = |on_demand, spot, reserved_1y| Prices {
        on_demand: rate(on_demand),
        spot: rate(spot),
        reserved_1y: rate(reserved_1y),
        ..Prices::default()
    };
    let rows = [
        ("nvidia-a10", row(1_500_000_000, 500_000_000, 900_000_000)),
        ("nvidia-a100-80gb", row(3_500_000_000, 1_200_000_000, 2_100_000_000)),
        ("nvidia-t4", row(500_000_000, 150_000_000, 300_000_000)),
    ];
    let models = rows.into_iter().map(|(model, prices)| (Arc::from(model), prices)).collect();
    assert_eq!(file.prices, PriceTable { models, ..PriceTable::default() });
    let costs: Vec<_> = file
        .model_costs
        .iter()
        .map(|(model, cost)| (&**model, cost.input_nanos, cost.output_nanos))
        .collect();
    let expected = [
        ("gpt-4", 30_000_000, 60_000_000),
        ("llama-2-70b", 800_000, 1_600_000),
        ("llama-2-7b", 100_000, 200_000),
    ];
    assert_eq!(costs, expected);
    assert_eq!(file.warnings, []);
}

#[test]
fn the_shipped_list_has_a_source_and_a_day_for_every_price() {
    let list = parse(SHIPPED).unwrap();
    assert_eq!(list, pricing_file::built_in());
    assert_eq!(list.warnings, []);
    assert_eq!(list.prices.default, None);
    assert_eq!(list.prices.models.len(), 20);
    for (model, row) in &list.prices.models {
        assert!(gpu_model::known().any(|known| known == &**model), "{model}");
        assert!(row.on_demand.is_some(), "{model} has no price on demand");
        for price in PriceModel::ALL.into_iter().filter_map(|price_model| row.under(price_model)) {
            assert!(price > Rate::default() && price <= row.on_demand.unwrap(), "{model}: {price:?}");
        }
        assert!(row.source.as_ref().is_some_and(|source| source.contains(" / ")), "{model} has no source");
        assert!(row.as_of >= Date::from_calendar(2025, 11, 30), "{model} has no date");
    }
    let models: Vec<&str> = list.model_costs.keys().map(|model| &**model).collect();
    assert_eq!(models, ["gpt-4", "llama-2-70b", "llama-2-7b"]);
}

/// Editors read the schema that the first line of the shipped file names.
#[test]
fn the_schema_is_that_of_the_program() {
    let schema = pricing_file::json_schema();
    expect_file!["../../pricing.schema.json"].assert_eq(&schema);
    let id = schema.lines().find_map(|line| line.trim().strip_prefix("\"$id\": \"")).unwrap();
    let id = id.trim_end_matches("\",");
    assert_eq!(SHIPPED.lines().next(), Some(format!("# yaml-language-server: $schema={id}").as_str()));
}

/// Names that NVML gives to boards, the model they are to have, and whether the shipped list has a price for it.
const BOARDS: &[(&str, &str, bool)] = &[
    ("Tesla T4", "nvidia-t4", true),
    ("NVIDIA T4G", "nvidia-t4g", true),
    ("Tesla V100-SXM2-16GB", "nvidia-v100-16gb", true),
    ("Tesla V100-SXM2-32GB", "nvidia-v100-32gb", true),
    ("Tesla V100-PCIE-16GB", "nvidia-v100-16gb", true),
    ("Tesla V100-PCIE-32GB", "nvidia-v100-32gb", true),
    ("Tesla V100S-PCIE-32GB", "nvidia-v100s-32gb", false),
    ("Tesla V100-SXM3-32GB", "nvidia-v100-32gb", true),
    ("Tesla V100-FHHL-16GB", "nvidia-v100-16gb", true),
    ("Tesla P100-PCIE-16GB", "nvidia-p100-16gb", false),
    ("Tesla P100-SXM2-16GB", "nvidia-p100-16gb", false),
    ("Tesla P100-PCIE-12GB", "nvidia-p100-12gb", false),
    ("Tesla P40", "nvidia-p40", false),
    ("Tesla P4", "nvidia-p4", false),
    ("Tesla M60", "nvidia-m60", true),
    ("Tesla K80", "nvidia-k80", true),
    ("NVIDIA A100-SXM4-40GB", "nvidia-a100-40gb", true),
    ("A100-SXM4-40GB", "nvidia-a100-40gb", true),
    ("NVIDIA A100-SXM4-80GB", "nvidia-a100-80gb", true),
    ("NVIDIA A100-SXM-64GB", "nvidia-a100-64gb", false),
    ("NVIDIA A100 80GB PCIe", "nvidia-a100-80gb", true),
    ("NVIDIA A100-PCIE-40GB", "nvidia-a100-40gb", true),
    ("NVIDIA A30", "nvidia-a30", false),
    ("NVIDIA A800-SXM4-80GB", "nvidia-a800-80gb", false),
    ("NVIDIA A800-SXM4-40GB", "nvidia-a800-40gb", false),
    ("NVIDIA A800 80GB PCIe", "nvidia-a800-80gb", false),
    ("NVIDIA A800 40GB Active", "nvidia-a800-40gb-active", false),
    ("NVIDIA A10", "nvidia-a10", true),
    ("NVIDIA A10G", "nvidia-a10g", true),
    ("NVIDIA A10M", "nvidia-a10m", false),
    ("NVIDIA A40", "nvidia-a40", false),
    ("NVIDIA A16", "nvidia-a16", false),
    ("NVIDIA A2", "nvidia-a2", false),
    ("NVIDIA RTX A6000", "nvidia-rtx-a6000", false),
    ("NVIDIA RTX A5000", "nvidia-rtx-a5000", false),
    ("Quadro RTX 6000", "nvidia-quadro-rtx-6000", false),
    ("NVIDIA H100 80GB HBM3", "nvidia-h100-80gb", true),
    ("NVIDIA H100 PCIe", "nvidia-h100-80gb", true),
    ("NVIDIA H100 NVL", "nvidia-h100-nvl", true),
    ("NVIDIA H100", "nvidia-h100-80gb", true),
    ("NVIDIA H800", "nvidia-h800-80gb", false),
    ("NVIDIA H800 PCIe", "nvidia-h800-80gb", false),
    ("NVIDIA H800 NVL", "nvidia-h800-nvl", false),
    ("NVIDIA H20", "nvidia-h20", false),
    ("NVIDIA H20-3e", "nvidia-h20-3e", false),
    ("NVIDIA H20 NVL16", "nvidia-h20-nvl16", false),
    ("NVIDIA H200", "nvidia-h200", true),
    ("NVIDIA H200 NVL", "nvidia-h200-nvl", false),
    ("NVIDIA GH200 120GB", "nvidia-gh200", false),
    ("NVIDIA GH200 480GB", "nvidia-gh200", false),
    ("NVIDIA GH200 144G HBM3e", "nvidia-gh200-144gb", false),
    ("NVIDIA B200", "nvidia-b200", true),
    ("NVIDIA GB200", "nvidia-gb200", true),
    ("NVIDIA B300 SXM6 AC", "nvidia-b300", true),
    ("NVIDIA GB300", "nvidia-gb300", false),
    ("NVIDIA L4", "nvidia-l4", true),
    ("NVIDIA L40", "nvidia-l40", false),
    ("NVIDIA L40S", "nvidia-l40s", true),
    ("NVIDIA L20", "nvidia-l20", false),
    ("NVIDIA L2", "nvidia-l2", false),
    ("NVIDIA RTX 6000 Ada Generation", "nvidia-rtx-6000-ada", false),
    ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "nvidia-rtx-pro-6000", true),
    ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "nvidia-rtx-pro-6000-workstation", false),
    ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "nvidia-rtx-pro-6000-max-q", false),
    ("NVIDIA RTX 6000D", "nvidia-rtx-6000d", false),
    ("NVIDIA RTX PRO 4500 Blackwell", "nvidia-rtx-pro-4500", true),
    ("NVIDIA RTX PRO 4500 Blackwell Server Edition", "nvidia-rtx-pro-4500", true),
    ("NVIDIA GB10", "nvidia-gb10", false),
    // No whole boards, or none that anybody knows.
    ("GRID A100DX-4C", "nvidia-grid-a100dx-4c", false),
    ("GRID A100X-1-5C", "nvidia-grid-a100x-1-5c", false),
    ("NVIDIA A10-8Q", "nvidia-a10-8q", false),
    ("NVIDIA Graphics Device", "nvidia-graphics-device", false),
];

#[test]
fn every_board_has_its_model_and_the_price_of_no_other() {
    let sheet = pricing_file::sheet(None, None);
    for (product, model, has_price) in BOARDS {
        assert_eq!(&*gpu_model::of_product(product), *model, "{product}");
        let quote = sheet.on(&NodeFacts::default(), None).quote(model, 0);
        assert_eq!(quote.map(|quote| quote.rule), has_price.then_some(PriceRule::BuiltIn), "{product}");
    }
    for model in sheet.built_in.models.keys() {
        assert!(BOARDS.iter().any(|(_, board, _)| *board == &**model), "no board has the price of {model}");
    }
}

#[test]
fn a_sheet_is_the_operators_file_over_the_built_in_list() {
    let file = parse(
        "gpu_pricing: { nvidia-t4: { on_demand: 0.5 }, default: { on_demand: 1 } }\n\
         model_costs: { gpt-4: { input_tokens: 1, output_tokens: 2 }, mine: { input_tokens: 0, output_tokens: 0 } }",
    );
    let sheet = pricing_file::sheet(Some(file.unwrap()), None);
    let quote = |model| {
        sheet.on(&NodeFacts::default(), None).quote(model, 0).map(|quote| (Some(quote.effective), quote.rule))
    };
    assert_eq!(quote("nvidia-t4"), Some((rate(500_000_000), PriceRule::File)));
    assert_eq!(quote("nvidia-a10g"), Some((rate(1_006_000_000), PriceRule::BuiltIn)));
    assert_eq!(quote("nvidia-p40"), Some((rate(1_000_000_000), PriceRule::FileDefault)));
    assert_eq!(sheet.model_costs["gpt-4"].input_nanos, 1_000_000_000);
    assert_eq!(sheet.model_costs.len(), 4);
    assert_eq!(pricing_file::sheet(None, None).on(&NodeFacts::default(), None).quote("nvidia-p40", 0), None);
}

#[test]
fn one_file_can_be_written_in_many_ways() {
    let plain = parse("gpu_pricing:\n  nvidia-a100-80gb:\n    on_demand: 3.5\n").unwrap();
    for text in [
        "gpu_pricing: {nvidia-a100-80gb: {on_demand: 3.5}}",
        "{\"gpu_pricing\": {\"nvidia-a100-80gb\": {\"on_demand\": 3.5}}}",
        "\u{feff}gpu_pricing:\n  nvidia-a100-80gb:\n    on_demand: 3.5\n",
        "gpu_pricing:\r\n  nvidia-a100-80gb:\r\n    on_demand: 3.5\r\n",
        "---\ngpu_pricing:\n  'NVIDIA A100-SXM4-80GB': { on_demand: 3.50 }\n...\n",
        "schema_version: 1\ngpu_pricing:\n  Nvidia_A100_80GB: { on_demand: 35e-1 }\n",
        "# a comment\ngpu_pricing: # another\n  nvidia-a100-80gb:\t# tabs before a comment\n    on_demand:   +3.5",
        "? gpu_pricing\n: ? nvidia-a100-80gb\n  : on_demand: 3.5\n",
    ] {
        assert_eq!(parse(text).as_ref(), Ok(&plain), "{text}");
    }
}

// === What is wrong ===

#[test]
fn a_price_is_a_plain_decimal_number() {
    check_prices(
        &[
            "3.5",
            "1.5e-07",
            "-3.5",
            "-0",
            "0.0000000001",
            "1000000.01",
            "1e400",
            "99999999999999999999999",
            ".inf",
            "-.inf",
            ".nan",
            "nan",
            "true",
            "yes",
            "null",
            "~",
            "",
            "''",
            "'3.5'",
            "free",
            "$3.5",
            "3.5 USD",
            "'3,5'",
            "1_000",
            "010",
            "0x10",
            "3.5.1",
            "[3.5]",
            "{}",
            "{usd: 3.5}",
            "&price 3.5",
            "!!float 3.5",
            "!money 3.5",
            "\"a\\u0007\\nb\"",
        ],
        &expect![[r#"
            3.5                     ok
            1.5e-07                 ok
            warning: at most 1/94944000 of the lowest list price: is it per minute, or in thousands?
            -3.5                    expected dollars per hour for one GPU, such as 3.5, found the number `-3.5`, which is below zero
            -0                      expected dollars per hour for one GPU, such as 3.5, found the number `-0`, which is below zero
            0.0000000001            expected dollars per hour for one GPU, such as 3.5, found the number `0.0000000001`, which has more than 9 decimals
            1000000.01              expected dollars per hour for one GPU, such as 3.5, found the number `1000000.01`, which is more than 1000000
            1e400                   expected dollars per hour for one GPU, such as 3.5, found the number `1e400`, which is more than 1000000
            99999999999999999999999 expected dollars per hour for one GPU, such as 3.5, found the number `99999999999999999999999`, which is more than 1000000
            .inf                    expected dollars per hour for one GPU, such as 3.5, found the number `.inf`
            -.inf                   expected dollars per hour for one GPU, such as 3.5, found the number `-.inf`
            .nan                    expected dollars per hour for one GPU, such as 3.5, found the number `.nan`
            nan                     expected dollars per hour for one GPU, such as 3.5, found the text `nan`
            true                    expected dollars per hour for one GPU, such as 3.5, found the boolean `true`
            yes                     expected dollars per hour for one GPU, such as 3.5, found the text `yes`
            null                    expected dollars per hour for one GPU, such as 3.5, found nothing
            ~                       expected dollars per hour for one GPU, such as 3.5, found nothing
                                    expected dollars per hour for one GPU, such as 3.5, found nothing
            ''                      expected dollars per hour for one GPU, such as 3.5, found empty text
            '3.5'                   expected dollars per hour for one GPU, such as 3.5, found the text `3.5` in quotes; did you mean 3.5, without quotes?
            free                    expected dollars per hour for one GPU, such as 3.5, found the text `free`
            $3.5                    expected dollars per hour for one GPU, such as 3.5, found the text `$3.5`; did you mean `3.5`?
            3.5 USD                 expected dollars per hour for one GPU, such as 3.5, found the text `3.5 USD`; did you mean `3.5`?
            '3,5'                   expected dollars per hour for one GPU, such as 3.5, found the text `3,5`; did you mean `3.5`?
            1_000                   expected dollars per hour for one GPU, such as 3.5, found the text `1_000`; did you mean `1000`?
            010                     expected dollars per hour for one GPU, such as 3.5, found the text `010`; did you mean `10`?
            0x10                    expected dollars per hour for one GPU, such as 3.5, found the number `0x10`
            3.5.1                   expected dollars per hour for one GPU, such as 3.5, found the text `3.5.1`
            [3.5]                   expected dollars per hour for one GPU, such as 3.5, found a list
            {}                      expected a price, or a map such as { price: 3.5, as_of: 2026-07-20 }, found an empty map
            {usd: 3.5}              line 1, gpu_pricing.nvidia-b200.on_demand.usd: expected one of price, source, as_of, found an unknown key
            &price 3.5              expected a plain value, found an anchor (`&`), which is not supported; write it out
            !!float 3.5             expected a plain value, found a tag (`!`), which is not supported; write it out
            !money 3.5              expected a plain value, found a tag (`!`), which is not supported; write it out
            "a\u0007\nb"            expected dollars per hour for one GPU, such as 3.5, found the text `a\u{7}\nb`
        "#]],
    );
}

#[test]
fn a_file_has_its_form() {
    check(
        "",
        &expect![[r#"
        expected a map with gpu_pricing or model_costs, found an empty file
    "#]],
    );
    check(
        " \n\n",
        &expect![[r#"
        expected a map with gpu_pricing or model_costs, found an empty file
    "#]],
    );
    check(
        "# only\n# comments\n",
        &expect![[r#"
        expected a map with gpu_pricing or model_costs, found an empty file
    "#]],
    );
    check(
        "---\n",
        &expect![[r#"
        line 2: expected a map with gpu_pricing or model_costs, found nothing
    "#]],
    );
    check(
        "null",
        &expect![[r#"
        line 1: expected a map with gpu_pricing or model_costs, found nothing
    "#]],
    );
    check(
        "{}",
        &expect![[r#"
        line 1: expected a map with gpu_pricing or model_costs, found an empty map
    "#]],
    );
    check(
        "[]",
        &expect![[r#"
            line 1: expected a map with gpu_pricing or model_costs, found an empty list
        "#]],
    );
    check(
        "prices",
        &expect![[r#"
        line 1: expected a map with gpu_pricing or model_costs, found the text `prices`
    "#]],
    );
    check(
        "- gpu_pricing",
        &expect![[r#"
        line 1: expected a map with gpu_pricing or model_costs, found a list
    "#]],
    );
    check(
        "schema_version: 1",
        &expect![[r#"
        line 1: expected a map with gpu_pricing or model_costs, found neither
    "#]],
    );
    check(
        "gpu_pricing:",
        &expect![[r#"
        line 1, gpu_pricing: expected a map of GPU models, such as nvidia-t4: { on_demand: 0.526 }, found nothing
    "#]],
    );
    check(
        "gpu_pricing: {}\nmodel_costs: []",
        &expect![[r#"
            line 1, gpu_pricing: expected a map of GPU models, such as nvidia-t4: { on_demand: 0.526 }, found an empty map
            line 2, model_costs: expected a map of models, such as gpt-4: { input_tokens: 0.03, output_tokens: 0.06 }, found an empty list
        "#]],
    );
    check(
        "gpu_pricing:\n  nvidia-t4:\n    - on_demand: 1",
        &expect![[r#"
            ok
        "#]],
    );
    check(
        "gpu_pricing: { default: { on_demand: 1 }, Default: { spot: 1 } }",
        &expect![[r#"
        line 1, gpu_pricing.Default: expected one row per GPU model, found `default` in line 1 for default, too
    "#]],
    );
    check(
        "model_costs: { gpt-4: 0.03 }",
        &expect![[r#"
        line 1, model_costs.gpt-4: expected a map such as { input_tokens: 0.03, output_tokens: 0.06 }, found the number `0.03`
    "#]],
    );
    check(
        "model_costs: { gpt-4: { input_tokens: -1, output_tokens: x } }",
        &expect![[r#"
        line 1, model_costs.gpt-4.input_tokens: expected dollars per 1,000 tokens, such as 0.0008, found the number `-1`, which is below zero
        line 1, model_costs.gpt-4.output_tokens: expected dollars per 1,000 tokens, such as 0.0008, found the text `x`
    "#]],
    );
}

#[test]
fn the_version_is_1() {
    let said = ["2", "'1'", "1.0", "one", "", "[1]", "99999999999999999999"]
        .map(|version| said_about(&format!("schema_version: {version}\n{VERSION_1}")));
    expect![[r#"
        ok
        line 1, schema_version: expected 1 or 2, the versions that this program reads, found the text `1`
        line 1, schema_version: expected 1 or 2, the versions that this program reads, found the number `1.0`
        line 1, schema_version: expected 1 or 2, the versions that this program reads, found the text `one`
        line 1, schema_version: expected 1 or 2, the versions that this program reads, found nothing
        line 1, schema_version: expected 1 or 2, the versions that this program reads, found a list
        line 1, schema_version: expected 1 or 2, the versions that this program reads, found the number `99999999999999999999`
    "#]].assert_eq(&said.concat());
}

#[test]
fn a_key_is_a_name_that_occurs_once() {
    check(
        "gpu_pricing:\n  nvidia-t4: { spot: 1, spot: 2, 'spot': 3 }\n  nvidia-t4: { spot: 1 }\ngpu_pricing: {}",
        &expect![[r#"
            line 2, gpu_pricing.nvidia-t4.spot: expected every key once, found it in line 2 too
            line 2, gpu_pricing.nvidia-t4.spot: expected every key once, found it in line 2 too
            line 3, gpu_pricing.nvidia-t4: expected every key once, found it in line 2 too
            line 4, gpu_pricing: expected every key once, found it in line 1 too
        "#]],
    );
    check(
        "gpu_pricing:\n  4: {}\n  true: {}\n  ~: {}\n  '': {}\n  ' ': {}\n  [a]: {}\n  {b: c}: {}",
        &expect![[r#"
            line 2, gpu_pricing.?: expected a name as the key, found the number `4`; put it in quotes
            line 3, gpu_pricing.?: expected a name as the key, found the boolean `true`
            line 4, gpu_pricing.?: expected a name as the key, found nothing
            line 5, gpu_pricing.?: expected a name as the key, found empty text
            line 6, gpu_pricing.?: expected a name as the key, found the text ` `
            line 7, gpu_pricing.?: expected a name as the key, found a list
            line 8, gpu_pricing.?: expected a name as the key, found a map
        "#]],
    );
    check(
        &format!(
            "gpu_pricing:\n  \"a\\tb\": {{}}\n  ? {}\n  : {{}}\n  {}: {{}}",
            "x".repeat(301),
            "y".repeat(70)
        ),
        &expect![[r#"
            line 2, gpu_pricing.a\tb: expected text on one line, found a line break or a control character in it
            line 3, gpu_pricing.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…: expected at most 300 characters, found more
            line 5, gpu_pricing.yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy…: expected a map of prices, such as { on_demand: 3.5, spot: 1.2 }, found an empty map
        "#]],
    );
}

#[test]
fn a_source_is_text_and_a_date_a_day() {
    check(
        "gpu_pricing:\n  nvidia-t4:\n    on_demand: 1\n    source: 2026\n    as_of: 2026-7-1\n  nvidia-l4:\n    on_demand: 1\n    source: |\n      two\n      lines\n    as_of: 2026-13-01",
        &expect![[r#"
            line 4, gpu_pricing.nvidia-t4.source: expected text that says where the prices come from, found the number `2026`; put it in quotes
            line 5, gpu_pricing.nvidia-t4.as_of: expected a day as YYYY-MM-DD, such as 2026-07-20, found the text `2026-7-1`
            line 9, gpu_pricing.nvidia-l4.source: expected text on one line, found a line break or a control character in it
            line 11, gpu_pricing.nvidia-l4.as_of: expected a day as YYYY-MM-DD, such as 2026-07-20, found the text `2026-13-01`, which is no day since 1970
        "#]],
    );
    check(
        "gpu_pricing: { nvidia-t4: { spot: 1, source: [], as_of: {} } }",
        &expect![[r#"
            line 1, gpu_pricing.nvidia-t4.source: expected text that says where the prices come from, found an empty list
            line 1, gpu_pricing.nvidia-t4.as_of: expected a day as YYYY-MM-DD, such as 2026-07-20, found an empty map
        "#]],
    );
    check(
        "gpu_pricing: { nvidia-t4: { spot: 1, source: '', as_of: 20260701 } }",
        &expect![[r#"
        line 1, gpu_pricing.nvidia-t4.source: expected text that says where the prices come from, found empty text
        line 1, gpu_pricing.nvidia-t4.as_of: expected a day as YYYY-MM-DD, such as 2026-07-20, found the number `20260701`
    "#]],
    );
    check(
        "gpu_pricing: { nvidia-t4: { spot: 1, source: '2026', as_of: '2026-07-01' } }",
        &expect![[r#"
            ok
            warning: line 1, gpu_pricing.nvidia-t4.spot: above all list prices on demand: is it the price of a whole instance?
        "#]],
    );
}

#[test]
fn nothing_has_two_meanings() {
    check(
        "base: &base { on_demand: 1 }\ngpu_pricing:\n  nvidia-t4: *base\n  nvidia-l4:\n    <<: *base\n    spot: 1\n  &a nvidia-a10: &b\n    on_demand: !!str 1\n",
        &expect![[r#"
            line 1, base: expected one of gpu_pricing, model_costs, schema_version, currency, exchange_rates, as_of, defaults, overrides, price_model_rules, discounts, owned_hardware, energy, budgets, mig_share, sharing_policy, found an unknown key
            line 3, gpu_pricing.nvidia-t4: expected a plain value, found an alias (`*`), which is not supported; write it out
            line 5, gpu_pricing.nvidia-l4.<<: expected no merge key, which is not supported; write the values out
            line 7, gpu_pricing.?: expected a plain value, found an anchor (`&`), which is not supported; write it out
        "#]],
    );
    check(
        "gpu_pricing: { nvidia-t4: { spot: 1 } }\n---\ngpu_pricing: { nvidia-t4: { spot: 2 } }",
        &expect![[r#"
            line 2: expected one YAML document, found a second one; write everything into one, without `---`
        "#]],
    );
    check(
        "gpu_pricing: *nothing",
        &expect![[r#"
        line 1: expected YAML, but it cannot be read on from here: while parsing node, found unknown anchor
    "#]],
    );
    check(
        "gpu_pricing:\n  nvidia-t4:\u{2028}  { spot: 1 }",
        &expect![[r#"
        line 2: expected text that can be seen, found the character U+2028
    "#]],
    );
    check(
        "gpu_pricing: { nvidia-t4: { spot: 1, source: 'é\u{85}' } }",
        &expect![[r#"
        line 1: expected text that can be seen, found the character U+0085
    "#]],
    );
    check(
        "gpu_pricing: \0",
        &expect![[r#"
        line 1: expected text that can be seen, found the character U+0000
    "#]],
    );
}

#[test]
fn what_is_no_yaml_is_told_with_its_line() {
    check(
        "gpu_pricing:\n\tnvidia-t4: { on_demand: 1 }",
        &expect![[r#"
        line 2: expected YAML, but it cannot be read on from here: tabs disallowed within this context (block indentation)
    "#]],
    );
    check(
        "gpu_pricing:\n  nvidia-t4:\n  \ton_demand: 1\n",
        &expect![[r#"
        line 3: expected YAML, but it cannot be read on from here: tabs disallowed within this context (block indentation)
    "#]],
    );
    check(
        "gpu_pricing:\n  nvidia-t4: { on_demand: 1\nmodel_costs:\n",
        &expect![[r#"
        line 3: expected YAML, but it cannot be read on from here: while parsing a flow mapping, did not find expected ',' or '}'
    "#]],
    );
    check(
        "gpu_pricing:\n  nvidia-t4: { on_demand: 1 }\n nvidia-l4: { on_demand: 1 }\n",
        &expect![[r#"
        line 3: expected YAML, but it cannot be read on from here: while parsing a block mapping, did not find expected key
    "#]],
    );
    check(
        "gpu_pricing:\n  nvidia-t4: on_demand: 1\n",
        &expect![[r#"
        line 2: expected YAML, but it cannot be read on from here: mapping values are not allowed in this context
    "#]],
    );
    check(
        "gpu_pricing:\n  nvidia-t4:\n    source: \"no end\n",
        &expect![[r#"
        line 3: expected YAML, but it cannot be read on from here: while scanning a quoted scalar, found unexpected end of stream
    "#]],
    );
    check(
        "<html>\n<body>404: not found</body>",
        &expect![[r#"
        line 2: expected YAML, but it cannot be read on from here: mapping values are not allowed in this context
    "#]],
    );
    check(
        "%YAML 3.0\n---\ngpu_pricing: {}",
        &expect![[r#"
        line 3, gpu_pricing: expected a map of GPU models, such as nvidia-t4: { on_demand: 0.526 }, found an empty map
    "#]],
    );
    check(
        "@",
        &expect![[r#"
        line 1: expected YAML, but it cannot be read on from here: unexpected character: `@'
    "#]],
    );
}

#[test]
fn every_mistake_is_told_at_once() {
    check_command(
        "tests/pricing/mistakes.yaml",
        false,
        &expect![[r#"
            tests/pricing/mistakes.yaml:2: gpu_prices: expected one of gpu_pricing, model_costs, schema_version, currency, exchange_rates, as_of, defaults, overrides, price_model_rules, discounts, owned_hardware, energy, budgets, mig_share, sharing_policy, found an unknown key; did you mean `gpu_pricing`?
            tests/pricing/mistakes.yaml:4: nvidia-l4: expected one of gpu_pricing, model_costs, schema_version, currency, exchange_rates, as_of, defaults, overrides, price_model_rules, discounts, owned_hardware, energy, budgets, mig_share, sharing_policy, found an unknown key; GPU models stand below gpu_pricing: did you mean `gpu_pricing.nvidia-l4`?
            tests/pricing/mistakes.yaml:7: gpu_pricing.nvidia-a10.on-demand: expected one of on_demand, spot, reserved_1y, reserved_3y, savings_plan, capacity_block, flex_start, owned, source, as_of, valid_from, aliases, memory_gib, gpu_share, found an unknown key; did you mean `on_demand`?
            tests/pricing/mistakes.yaml:8: gpu_pricing.nvidia-a10.spot: expected dollars per hour for one GPU, such as 3.5, found the text `$0.5`; did you mean `0.5`?
            tests/pricing/mistakes.yaml:9: gpu_pricing.nvidia-a10.reserved_2y: expected one of on_demand, spot, reserved_1y, reserved_3y, savings_plan, capacity_block, flex_start, owned, source, as_of, valid_from, aliases, memory_gib, gpu_share, found an unknown key
            tests/pricing/mistakes.yaml:10: gpu_pricing.nvidia-t4: expected a map of prices, such as { on_demand: 3.5, spot: 1.2 }, found the number `0.5`; did you mean `{ on_demand: 0.5 }`?
            tests/pricing/mistakes.yaml:12: gpu_pricing.nvidia_a100_80gb: expected one row per GPU model, found `NVIDIA A100 80GB PCIe` in line 11 for nvidia-a100-80gb, too
            tests/pricing/mistakes.yaml:12: gpu_pricing.nvidia_a100_80gb.on_demand: expected dollars per hour for one GPU, such as 3.5, found the number `-3.5`, which is below zero
            tests/pricing/mistakes.yaml:12: gpu_pricing.nvidia_a100_80gb.as_of: expected a day as YYYY-MM-DD, such as 2026-07-20, found the text `2026-02-30`, which is no day since 1970
            tests/pricing/mistakes.yaml:13: gpu_pricing.nvidia-h100-80gb: expected a map of prices, such as { on_demand: 3.5, spot: 1.2 }, found an empty map
            tests/pricing/mistakes.yaml:14: gpu_pricing.nvidia-h200: expected at least one of on_demand, spot, reserved_1y, reserved_3y, savings_plan, capacity_block, flex_start, owned, found none
            tests/pricing/mistakes.yaml:16: model_costs.gpt-4.output_token: expected one of input_tokens, output_tokens, cached_input_tokens, unit, found an unknown key; did you mean `output_tokens`?
            tests/pricing/mistakes.yaml:17: model_costs.gpt-5: expected input_tokens and output_tokens, found no output_tokens
            tests/pricing/mistakes.yaml:18: schema_version: expected 1 or 2, the versions that this program reads, found the number `3`
        "#]],
    );
}

#[test]
fn every_mistake_of_version_2_is_told_at_once() {
    check_command(
        "tests/pricing/mistakes-2.yaml",
        false,
        &expect![[r#"
            tests/pricing/mistakes-2.yaml:6: gpu_pricing.nvidia-t4.aliases: expected a name of one GPU model, found it for `nvidia-l4` in line 9, too
            tests/pricing/mistakes-2.yaml:7: gpu_pricing.nvidia-t4[2]: expected one row per valid_from, found another one in line 6
            tests/pricing/mistakes-2.yaml:8: gpu_pricing.nvidia-t4[3]: expected one row per valid_from, found another one in line 7
            tests/pricing/mistakes-2.yaml:8: gpu_pricing.nvidia-t4[3].valid_from: expected a day as YYYY-MM-DD, such as 2026-07-20, found the text `2026-02-30`, which is no day since 1970
            tests/pricing/mistakes-2.yaml:8: gpu_pricing.nvidia-t4[3].spot.from: expected one of price, source, as_of, found an unknown key
            tests/pricing/mistakes-2.yaml:9: gpu_pricing.nvidia-l4.aliases: expected a name of one GPU model, found it for `nvidia-t4` in line 5, too
            tests/pricing/mistakes-2.yaml:11: overrides[1].match.regoin: expected one of provider, region, zone, instance_type, gpu_model, node_labels, found an unknown key; did you mean `region`?
            tests/pricing/mistakes-2.yaml:13: overrides[1].node_pricing: expected gpu_pricing or node_pricing, found both; the price of a node is that of its GPUs
            tests/pricing/mistakes-2.yaml:14: overrides[2].gpus_per_node: expected a count of GPUs, such as 8, found the number `8.5`, which is not whole
            tests/pricing/mistakes-2.yaml:15: overrides[3].match.node_labels.spot: expected the value of a label, such as dgx, found the boolean `true`; put it in quotes
            tests/pricing/mistakes-2.yaml:16: overrides[4].gpu_pricing.spt: expected one of on_demand, spot, reserved_1y, reserved_3y, savings_plan, capacity_block, flex_start, owned, found an unknown key; did you mean `spot`?
            tests/pricing/mistakes-2.yaml:17: overrides[5]: expected valid_until after valid_from, found it before or on that day
            tests/pricing/mistakes-2.yaml:19: price_model_rules[1].values.a: expected one of on_demand, spot, reserved_1y, reserved_3y, savings_plan, capacity_block, flex_start, owned, found the text `sport`; did you mean `spot`?
            tests/pricing/mistakes-2.yaml:19: price_model_rules[1].values.b: expected one of on_demand, spot, reserved_1y, reserved_3y, savings_plan, capacity_block, flex_start, owned, found the number `5`
            tests/pricing/mistakes-2.yaml:20: discounts[1].percent: expected percent, such as 8, found the number `108`, which is more than 100
            tests/pricing/mistakes-2.yaml:20: discounts[2]: expected a map such as { match: { provider: aws }, percent: 8 }, found an empty map
            tests/pricing/mistakes-2.yaml:21: owned_hardware.x.gpus: expected a count of GPUs, such as 8, found the number `0`, which is not above zero
            tests/pricing/mistakes-2.yaml:22: energy.tariff[1].from: expected a time of the day in quotes, such as "22:00", found the number `22`; put it in quotes
            tests/pricing/mistakes-2.yaml:22: energy.tariff[1].to: expected a time of the day in quotes, such as "22:00", found the text `25:00`
            tests/pricing/mistakes-2.yaml:22: energy.utc_offset: expected hours and minutes from "-12:00" to "+14:00" in quotes, such as "+05:30", found the text `+14:30`
            tests/pricing/mistakes-2.yaml:22: energy.pue: expected a PUE, such as 1.2, found the number `0.9`, which is less than 1
            tests/pricing/mistakes-2.yaml:22: energy.gco2e_per_kwh: expected grams of CO2e per kWh, such as 396, found the number `10001`, which is more than 10000
            tests/pricing/mistakes-2.yaml:23: mig_share: expected one of compute, memory, blend, found the text `computee`; did you mean `compute`?
            tests/pricing/mistakes-2.yaml:24: sharing_policy: expected one of slots, active, found a list
            tests/pricing/mistakes-2.yaml:25: budgets: expected a list of budgets, such as - { match: { namespace: ml }, monthly_usd: 20000 }, found a map
            tests/pricing/mistakes-2.yaml:26: defaults.price_basis: expected node_share, found the text `gpu_only`; the price of a node is divided by its GPUs whole, so that they add up to the bill
            tests/pricing/mistakes-2.yaml:27: exchange_rates.USD: expected US dollars for one unit, such as 1.08, found the number `0`, which is not above zero
            tests/pricing/mistakes-2.yaml:28: as_of: expected a day as YYYY-MM-DD, such as 2026-07-20, found the text `yesterday`
        "#]],
    );
    // What a file can only say when the rest of it is right.
    let with = |text: &str| said_about(&format!("gpu_pricing: {{ default: {{ on_demand: 1 }} }}\n{text}"));
    let said = [
        "currency: EUR",
        "currency: EUR\nexchange_rates: { CHF: 1.2 }",
        "currency: euro",
        "currency: JPY\nexchange_rates: { JPY: 0.0065 }\noverrides: [{ match: { instance_type: p5.48xlarge }, gpu_pricing: { on_demand: 1000 } }]",
        "owned_hardware: { x: { gpu_model: a, gpus: 8, server_usd: 1, life_years: 4, kw: 1 } }",
        "owned_hardware: { x: { gpu_model: a, gpus: 8, server_usd: 1, life_years: 4, usd_per_kwh: 1, colo_usd_per_kw_month: 1 } }",
        "owned_hardware: { x: { gpu_model: a, gpus: 8, server_usd: 1, life_years: 0.01, cost_of_capital: 0.1 } }",
    ];
    expect![[r#"
        line 2, currency: expected the rate `exchange_rates.EUR`, found none
        line 2, currency: expected the rate `exchange_rates.EUR`, found none
        line 2, currency: expected a currency, such as EUR, found the text `euro`
        ok
        line 2, owned_hardware.x: expected usd_per_kwh or colo_usd_per_kw_month beside kw, found neither
        line 2, owned_hardware.x: expected usd_per_kwh or colo_usd_per_kw_month, found both
        line 2, owned_hardware.x: expected numbers that make a price per hour, found some that do not
    "#]]
    .assert_eq(&said.map(with).concat());
}

#[test]
fn what_only_looks_like_a_mistake_in_version_2_is_no_obstacle() {
    check_command(
        "tests/pricing/warnings-2.yaml",
        true,
        &expect![[r#"
            tests/pricing/warnings-2.yaml:5: warning: gpu_pricing.nvidia-h100-80gb.on_demand: at least 100 times the list price: is it in cents, or per month?
            tests/pricing/warnings-2.yaml:5: warning: gpu_pricing.nvidia-h100-80gb.spot: spot is above on_demand
            tests/pricing/warnings-2.yaml:5: warning: gpu_pricing.nvidia-h100-80gb.spot: at least 290 times the list price: is it in cents, or per month?
            tests/pricing/warnings-2.yaml:6: warning: gpu_pricing.nvidia-l4.on_demand: at most 1/704 of the lowest list price: is it per minute, or in thousands?
            tests/pricing/warnings-2.yaml:6: warning: gpu_pricing.nvidia-l4.as_of: the prices are 577 days old; look whether they still hold
            tests/pricing/warnings-2.yaml:9: warning: gpu_pricing.nvidia-t4[2].spot: spot is above on_demand
            tests/pricing/warnings-2.yaml:9: warning: gpu_pricing.nvidia-t4[2].as_of: the prices are 212 days old; look whether they still hold
            tests/pricing/warnings-2.yaml:11: warning: overrides[1].gpu_pricing.on_demand: looks like the price of all 8 GPUs of the node; did you mean node_pricing?
            tests/pricing/warnings-2.yaml:12: warning: overrides[2]: never has its turn: the first that matches counts, and the one in line 11 matches all that this does
            tests/pricing/warnings-2.yaml:12: warning: overrides[2].node_pricing.on_demand: looks like the price of one of the node's 8 GPUs; did you mean gpu_pricing?
            tests/pricing/warnings-2.yaml:14: warning: overrides[4].as_of: the prices are 182 days old; look whether they still hold
            tests/pricing/warnings-2.yaml:14: warning: overrides[4].gpu_pricing.spot: spot is above on_demand
            tests/pricing/warnings-2.yaml: ok, 3 GPU models, 0 model costs
        "#]],
    );
}

#[test]
fn what_only_looks_like_a_mistake_is_no_obstacle() {
    check_command(
        "tests/pricing/warnings.yaml",
        true,
        &expect![[r#"
            tests/pricing/warnings.yaml:3: warning: gpu_pricing.nvidia-a100-80gb.on_demand: exactly the price of a whole Standard_ND96ams_A100_v4 with 8 GPUs in eastus; write the price of one GPU
            tests/pricing/warnings.yaml:3: warning: gpu_pricing.nvidia-a100-80gb.spot: above all list prices on demand: is it the price of a whole instance?
            tests/pricing/warnings.yaml:4: warning: gpu_pricing.nvidia-a100: no known GPU is called `nvidia-a100`; did you mean `nvidia-a100-40gb`, `nvidia-a100-64gb` or `nvidia-a100-80gb`?
            tests/pricing/warnings.yaml:5: warning: gpu_pricing.nvidia-h10-80gb: no known GPU is called `nvidia-h10-80gb`; did you mean `nvidia-h100-80gb`?
            tests/pricing/warnings.yaml:6: warning: gpu_pricing.nvidia-a10.spot: spot is above on_demand
            tests/pricing/warnings.yaml:6: warning: gpu_pricing.nvidia-a10.reserved_1y: reserved_1y is above on_demand
            tests/pricing/warnings.yaml:7: warning: gpu_pricing.nvidia-t4.on_demand: 0 makes the GPU free; leave out a price that is not known
            tests/pricing/warnings.yaml:8: warning: gpu_pricing.defualt: no known GPU is called `nvidia-defualt`; did you mean `default`?
            tests/pricing/warnings.yaml: ok, 6 GPU models, 0 model costs
        "#]],
    );
    check_command(
        "tests/pricing/version-1.yaml",
        true,
        &expect![[r#"
        tests/pricing/version-1.yaml: ok, 3 GPU models, 3 model costs
    "#]],
    );
    check_command(
        "pricing.yaml",
        true,
        &expect![[r#"
            pricing.yaml:37: warning: gpu_pricing.nvidia-a100-40gb.as_of: the prices are 244 days old; look whether they still hold
            pricing.yaml:44: warning: gpu_pricing.nvidia-a100-80gb.as_of: the prices are 244 days old; look whether they still hold
            pricing.yaml:51: warning: gpu_pricing.nvidia-a10g.as_of: the prices are 244 days old; look whether they still hold
            pricing.yaml:57: warning: gpu_pricing.nvidia-b200.as_of: the prices are 212 days old; look whether they still hold
            pricing.yaml:63: warning: gpu_pricing.nvidia-b300.as_of: the prices are 212 days old; look whether they still hold
            pricing.yaml:74: warning: gpu_pricing.nvidia-h100-80gb.as_of: the prices are 212 days old; look whether they still hold
            pricing.yaml:85: warning: gpu_pricing.nvidia-h200.as_of: the prices are 212 days old; look whether they still hold
            pricing.yaml:97: warning: gpu_pricing.nvidia-l4.as_of: the prices are 244 days old; look whether they still hold
            pricing.yaml:104: warning: gpu_pricing.nvidia-l40s.as_of: the prices are 244 days old; look whether they still hold
            pricing.yaml:126: warning: gpu_pricing.nvidia-t4.as_of: the prices are 244 days old; look whether they still hold
            pricing.yaml:133: warning: gpu_pricing.nvidia-t4g.as_of: the prices are 244 days old; look whether they still hold
            pricing.yaml:139: warning: gpu_pricing.nvidia-v100-16gb.as_of: the prices are 244 days old; look whether they still hold
            pricing.yaml:146: warning: gpu_pricing.nvidia-v100-32gb.as_of: the prices are 244 days old; look whether they still hold
            pricing.yaml: ok, 20 GPU models, 3 model costs
        "#]],
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_too() {
    check_command(
        "tests/pricing/missing.yaml",
        false,
        &expect![[r#"
        tests/pricing/missing.yaml: expected a file that can be read: No such file or directory (os error 2)
    "#]],
    );
    check_command(
        "tests/pricing",
        false,
        &expect![[r#"
        tests/pricing: expected a file, found a directory
    "#]],
    );
    check_command(
        "/dev/null",
        false,
        &expect![[r#"
        /dev/null: expected a map with gpu_pricing or model_costs, found an empty file
    "#]],
    );
    check_command(
        "/dev/zero",
        false,
        &expect![[r#"
        /dev/zero: expected at most 1024 KiB, found more
    "#]],
    );
}

#[test]
fn bytes_that_are_no_text_are_told_with_their_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pricing.yaml");
    let said = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        pricing_file::read(&path, None)
            .unwrap_err()
            .iter()
            .map(|problem| problem.in_file("f"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    expect!["f:2: expected UTF-8, found the byte 0xff"].assert_eq(&said(b"gpu_pricing:\n  \xc3\xa9\xff: 1"));
    expect!["f: expected UTF-8, found UTF-16; save the file as UTF-8"].assert_eq(&said(b"\xff\xfeg\0p\0u\0"));
    expect!["f: expected at most 1024 KiB, found more"].assert_eq(&said(&vec![b'#'; 10 << 20]));
}

#[test]
fn no_input_is_too_deep_or_too_long() {
    check(
        &"[".repeat(1 << 20),
        &expect![[r#"
        line 1: expected YAML, but it cannot be read on from here: recursion limit exceeded
    "#]],
    );
    check(
        &"{a: ".repeat(1 << 18),
        &expect![[r#"
        line 1: expected YAML, but it cannot be read on from here: recursion limit exceeded
    "#]],
    );
    check(
        &"- ".repeat(1 << 19),
        &expect![[r#"
        line 1: expected at most 16 levels of maps and lists, found more
    "#]],
    );
    check(
        &"? ".repeat(1 << 19),
        &expect![[r#"
        line 1: expected at most 16 levels of maps and lists, found more
    "#]],
    );
    check(
        &(0..700).fold(String::new(), |text, depth| text + &" ".repeat(depth) + "a:\n"),
        &expect![[r#"
        line 17: expected at most 16 levels of maps and lists, found more
    "#]],
    );
    check(
        &"\n".repeat((1 << 20) + 1),
        &expect![[r#"
        expected at most 1024 KiB, found more
    "#]],
    );
    let many = (0..50_000).fold(String::from("gpu_pricing:\n"), |text, n| text + &format!("  m{n}: {{}}\n"));
    let problems = parse(&many).unwrap_err();
    assert_eq!(problems.len(), 1_001);
    assert_eq!(problems[1_000].to_string(), "and 49000 more mistakes");
}
