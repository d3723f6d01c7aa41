//! The catalogue: every row resolves to what it says, and none has a known defect of public price lists.

use std::collections::BTreeMap;
use std::sync::Arc;

use gpu_cost_exporter::cost::gpu_model;
use gpu_cost_exporter::cost::money::Rate;
use gpu_cost_exporter::cost::pricing::{
    Date, NodeFacts, NodePrices, PriceModel, PriceRule, PriceSheet, Quote,
};
use gpu_cost_exporter::observation::{Node, UnixTime};
use gpu_cost_exporter::pricing_file;

const INSTANCES: &str = include_str!("../../../data/gpu_instance_prices.csv");
const COMMITMENTS: &str = include_str!("../../../data/gpu_reserved_prices.csv");

/// A label by which each provider is known.
const PROVIDERS: [(&str, &str); 3] = [
    ("aws", "karpenter.k8s.aws/x"),
    ("gcp", "cloud.google.com/gke-nodepool"),
    ("azure", "kubernetes.azure.com/agentpool"),
];

fn rows(table: &'static str) -> Vec<BTreeMap<&'static str, &'static str>> {
    let mut lines = table.lines();
    let columns: Vec<_> = lines.next().unwrap().split(',').collect();
    lines.map(|line| columns.iter().copied().zip(line.split(',')).collect()).collect()
}

/// A number of dollars in billionths, by moving its digits.
fn nanos(text: &str) -> u64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<9}").parse().unwrap()
}

pub(super) fn sheet() -> PriceSheet {
    pricing_file::sheet(None, Some(pricing_file::catalogue()))
}

pub(super) fn facts(sheet: &PriceSheet, labels: &[(&str, &str)], gpus: usize) -> NodeFacts {
    let labels = labels.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect();
    let node = Arc::new(Node { name: "node".into(), labels });
    NodeFacts::of(&node, gpus, UnixTime::from_millis(1_785_542_400_000), sheet.catalogue.as_deref())
}

fn node_of(sheet: &PriceSheet, row: &BTreeMap<&str, &str>, gpus: usize) -> NodeFacts {
    let provider = PROVIDERS.iter().find(|(provider, _)| *provider == row["provider"]).unwrap().1;
    let labels = [
        (provider, "x"),
        ("topology.kubernetes.io/region", row["region"]),
        ("node.kubernetes.io/instance-type", row["instance_type"]),
    ];
    facts(sheet, &labels, gpus)
}

/// The quotes of all GPUs of a node.
fn quotes(prices: &NodePrices<'_>, model: &str, gpus: usize) -> Vec<Quote> {
    (0..gpus).map(|position| prices.quote(model, position).unwrap()).collect()
}

fn sum(quotes: &[Quote]) -> u64 {
    quotes.iter().map(|quote| quote.effective).sum::<Rate>().nanos_per_hour()
}

/// How many devices a node with so many GPUs shows: a part of a GPU is one device.
fn devices(gpu_count: &str) -> usize {
    gpu_count.parse().unwrap_or(1)
}

/// Checks one price of a row: its GPUs add up to it.
fn check(sheet: &PriceSheet, row: &BTreeMap<&str, &str>, wanted: PriceModel, price: &str) {
    let gpus = devices(row["gpu_count"]);
    let node = node_of(sheet, row, gpus);
    assert_eq!(node.provider.as_deref(), Some(row["provider"]));
    let quotes = quotes(&sheet.on(&node, Some(wanted)), row["gpu_model"], gpus);
    assert_eq!(sum(&quotes), nanos(price), "{wanted:?} of {row:?}");
    let key = format!("catalogue:{}/{}/{}@20", row["provider"], row["region"], row["instance_type"]);
    for quote in &quotes {
        assert_eq!(quote.rule, PriceRule::Catalogue);
        assert!(quote.rule_in_full().starts_with(&key), "{}", quote.rule_in_full());
        assert!(quote.source.is_some());
    }
    // Commitments are a table without these prices.
    if let Some(list) = row.get("on_demand_usd_per_hour").filter(|price| !price.is_empty()) {
        let lists = quotes.iter().map(|quote| quote.list.unwrap()).sum::<Rate>();
        assert_eq!(lists.nanos_per_hour(), nanos(list), "{row:?}");
    }
}

#[test]
fn the_day_of_the_built_in_list_is_not_one_that_the_operator_wrote() {
    let sheet = sheet();
    let today = Date::from_calendar(2026, 8, 1).unwrap();
    assert_eq!(sheet.own_as_of(today), None);
    assert!(sheet.built_in_as_of(today).is_some());
}

#[test]
fn a_price_that_holds_no_longer_or_not_yet_is_not_old() {
    let file = super::parse(
        "gpu_pricing:\n  nvidia-t4:\n    - { on_demand: 1, as_of: 2024-01-01 }\n    \
         - { valid_from: 2026-07-01, on_demand: 2, as_of: 2026-06-20 }\n    \
         - { valid_from: 2026-09-01, on_demand: 3, as_of: 2026-05-01 }\n\
         overrides:\n  - { match: { region: x }, valid_until: 2026-03-01, as_of: 2024-02-01, gpu_pricing: { spot: 1 } }\n  \
         - { match: { region: y }, valid_from: 2026-08-15, as_of: 2026-04-01, gpu_pricing: { spot: 1 } }\n",
    );
    let sheet = pricing_file::sheet(Some(file.unwrap()), None);
    let on = |month, day| {
        let day = sheet.own_as_of(Date::from_calendar(2026, month, day).unwrap());
        day.map(|day| day.to_string()).unwrap()
    };
    assert_eq!([on(1, 1), on(4, 1)], ["2024-01-01", "2024-01-01"]);
    assert_eq!([on(8, 1), on(8, 15), on(9, 1)], ["2026-06-20", "2026-04-01", "2026-04-01"]);
}

#[test]
fn every_price_of_both_tables_is_found() {
    let sheet = sheet();
    let (mut on_demand, mut spot, mut committed) = (0, 0, 0);
    for row in rows(INSTANCES) {
        assert_eq!(&*gpu_model::of_product(row["gpu_model"]), row["gpu_model"]);
        if !row["on_demand_usd_per_hour"].is_empty() {
            on_demand += 1;
            check(&sheet, &row, PriceModel::OnDemand, row["on_demand_usd_per_hour"]);
        }
        if !row["spot_usd_per_hour"].is_empty() {
            spot += 1;
            check(&sheet, &row, PriceModel::Spot, row["spot_usd_per_hour"]);
        }
    }
    for row in rows(COMMITMENTS) {
        for (model, column) in [
            (PriceModel::Reserved1y, "reserved_1y_no_upfront_usd_per_hour"),
            (PriceModel::Reserved3y, "reserved_3y_no_upfront_usd_per_hour"),
        ] {
            if !row[column].is_empty() {
                committed += 1;
                check(&sheet, &row, model, row[column]);
            }
        }
    }
    assert_eq!((on_demand, spot, committed), (2_204, 1_122, 997 + 1_026));
    assert_eq!(sheet.catalogue.unwrap().instances().count(), 2_207);
}

/// A quote for the first GPU of an instance.
#[track_caller]
fn first(labels: &[(&str, &str)], gpus: usize, model: &str) -> Option<(String, String, bool, PriceModel)> {
    let sheet = sheet();
    let node = facts(&sheet, labels, gpus);
    let quote = sheet.on(&node, None).quote(model, 0)?;
    let rule = quote.rule_in_full();
    let dollars = quote.effective.dollars_per_hour().to_string();
    Some((dollars, rule, quote.fell_back, quote.price_model))
}

const TYPE: &str = "node.kubernetes.io/instance-type";
const REGION: &str = "topology.kubernetes.io/region";
const KARPENTER: &str = "karpenter.sh/capacity-type";

#[track_caller]
fn is(
    found: Option<(String, String, bool, PriceModel)>,
    dollars: &str,
    rule: &str,
    fell_back: bool,
    model: PriceModel,
) {
    let (found_dollars, found_rule, found_fell_back, found_model) = found.unwrap();
    assert_eq!((found_dollars.as_str(), found_rule.as_str()), (dollars, rule));
    assert_eq!((found_fell_back, found_model), (fell_back, model));
}

/// Defect 1: rows of another kind of contract among the on-demand prices.
#[test]
fn the_h100_of_gcp_costs_its_list_price() {
    let at = |region| {
        let labels = [("cloud.google.com/gke-nodepool", "a"), (REGION, region), (TYPE, "a3-highgpu-8g")];
        first(&labels, 8, "nvidia-h100-80gb").unwrap().0
    };
    assert_eq!(at("us-central1"), "11.06125");
    // The cheap row of the defect was 33.61 for eight.
    for region in ["us-central1", "us-east4", "us-west1", "europe-west4"] {
        assert!(at(region).parse::<f64>().unwrap() > 11.0, "{region}: {}", at(region));
    }
}

/// Defects 2 and 5: an instance with the wrong number of GPUs.
#[test]
fn an_instance_has_the_gpus_that_it_has() {
    let catalogue = pricing_file::catalogue();
    let gpus = |name| catalogue.of_type(name).map(|it| it.gpus).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(gpus("Standard_ND96isr_H100_v5"), [Some(8)].into());
    assert_eq!(gpus("Standard_ND128isr_NDR_GB200_v6"), [Some(4)].into());
    assert_eq!(gpus("p5.48xlarge"), [Some(8)].into());
    assert!(catalogue.instances().all(|it| it.gpus.is_none_or(|gpus| (1..=16).contains(&gpus))));
}

/// Defect 3: a spot price that is none.
#[test]
fn a_spot_price_that_equals_on_demand_is_none() {
    let labels = [(KARPENTER, "spot"), (REGION, "ap-northeast-1"), (TYPE, "p5.4xlarge")];
    let rule = "catalogue:aws/ap-northeast-1/p5.4xlarge@2026-01-21";
    is(first(&labels, 1, "nvidia-h100-80gb"), "8.6", rule, true, PriceModel::OnDemand);
    for instance in pricing_file::catalogue().instances() {
        assert_ne!(instance.prices.spot, instance.prices.on_demand, "{instance:?}");
    }
}

/// Defect 4: a label that says that a part of a GPU is none.
#[test]
fn a_part_of_a_gpu_costs_the_whole_instance() {
    let labels = [
        ("karpenter.k8s.aws/instance-gpu-count", "0"),
        (KARPENTER, "on-demand"),
        (REGION, "us-east-1"),
        (TYPE, "g6f.large"),
    ];
    let rule = "catalogue:aws/us-east-1/g6f.large@2026-07-20";
    is(first(&labels, 1, "nvidia-l4-3q"), "0.202", rule, false, PriceModel::OnDemand);
    let labels = [("agentpool", "a"), (REGION, "eastus"), (TYPE, "Standard_NV6ads_A10_v5")];
    let rule = "catalogue:azure/eastus/Standard_NV6ads_A10_v5@2026-06-18";
    is(first(&labels, 1, "nvidia-a10-4q"), "0.454", rule, false, PriceModel::OnDemand);
}

/// Defect 6: a model that follows from the name of a family.
#[test]
fn a_family_is_no_gpu_model() {
    let catalogue = pricing_file::catalogue();
    let models = |name| {
        catalogue.of_type(name).map(|it| it.gpu_model.to_string()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(models("g5g.xlarge"), ["nvidia-t4g".to_owned()].into());
    assert_eq!(models("g6f.large"), ["nvidia-l4".to_owned()].into());
}

/// Defect 7: a price of a machine that is not offered there.
#[test]
fn what_is_not_offered_has_no_row() {
    let catalogue = pricing_file::catalogue();
    let mut there = catalogue.instances().filter(|it| &*it.region == "africa-south1");
    assert!(there.all(|it| !it.instance_type.starts_with("a2-")));
    let labels = [("cloud.google.com/gke-spot", "true"), (REGION, "africa-south1"), (TYPE, "a2-highgpu-1g")];
    is(first(&labels, 1, "nvidia-a100-40gb"), "1.0000125", "built_in", false, PriceModel::Spot);
}

/// Defect 8: prices in another currency.
#[test]
fn regions_with_another_currency_have_no_row() {
    let catalogue = pricing_file::catalogue();
    assert!(catalogue.instances().all(|it| !it.region.starts_with("cn-") && !it.region.starts_with("china")));
    let labels = [(KARPENTER, "on-demand"), (REGION, "cn-north-1"), (TYPE, "p3.2xlarge")];
    is(first(&labels, 1, "nvidia-v100-16gb"), "3.06", "built_in", false, PriceModel::OnDemand);
}

#[test]
fn without_an_on_demand_price_the_next_rule_counts() {
    let at = |capacity| [(KARPENTER, capacity), (REGION, "us-east-2"), (TYPE, "p5e.48xlarge")];
    let rule = "catalogue:aws/us-east-2/p5e.48xlarge@2026-01-01";
    is(first(&at("spot"), 8, "nvidia-h200"), "5.108225", rule, false, PriceModel::Spot);
    is(first(&at("on-demand"), 8, "nvidia-h200"), "7.912", "built_in", false, PriceModel::OnDemand);
}

#[test]
fn without_a_spot_price_a_spot_node_is_paid_on_demand() {
    let labels = [
        ("kubernetes.azure.com/scalesetpriority", "spot"),
        (REGION, "eastus"),
        (TYPE, "Standard_ND96isr_H100_v5"),
    ];
    let rule = "catalogue:azure/eastus/Standard_ND96isr_H100_v5@2026-06-18";
    is(first(&labels, 8, "nvidia-h100-80gb"), "12.29", rule, true, PriceModel::OnDemand);
}

#[test]
fn a_gpu_that_the_driver_does_not_show_makes_the_others_no_dearer() {
    let at = |gpus| {
        let labels = [(KARPENTER, "on-demand"), (REGION, "us-east-1"), (TYPE, "p5.48xlarge")];
        first(&labels, gpus, "nvidia-h100-80gb").unwrap().0
    };
    assert_eq!([at(8), at(7), at(1)], ["6.88", "6.88", "6.88"]);
    assert_eq!(at(16), "3.44");
}
