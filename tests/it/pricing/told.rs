//! What is said about several mistakes at once, about old prices and about overrides that look wrong.

use expect_test::{Expect, expect};
use gpu_cost_exporter::cost::pricing::Date;
use gpu_cost_exporter::pricing_file;

use super::check;

/// Checks what is said in August 2026 about a file that is right, without the file's beginning.
#[track_caller]
fn check_warnings(text: &str, expected: &Expect) {
    let file = pricing_file::parse(text, Date::from_calendar(2026, 8, 1)).unwrap();
    let warnings: Vec<String> = file.warnings.iter().map(|warning| format!("{warning}\n")).collect();
    expected.assert_eq(&warnings.concat());
}

#[test]
fn a_gpu_model_is_bought_once() {
    check(
        "owned_hardware:\n  old: { gpu_model: nvidia-h100-80gb, gpus: 8, server_usd: 300000, life_years: 4 }\n  \
         new: { gpu_model: NVIDIA H100 80GB HBM3, gpus: 8, server_usd: 200000, life_years: 4 }\n  \
         b200: { gpu_model: nvidia-b200, gpus: 8, server_usd: 400000, life_years: 4 }\n",
        &expect![[r#"
            line 3, owned_hardware.new.gpu_model: expected one server per GPU model, found `old` in line 2 for nvidia-h100-80gb, too
        "#]],
    );
    check(
        "gpu_pricing: { nvidia-b200: { on_demand: 8, aliases: [NVIDIA Sample] } }\nowned_hardware:\n  \
         a: { gpu_model: NVIDIA Sample, gpus: 8, server_usd: 300000, life_years: 4 }\n  \
         b: { gpu_model: nvidia-b200, gpus: 8, server_usd: 200000, life_years: 4 }\n",
        &expect![[r#"
            line 4, owned_hardware.b.gpu_model: expected one server per GPU model, found `a` in line 3 for nvidia-b200, too
        "#]],
    );
}

#[test]
fn what_never_matches_is_asked_about() {
    check_warnings(
        "overrides:\n  \
         - { name: a, match: { provider: awss, region: us-eats-1, instance_type: p5.48xlrge }, gpu_pricing: { on_demand: 7 } }\n  \
         - { name: a, match: { provider: aws, region: us-central1, gpu_model: nvidia-h100-80bg }, gpu_pricing: { on_demand: 7 } }\n  \
         - { match: { region: eu-west-9, instance_type: p5.48xlarge }, gpu_pricing: { on_demand: 7 } }\n  \
         - { match: { region: us-east-1, instance_type: a3-highgpu-8g }, gpu_pricing: { on_demand: 11 } }\n  \
         - { match: { provider: mine, region: here, zone: eu-*, gpu_model: nvidia-h100-* }, gpu_pricing: { on_demand: 7 } }\n  \
         - { match: { provider: oci, region: us-ashburn-1 }, valid_until: 2026-07-01, gpu_pricing: { on_demand: 7 } }\n\
         discounts:\n  - { match: { provider: amazon }, percent: 1 }\n",
        &expect![[r#"
            line 2, overrides[1].match.provider: nothing known is called `awss`; did you mean `aws`?
            line 2, overrides[1].match.region: nothing known is called `us-eats-1`; did you mean `us-east-1`?
            line 2, overrides[1].match.instance_type: nothing known is called `p5.48xlrge`; did you mean `p5.48xlarge`?
            line 3, overrides[2].name: the one in line 2 has the name, too: nobody can tell them apart
            line 3, overrides[2].match: no instance of the catalogue is of `aws` and `us-central1`
            line 3, overrides[2].match.gpu_model: no known GPU is called `nvidia-h100-80bg`; did you mean `nvidia-h100-80gb`?
            line 5, overrides[4].match: no instance of the catalogue is of `us-east-1` and `a3-highgpu-8g`
            line 7, overrides[6].valid_until: holds no longer since 2026-07-01
            line 9, discounts[1].match.provider: nothing known is called `amazon`; did you mean `aws`?
        "#]],
    );
}

#[test]
fn what_never_has_its_turn_is_asked_about() {
    check_warnings(
        "overrides:\n  \
         - { match: { provider: aws, node_labels: { pool: a } }, gpu_pricing: { on_demand: 7 } }\n  \
         - { match: { provider: AWS, node_labels: { pool: a, team: b } }, gpu_pricing: { on_demand: 6 } }\n  \
         - { match: { provider: aws, node_labels: { pool: A } }, gpu_pricing: { on_demand: 6 } }\n  \
         - { match: { provider: aws, node_labels: { pool: a } }, price_model: spot }\n  \
         - { match: { region: x }, valid_from: 2026-09-01, gpu_pricing: { on_demand: 6 } }\n  \
         - { match: { region: x }, gpu_pricing: { on_demand: 5 } }\n\
         discounts:\n  - { percent: 5 }\n  - { match: { provider: gcp }, percent: 7 }\n",
        &expect![[r#"
            line 3, overrides[2]: never has its turn: the first that matches counts, and the one in line 2 matches all that this does
            line 10, discounts[2]: never has its turn: the first that matches counts, and the one in line 9 matches all that this does
        "#]],
    );
}

#[test]
fn the_price_of_a_whole_instance_is_known_to_the_digit() {
    check_warnings(
        "gpu_pricing:\n  nvidia-l4: { on_demand: 4.6016 }\n  nvidia-h100-80gb: { on_demand: 6.88, spot: 23.453 }\n  \
         nvidia-a10g: { on_demand: 1.006 }\n  nvidia-l40: { on_demand: 90000 }\n  default: { on_demand: 3000 }\n\
         overrides:\n  - { match: { node_labels: { pool: h100 } }, gpu_pricing: { on_demand: 88.49, spot: 8 } }\n  \
         - { match: { instance_type: p5.48xlarge }, node_pricing: { on_demand: 55.04 }, gpus_per_node: 16 }\n",
        &expect![[r#"
            line 2, gpu_pricing.nvidia-l4.on_demand: exactly the price of a whole g6.12xlarge with 4 GPUs in us-east-1; write the price of one GPU
            line 3, gpu_pricing.nvidia-h100-80gb.spot: spot is above on_demand
            line 3, gpu_pricing.nvidia-h100-80gb.spot: exactly the price of a whole p5.48xlarge with 8 GPUs in us-east-1; write the price of one GPU
            line 5, gpu_pricing.nvidia-l40.on_demand: at least 1664 times the list price: is it in cents, or per month?
            line 6, gpu_pricing.default.on_demand: at least 55 times the list price: is it the price of a whole instance? Write the price of one GPU
            line 8, overrides[1].gpu_pricing.on_demand: exactly the price of a whole Standard_ND96is_flex_H100_v5 with 8 GPUs in eastus; write the price of one GPU
            line 9, overrides[2].gpus_per_node: p5.48xlarge has 8 in the catalogue
        "#]],
    );
}

#[test]
fn units_of_tokens_and_of_servers_are_asked_about() {
    check_warnings(
        "model_costs:\n  gpt-4: { input_tokens: 30, output_tokens: 60 }\n  \
         gpt-4o: { unit: per_1m, input_tokens: 0.0025, output_tokens: 10 }\n\
         owned_hardware:\n  \
         dgx: { gpu_model: nvidia-h100-80bg, gpus: 8, server_usd: 300000, life_years: 4, kw: 10.2, usd_per_kwh: 0.08 }\n  \
         colo: { gpu_model: nvidia-l4, gpus: 8, server_usd: 300000, life_years: 4, kw: 10200, usd_per_kwh: 0.08 }\n",
        &expect![[r#"
            line 2, model_costs.gpt-4.input_tokens: a thousand tokens cost cents: is it the price of a million? Then write `unit: per_1m`
            line 2, model_costs.gpt-4.output_tokens: a thousand tokens cost cents: is it the price of a million? Then write `unit: per_1m`
            line 3, model_costs.gpt-4o.input_tokens: a million tokens cost more: is it the price of a thousand?
            line 4, owned_hardware: nothing here says that a GPU is owned, so this is the price of none but with --pricing.model=owned: a rule, an override or the default has to say so
            line 5, owned_hardware.dgx.gpu_model: no known GPU is called `nvidia-h100-80bg`; did you mean `nvidia-h100-80gb`?
            line 6, owned_hardware.colo: makes 103.070205479 $/h for one GPU, far above what it is rented for: is a number in watts or months?
        "#]],
    );
}

#[test]
fn days_and_rules_that_have_no_effect_are_asked_about() {
    check_warnings(
        "gpu_pricing:\n  nvidia-t4:\n    - { on_demand: 0.5, spot: 0.2, as_of: 2062-07-20 }\n    \
         - { valid_from: 2026-11-01, on_demand: 0.4 }\n\
         price_model_rules:\n  - { label: karpenter.sh/capacity-type, values: { Spot: spot, mine: owned } }\n  \
         - { label: eks.amazonaws.com/capacitytype, values: { SPOT: spot } }\n  - { label: pool, values: { spot: spot } }\n\
         overrides:\n  - { match: { region: x }, price_model: reserved_1y, gpu_pricing: { on_demand: 5 } }\n",
        &expect![[r#"
            line 3, gpu_pricing.nvidia-t4[1].as_of: the day is yet to come; today is 2026-08-01
            line 4, gpu_pricing.nvidia-t4: has no spot, so from 2026-11-01 on there is none: a row replaces the one before whole
            line 6, price_model_rules[1].values: `Spot` is not known of it; did you mean `spot`?
            line 7, price_model_rules[2].label: no provider is known to write it; did you mean `eks.amazonaws.com/capacityType`?
            line 10, overrides[1].price_model: has no price for reserved_1y here, so that on_demand stands in
        "#]],
    );
}

#[test]
fn mistakes_in_one_section_hide_none_in_another() {
    check(
        "currency: GBP\ngpu_pricing: { nvidia-t4: { on_demnd: 1 } }\nowned_hardware:\n  \
         a: { gpu_model: nvidia-b200, gpus: 8, server_usd: 1, life_years: 4, kw: 1 }\n  \
         b: { gpu_model: nvidia-l4, gpus: 0, server_usd: 1, life_years: 4, kw: 1 }\n",
        &expect![[r#"
            line 1, currency: expected the rate `exchange_rates.GBP`, found none
            line 2, gpu_pricing.nvidia-t4.on_demnd: expected one of on_demand, spot, reserved_1y, reserved_3y, savings_plan, capacity_block, flex_start, owned, source, as_of, valid_from, aliases, memory_gib, gpu_share, found an unknown key; did you mean `on_demand`?
            line 4, owned_hardware.a: expected usd_per_kwh or colo_usd_per_kw_month beside kw, found neither
            line 5, owned_hardware.b.gpus: expected a count of GPUs, such as 8, found the number `0`, which is not above zero
        "#]],
    );
    // Whether there is a rate cannot be said of rates that cannot be read.
    check(
        "currency: GBP\nexchange_rates: [GBP]\n",
        &expect![[r#"
            line 2, exchange_rates: expected a map of currencies, such as EUR: 1.08, found a list
        "#]],
    );
}

#[test]
fn every_day_of_a_price_grows_old() {
    check_warnings(
        "as_of: 2024-01-01\ngpu_pricing:\n  nvidia-t4: { on_demand: { price: 0.5, as_of: 2020-01-01 }, spot: 0.1 }\n  \
         nvidia-l4:\n    - { on_demand: { price: 0.7, as_of: 2026-07-01 } }\n    \
         - { valid_from: 2026-01-01, on_demand: { price: 0.8, as_of: 2025-07-01 } }\n\
         overrides:\n  - { match: { region: x }, gpu_pricing: { spot: { price: 1, as_of: 2025-01-01 } } }\n",
        &expect![[r#"
            line 1, as_of: the prices are 943 days old; look whether they still hold
            line 3, gpu_pricing.nvidia-t4.on_demand.as_of: the prices are 2404 days old; look whether they still hold
            line 6, gpu_pricing.nvidia-l4[2].on_demand.as_of: the prices are 396 days old; look whether they still hold
            line 8, overrides[1].gpu_pricing.spot.as_of: the prices are 577 days old; look whether they still hold
        "#]],
    );
    check_warnings("as_of: 2026-07-01\ngpu_pricing: { nvidia-t4: { on_demand: 0.5 } }\n", &expect![[""]]);
}

#[test]
fn an_override_is_held_against_list_prices() {
    check_warnings(
        "overrides:\n  - { match: { region: x }, gpu_pricing: { on_demand: 900000 } }\n  \
         - { match: { instance_type: p5.48xlarge }, node_pricing: { on_demand: 900000, spot: 0.0001 } }\n  \
         - { match: { gpu_model: nvidia-h100-80gb }, gpu_pricing: { on_demand: 55.04 } }\n  \
         - { match: { instance_type: p5.48xlarge }, node_pricing: { spot: 2.9 } }\n  \
         - { match: { instance_type: p5.48xlarge }, gpu_pricing: { spot: 24 } }\n  \
         - { match: { region: x }, node_pricing: { on_demand: 900000 } }\n\
         discounts:\n  - { match: { provider: aws }, percent: 100 }\n",
        &expect![[r#"
            line 2, overrides[1].gpu_pricing.on_demand: at least 16642 times the list price: is it in cents, or per month?
            line 3, overrides[2].node_pricing.on_demand: at least 9733 times the list price: is it in cents, or per month?
            line 3, overrides[2].node_pricing.spot: at most 1/550400 of the lowest list price: is it per minute, or in thousands?
            line 4, overrides[3].gpu_pricing.on_demand: exactly the price of a whole p5.48xlarge with 8 GPUs in us-east-1; write the price of one GPU
            line 5, overrides[4]: never has its turn: the first that matches counts, and the one in line 3 matches all that this does
            line 5, overrides[4].node_pricing.spot: looks like the price of one of the node's 8 GPUs; did you mean gpu_pricing?
            line 6, overrides[5]: never has its turn: the first that matches counts, and the one in line 3 matches all that this does
            line 6, overrides[5].gpu_pricing.spot: looks like the price of all 8 GPUs of the node; did you mean node_pricing?
            line 7, overrides[6]: never has its turn: the first that matches counts, and the one in line 2 matches all that this does
            line 7, overrides[6].node_pricing.on_demand: at least 1040 times the list price: is it in cents, or per month?
            line 9, discounts[1].percent: 100 percent off makes the GPUs free; is it the part that is paid?
        "#]],
    );
}

#[test]
fn prices_that_may_well_be_are_not_asked_about() {
    check_warnings(
        "overrides:\n  - { match: { instance_type: p5.48xlarge }, node_pricing: { on_demand: 30, spot: 12, reserved_3y: 20, owned: 9 } }\n  \
         - { match: { instance_type: p5.48xlarge }, gpu_pricing: { on_demand: 5, spot: 2.5, owned: 1.2 } }\n  \
         - { match: { instance_type: 'p5.*' }, node_pricing: { on_demand: 55.04, spot: 20 } }\n  \
         - { match: { gpu_model: nvidia-h100-80gb }, node_pricing: { on_demand: 98.32 } }\n  \
         - { match: { provider: mine }, gpu_pricing: { on_demand: 12 } }\n  \
         - { match: { instance_type: g4dn.xlarge }, node_pricing: { on_demand: 0.526, spot: 0.16 } }\n\
         discounts:\n  - { match: { provider: aws }, percent: 60 }\n",
        &expect![[r#"
            line 3, overrides[2]: never has its turn: the first that matches counts, and the one in line 2 matches all that this does
            line 6, overrides[5].gpu_pricing.on_demand: exactly the price of a whole a3-highgpu-2g with 2 GPUs in asia-east1; write the price of one GPU
        "#]],
    );
}

#[test]
fn what_contradicts_the_ledger_is_refused_with_the_reason() {
    check(
        "gpu_pricing: { default: { on_demand: 1 } }\nshared_costs: { idle: proportional }\n\
         defaults: { price_basis: gpu_only, missing_rate: zero }\n",
        &expect![[r#"
            line 2, shared_costs: expected no such key: what nobody holds is a line of its own
            line 3, defaults.price_basis: expected node_share, found the text `gpu_only`; the price of a node is divided by its GPUs whole, so that they add up to the bill
            line 3, defaults.missing_rate: expected fall_back, found the text `zero`; a price that nobody knows is unpriced, which is a state and no zero
        "#]],
    );
}
