//! Which rate applies, and by which rule: files, nodes and what they cost.

use gpu_cost_exporter::cost::attribution::{MigShare, SharingPolicy};
use gpu_cost_exporter::cost::gpu_model;
use gpu_cost_exporter::cost::pricing::{Date, Intensity, NodeFacts, PriceModel, Tariff};
use gpu_cost_exporter::pricing_file::{self, PricingFile};

use super::catalogue::facts;
use super::{VERSION_1, parse};

pub(super) const VERSION_2: &str = include_str!("../../pricing/version-2.yaml");

const TYPE: &str = "node.kubernetes.io/instance-type";
const OLD_TYPE: &str = "beta.kubernetes.io/instance-type";
const REGION: &str = "topology.kubernetes.io/region";
const OLD_REGION: &str = "failure-domain.beta.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const KARPENTER: &str = "karpenter.sh/capacity-type";
const BLOCK: &str = "karpenter.k8s.aws/capacity-reservation-type";
const EKS: &str = "eks.amazonaws.com/capacityType";
const GKE: &str = "cloud.google.com/gke-nodepool";
const GKE_SPOT: &str = "cloud.google.com/gke-spot";
const AKS: &str = "kubernetes.azure.com/agentpool";
const AKS_SPOT: &str = "kubernetes.azure.com/scalesetpriority";

const H100: &str = "NVIDIA H100 80GB HBM3";
const T4: &str = "Tesla T4";

/// No file.
const NONE: &str = "";
/// A row for every price model.
const ALL: &str = "gpu_pricing: { nvidia-h100-80gb: { on_demand: 8, spot: 1, reserved_1y: 2, reserved_3y: 3, savings_plan: 4, capacity_block: 5, flex_start: 6, owned: 7 } }";
/// A price on demand and a default.
const PLAIN: &str =
    "gpu_pricing: { nvidia-h100-80gb: { on_demand: 8 }, default: { on_demand: 1, spot: 0.5 } }";
/// Overrides from the narrow to the wide.
const OVERRIDES: &str = "overrides:
- { name: pool, match: { node_labels: { pool: dgx } }, gpu_pricing: { on_demand: 1, owned: 1.39 } }
- { name: node, match: { provider: gcp, region: us-central1, instance_type: a3-highgpu-8g }, node_pricing: { on_demand: 88.49, spot: 50.61 }, gpus_per_node: 8 }
- { name: zone, match: { zone: us-east-1b }, gpu_pricing: { on_demand: 2 } }
- { name: family, match: { instance_type: 'P5*' }, gpu_pricing: { on_demand: 3 } }
- { name: model, match: { gpu_model: Tesla T4, provider: AWS }, gpu_pricing: { on_demand: 4 } }
- { match: { region: eu-west-1 }, gpu_pricing: { on_demand: 5 } }
- { name: old, match: { region: eu-north-1 }, valid_until: 2026-08-01, gpu_pricing: { on_demand: 6 } }
- { name: new, match: { region: eu-north-1 }, valid_from: 2026-08-01, gpu_pricing: { on_demand: 7 } }
- { name: bought, match: { node_labels: { pool: reserved } }, price_model: reserved_1y }";
const RULES: &str = "price_model_rules:
- { label: pool, values: { cheap: spot, committed: reserved_3y, block: capacity_block } }
- { label: other, values: { x: savings_plan } }
defaults: { price_model: reserved_1y }";
const DISCOUNTS: &str =
    "discounts: [{ match: { provider: aws, region: us-east-1 }, percent: 8 }, { percent: 50 }]";
const EURO: &str =
    "currency: EUR\nexchange_rates: { EUR: 1.1 }\ngpu_pricing: { nvidia-h100-80gb: { on_demand: 5 } }";
const DATED: &str = "gpu_pricing: { nvidia-h100-80gb: [{ on_demand: 1 }, { valid_from: 2026-08-01, on_demand: 2 }, { valid_from: 2026-08-02, on_demand: 3 }] }";
const ALIAS: &str = "gpu_pricing: { nvidia-h100-80gb: { on_demand: 8, aliases: [Engineering Sample] } }";
const OWNED: &str = "owned_hardware: { dgx: { gpu_model: nvidia-h100-80gb, gpus: 8, server_usd: 300000, life_years: 4, opex_pct: 0.05, kw: 10.2, load_factor: 0.8, usd_per_kwh: 0.08, pue: 1.3 } }\nprice_model_rules: [{ label: pool, values: { dgx: owned } }]";
const ALIAS_MATCHED: &str = "gpu_pricing: { nvidia-h100-80gb: { on_demand: 6, aliases: [NVIDIA Engineering Sample] } }\noverrides: [{ match: { gpu_model: NVIDIA Engineering Sample }, gpu_pricing: { on_demand: 4 } }]\ndiscounts: [{ match: { gpu_model: nvidia-h100-80gb }, percent: 10 }]";
const OWNED_ALIAS: &str = "owned_hardware: { dgx: { gpu_model: NVIDIA Sample, gpus: 8, server_usd: 70080, life_years: 1 } }\ngpu_pricing: { nvidia-h100-80gb: { on_demand: 3, aliases: [NVIDIA Sample] } }";
const OWNED_LATER: &str = "owned_hardware: { dgx: { gpu_model: nvidia-h100-80gb, gpus: 8, server_usd: 70080, life_years: 1 } }\ngpu_pricing: { nvidia-h100-80gb: [{ valid_from: 2026-08-01, on_demand: 3 }] }";
const FREE: &str = "gpu_pricing: { nvidia-t4: { spot: 0.1 } }";

type Labels<'a> = &'a [(&'a str, &'a str)];

/// The file, the labels of the node, its GPUs, the price model that is asked for, what one costs, and why.
type Case = (&'static str, Labels<'static>, (&'static str, usize), Option<PriceModel>, &'static str);

const CASES: &[Case] = &[
    // Nothing is known of the node: the model's list price.
    (NONE, &[], (H100, 8), None, "6.88 on_demand built_in"),
    (NONE, &[], (H100, 8), Some(PriceModel::Spot), "2.93165625 spot built_in"),
    (NONE, &[], (H100, 8), Some(PriceModel::Reserved1y), "6.88 on_demand! built_in"),
    (NONE, &[], (T4, 1), Some(PriceModel::Reserved1y), "0.331 reserved_1y built_in"),
    (NONE, &[], ("NVIDIA A30", 1), None, "unpriced"),
    (NONE, &[(KARPENTER, "spot")], (T4, 1), None, "0.1766 spot built_in"),
    (NONE, &[(KARPENTER, "spot")], (T4, 1), Some(PriceModel::OnDemand), "0.526 on_demand built_in"),
    // AWS, by Karpenter and EKS.
    (
        NONE,
        &[(KARPENTER, "on-demand"), (REGION, "us-east-1"), (TYPE, "p5.48xlarge")],
        (H100, 8),
        None,
        "6.88 on_demand catalogue:aws/us-east-1/p5.48xlarge@2026-07-20",
    ),
    (
        NONE,
        &[(KARPENTER, "spot"), (REGION, "us-east-1"), (TYPE, "p5.48xlarge")],
        (H100, 8),
        None,
        "2.93165625 spot catalogue:aws/us-east-1/p5.48xlarge@2026-01-01",
    ),
    (
        NONE,
        &[(KARPENTER, "reserved"), (REGION, "us-east-1"), (TYPE, "p5.48xlarge")],
        (H100, 8),
        None,
        "6.88 on_demand catalogue:aws/us-east-1/p5.48xlarge@2026-07-20",
    ),
    (
        NONE,
        &[(KARPENTER, "reserved"), (BLOCK, "capacity-block"), (REGION, "us-east-1"), (TYPE, "p5.48xlarge")],
        (H100, 8),
        None,
        "6.88 on_demand! catalogue:aws/us-east-1/p5.48xlarge@2026-07-20",
    ),
    (
        NONE,
        &[(KARPENTER, "reserved"), (BLOCK, "default"), (REGION, "us-east-1"), (TYPE, "p5.48xlarge")],
        (H100, 8),
        None,
        "6.88 on_demand catalogue:aws/us-east-1/p5.48xlarge@2026-07-20",
    ),
    (
        NONE,
        &[(EKS, "SPOT"), (REGION, "us-east-1"), (TYPE, "g4dn.xlarge")],
        (T4, 1),
        None,
        "0.1766 spot catalogue:aws/us-east-1/g4dn.xlarge@2025-11-30",
    ),
    (
        NONE,
        &[(EKS, "ON_DEMAND"), (REGION, "us-east-1"), (TYPE, "g4dn.xlarge")],
        (T4, 1),
        None,
        "0.526 on_demand catalogue:aws/us-east-1/g4dn.xlarge@2026-07-20",
    ),
    (
        NONE,
        &[(EKS, "CAPACITY_BLOCK"), (REGION, "us-east-1"), (TYPE, "g4dn.xlarge")],
        (T4, 1),
        None,
        "0.526 on_demand! catalogue:aws/us-east-1/g4dn.xlarge@2026-07-20",
    ),
    (
        NONE,
        &[(EKS, "ON_DEMAND"), (REGION, "us-east-1"), (TYPE, "g4dn.12xlarge")],
        (T4, 4),
        None,
        "0.978 on_demand catalogue:aws/us-east-1/g4dn.12xlarge@2026-07-20",
    ),
    (
        NONE,
        &[(EKS, "ON_DEMAND"), (REGION, "us-east-1"), (TYPE, "p4d.24xlarge")],
        ("NVIDIA A100-SXM4-40GB", 8),
        Some(PriceModel::Reserved1y),
        "1.74013675 reserved_1y catalogue:aws/us-east-1/p4d.24xlarge@2025-11-30",
    ),
    (
        NONE,
        &[(EKS, "ON_DEMAND"), (REGION, "us-east-1"), (TYPE, "p4d.24xlarge")],
        ("NVIDIA A100-SXM4-40GB", 8),
        Some(PriceModel::Reserved3y),
        "1.171777375 reserved_3y catalogue:aws/us-east-1/p4d.24xlarge@2025-11-30",
    ),
    (
        NONE,
        &[(EKS, "ON_DEMAND"), (REGION, "us-east-1"), (TYPE, "p4d.24xlarge")],
        ("NVIDIA A100-SXM4-40GB", 8),
        Some(PriceModel::SavingsPlan),
        "2.74470525 on_demand! catalogue:aws/us-east-1/p4d.24xlarge@2026-07-20",
    ),
    (
        NONE,
        &[(EKS, "ON_DEMAND"), (REGION, "atlantis-1"), (TYPE, "g4dn.12xlarge")],
        (T4, 4),
        None,
        "0.526 on_demand built_in",
    ),
    (
        NONE,
        &[(EKS, "ON_DEMAND"), (REGION, "us-east-1"), (TYPE, "g99.unheard")],
        (T4, 4),
        None,
        "0.526 on_demand built_in",
    ),
    // Nobody tells the provider, but only one has such an instance type.
    (
        NONE,
        &[(REGION, "us-east-1"), (TYPE, "g4dn.12xlarge")],
        (T4, 4),
        None,
        "0.978 on_demand catalogue:aws/us-east-1/g4dn.12xlarge@2026-07-20",
    ),
    (
        NONE,
        &[(REGION, "us-east-1"), (TYPE, "G4DN.12xlarge")],
        (T4, 4),
        None,
        "0.978 on_demand catalogue:aws/us-east-1/g4dn.12xlarge@2026-07-20",
    ),
    (
        NONE,
        &[(OLD_REGION, "us-east-1"), (OLD_TYPE, "g4dn.12xlarge")],
        (T4, 4),
        None,
        "0.978 on_demand catalogue:aws/us-east-1/g4dn.12xlarge@2026-07-20",
    ),
    (NONE, &[(TYPE, "g4dn.12xlarge")], (T4, 4), None, "0.526 on_demand built_in"),
    // A provider that has no such instance type.
    (
        NONE,
        &[("alibabacloud.com/nodepool-id", "np"), (REGION, "us-east-1"), (TYPE, "g4dn.12xlarge")],
        (T4, 4),
        None,
        "0.526 on_demand built_in",
    ),
    // GCP.
    (
        NONE,
        &[(GKE, "a"), (REGION, "us-central1"), (TYPE, "a3-highgpu-8g")],
        (H100, 8),
        None,
        "11.06125 on_demand catalogue:gcp/us-central1/a3-highgpu-8g@2026-07-30",
    ),
    (
        NONE,
        &[(GKE, "a"), (GKE_SPOT, "true"), (REGION, "us-central1"), (TYPE, "a3-highgpu-8g")],
        (H100, 8),
        None,
        "6.326192625 spot catalogue:gcp/us-central1/a3-highgpu-8g@2026-07-30",
    ),
    (
        NONE,
        &[("cloud.google.com/gke-preemptible", "true"), (REGION, "us-central1"), (TYPE, "a3-highgpu-8g")],
        (H100, 8),
        None,
        "6.326192625 spot catalogue:gcp/us-central1/a3-highgpu-8g@2026-07-30",
    ),
    (
        NONE,
        &[("cloud.google.com/gke-provisioning", "spot"), (REGION, "us-central1"), (TYPE, "a3-highgpu-8g")],
        (H100, 8),
        None,
        "6.326192625 spot catalogue:gcp/us-central1/a3-highgpu-8g@2026-07-30",
    ),
    (
        NONE,
        &[("cloud.google.com/gke-flex-start", "true"), (REGION, "us-central1"), (TYPE, "a3-highgpu-8g")],
        (H100, 8),
        None,
        "11.06125 on_demand! catalogue:gcp/us-central1/a3-highgpu-8g@2026-07-30",
    ),
    (
        NONE,
        &[(GKE, "a"), (REGION, "us-central1"), (TYPE, "g2-standard-4")],
        ("NVIDIA L4", 1),
        None,
        "0.706832 on_demand catalogue:gcp/us-central1/g2-standard-4@2026-07-30",
    ),
    // Azure, which publishes no spot prices.
    (
        NONE,
        &[(AKS, "a"), (REGION, "eastus"), (TYPE, "Standard_NC4as_T4_v3")],
        (T4, 1),
        None,
        "0.526 on_demand catalogue:azure/eastus/Standard_NC4as_T4_v3@2026-06-18",
    ),
    (
        NONE,
        &[(AKS_SPOT, "spot"), (REGION, "eastus"), (TYPE, "Standard_NC4as_T4_v3")],
        (T4, 1),
        None,
        "0.526 on_demand! catalogue:azure/eastus/Standard_NC4as_T4_v3@2026-06-18",
    ),
    (
        NONE,
        &[(AKS_SPOT, "regular"), (REGION, "eastus"), (TYPE, "Standard_ND96isr_H100_v5")],
        (H100, 8),
        None,
        "12.29 on_demand catalogue:azure/eastus/Standard_ND96isr_H100_v5@2026-06-18",
    ),
    (
        NONE,
        &[(AKS, "a"), (REGION, "eastus"), (TYPE, "Standard_NV6ads_A10_v5")],
        ("NVIDIA A10-4Q", 1),
        None,
        "0.454 on_demand catalogue:azure/eastus/Standard_NV6ads_A10_v5@2026-06-18",
    ),
    // The operator's price of the model is before the instance's list price, and the default after all else.
    (
        PLAIN,
        &[(KARPENTER, "on-demand"), (REGION, "us-east-1"), (TYPE, "p5.48xlarge")],
        (H100, 8),
        None,
        "8 on_demand file",
    ),
    (
        PLAIN,
        &[(KARPENTER, "spot"), (REGION, "us-east-1"), (TYPE, "p5.48xlarge")],
        (H100, 8),
        None,
        "8 on_demand! file",
    ),
    (
        PLAIN,
        &[(KARPENTER, "spot"), (REGION, "us-east-1"), (TYPE, "g4dn.xlarge")],
        (T4, 1),
        None,
        "0.1766 spot catalogue:aws/us-east-1/g4dn.xlarge@2025-11-30",
    ),
    (PLAIN, &[], ("NVIDIA A30", 1), None, "1 on_demand file_default"),
    (PLAIN, &[(GKE_SPOT, "true")], ("NVIDIA A30", 1), None, "0.5 spot file_default"),
    (FREE, &[], (T4, 1), None, "0.526 on_demand built_in"),
    (FREE, &[], (T4, 1), Some(PriceModel::Spot), "0.1 spot file"),
    (VERSION_1, &[], ("NVIDIA A100 80GB PCIe", 1), None, "3.5 on_demand file"),
    (VERSION_1, &[(EKS, "SPOT")], ("NVIDIA A100 80GB PCIe", 1), None, "1.2 spot file"),
    (VERSION_1, &[], ("NVIDIA A100 80GB PCIe", 1), Some(PriceModel::Reserved1y), "2.1 reserved_1y file"),
    // Every price model has its column.
    (ALL, &[], (H100, 8), Some(PriceModel::Spot), "1 spot file"),
    (ALL, &[], (H100, 8), Some(PriceModel::Reserved1y), "2 reserved_1y file"),
    (ALL, &[], (H100, 8), Some(PriceModel::Reserved3y), "3 reserved_3y file"),
    (ALL, &[], (H100, 8), Some(PriceModel::SavingsPlan), "4 savings_plan file"),
    (ALL, &[(EKS, "CAPACITY_BLOCK")], (H100, 8), None, "5 capacity_block file"),
    (ALL, &[(KARPENTER, "reserved"), (BLOCK, "capacity-block")], (H100, 8), None, "5 capacity_block file"),
    (ALL, &[("cloud.google.com/gke-flex-start", "true")], (H100, 8), None, "6 flex_start file"),
    (ALL, &[], (H100, 8), Some(PriceModel::Owned), "7 owned file"),
    // Overrides: the first that matches.
    (
        OVERRIDES,
        &[("pool", "dgx"), (GKE, "a"), (REGION, "us-central1"), (TYPE, "a3-highgpu-8g")],
        (H100, 8),
        None,
        "1 on_demand override:pool",
    ),
    (OVERRIDES, &[("pool", "dgx")], (H100, 8), Some(PriceModel::Owned), "1.39 owned override:pool"),
    (
        OVERRIDES,
        &[(GKE, "a"), (REGION, "us-central1"), (TYPE, "a3-highgpu-8g")],
        (H100, 8),
        None,
        "11.06125 on_demand override:node",
    ),
    (
        OVERRIDES,
        &[(GKE, "a"), (GKE_SPOT, "true"), (REGION, "us-central1"), (TYPE, "a3-highgpu-8g")],
        (H100, 8),
        None,
        "6.32625 spot override:node",
    ),
    (
        OVERRIDES,
        &[(GKE, "a"), (REGION, "us-central1"), (TYPE, "a3-highgpu-8g")],
        (H100, 7),
        None,
        "11.06125 on_demand override:node",
    ),
    (
        OVERRIDES,
        &[(GKE, "a"), (REGION, "us-east4"), (TYPE, "g2-standard-4")],
        ("NVIDIA L4", 1),
        None,
        "0.704518 on_demand catalogue:gcp/us-east4/g2-standard-4@2026-07-30",
    ),
    (OVERRIDES, &[(ZONE, "us-east-1b"), (TYPE, "p5.48xlarge")], (H100, 8), None, "2 on_demand override:zone"),
    (
        OVERRIDES,
        &[(ZONE, "us-east-1a"), (TYPE, "p5.48xlarge")],
        (H100, 8),
        None,
        "3 on_demand override:family",
    ),
    (OVERRIDES, &[(EKS, "SPOT"), (TYPE, "g4dn.xlarge")], (T4, 1), None, "4 on_demand! override:model"),
    (OVERRIDES, &[(GKE, "a"), (TYPE, "n1-standard-4")], (T4, 1), None, "0.526 on_demand built_in"),
    (OVERRIDES, &[(REGION, "eu-west-1")], (T4, 1), None, "5 on_demand override:6"),
    (OVERRIDES, &[(REGION, "eu-north-1")], (T4, 1), None, "7 on_demand override:new"),
    (OVERRIDES, &[("pool", "reserved"), (KARPENTER, "spot")], (T4, 1), None, "0.331 reserved_1y built_in"),
    (OVERRIDES, &[("pool", "reserved")], (T4, 1), Some(PriceModel::Spot), "0.1766 spot built_in"),
    // The operator's labels come before ours, and what is usual after them.
    (RULES, &[("pool", "cheap"), (KARPENTER, "on-demand")], (T4, 1), None, "0.1766 spot built_in"),
    (RULES, &[("pool", "else"), (KARPENTER, "spot")], (T4, 1), None, "0.1766 spot built_in"),
    (RULES, &[("pool", "else")], (T4, 1), None, "0.331 reserved_1y built_in"),
    (RULES, &[("other", "x")], (T4, 1), None, "0.526 on_demand! built_in"),
    (
        RULES,
        &[("pool", "committed"), (REGION, "us-east-1"), (TYPE, "g4dn.xlarge")],
        (T4, 1),
        None,
        "0.227 reserved_3y catalogue:aws/us-east-1/g4dn.xlarge@2025-11-30",
    ),
    // Discounts touch what is bought at list price.
    (
        DISCOUNTS,
        &[(KARPENTER, "on-demand"), (REGION, "us-east-1"), (TYPE, "p5.48xlarge")],
        (H100, 8),
        None,
        "6.3296 on_demand catalogue:aws/us-east-1/p5.48xlarge@2026-07-20",
    ),
    (
        DISCOUNTS,
        &[(KARPENTER, "spot"), (REGION, "us-east-1"), (TYPE, "p5.48xlarge")],
        (H100, 8),
        None,
        "2.93165625 spot catalogue:aws/us-east-1/p5.48xlarge@2026-01-01",
    ),
    (
        DISCOUNTS,
        &[(KARPENTER, "spot"), (REGION, "us-east-1"), (TYPE, "g4dn.xlarge")],
        (T4, 1),
        Some(PriceModel::Reserved1y),
        "0.30452 reserved_1y catalogue:aws/us-east-1/g4dn.xlarge@2025-11-30",
    ),
    (DISCOUNTS, &[], (T4, 1), None, "0.263 on_demand built_in"),
    // However fine they are.
    ("discounts: [{ percent: 0.50625 }]", &[], (T4, 1), None, "0.523337125 on_demand built_in"),
    // However the case was written.
    (
        NONE,
        &[(AKS, "gpu"), (REGION, "EastUS"), (TYPE, "standard_nd96isr_h100_v5")],
        (H100, 8),
        None,
        "12.29 on_demand catalogue:azure/eastus/Standard_ND96isr_H100_v5@2026-06-18",
    ),
    // Currencies, days, names, and hardware of one's own.
    (EURO, &[], (H100, 8), None, "5.5 on_demand file"),
    (EURO, &[], (T4, 1), None, "0.526 on_demand built_in"),
    (DATED, &[], (H100, 8), None, "2 on_demand file"),
    (ALIAS, &[], ("NVIDIA Engineering Sample", 1), None, "8 on_demand file"),
    (ALIAS, &[], ("NVIDIA Engineering", 1), None, "unpriced"),
    (OWNED, &[("pool", "dgx")], (H100, 8), None, "1.390326575 owned file"),
    (OWNED, &[], (H100, 8), None, "6.88 on_demand built_in"),
    (OWNED_LATER, &[], (H100, 8), Some(PriceModel::Owned), "1 owned file"),
    (ALIAS_MATCHED, &[], ("NVIDIA Engineering Sample", 1), None, "3.6 on_demand override:1"),
    (ALIAS_MATCHED, &[], (H100, 1), None, "3.6 on_demand override:1"),
    (OWNED_ALIAS, &[], (H100, 8), Some(PriceModel::Owned), "1 owned file"),
];

/// What the first GPU of a node costs, under which price model (`!` where it is not the wanted one), and by which rule.
fn resolve(text: &str, labels: Labels<'_>, product: &str, gpus: usize, told: Option<PriceModel>) -> String {
    let file = (!text.is_empty()).then(|| parse(text).unwrap());
    let sheet = pricing_file::sheet(file, Some(pricing_file::catalogue()));
    let node: NodeFacts = facts(&sheet, labels, gpus);
    let Some(quote) = sheet.on(&node, told).quote(&gpu_model::of_product(product), 0) else {
        return "unpriced".to_owned();
    };
    let (rate, model) = (quote.effective.dollars_per_hour(), quote.price_model.as_str());
    let fell_back = if quote.fell_back { "!" } else { "" };
    format!("{rate} {model}{fell_back} {}", quote.rule_in_full())
}

#[test]
fn every_gpu_has_its_rate_and_its_rule() {
    assert!(CASES.len() >= 60, "{}", CASES.len());
    let mut wrong = Vec::new();
    for (text, labels, (product, gpus), told, expected) in CASES {
        let found = resolve(text, labels, product, *gpus, *told);
        if found != *expected {
            wrong.push(format!(
                "{labels:?} {product} {told:?}\n  expected {expected}\n  found    {found}\n  {text}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_spot_saved_is_the_difference_of_two_prices() {
    let sheet = pricing_file::sheet(None, Some(pricing_file::catalogue()));
    let node = facts(&sheet, &[(GKE_SPOT, "true"), (REGION, "us-central1"), (TYPE, "a3-highgpu-8g")], 8);
    let quote = sheet.on(&node, None).quote("nvidia-h100-80gb", 0).unwrap();
    let list = quote.list.unwrap().nanos_per_hour();
    assert_eq!((list, list - quote.effective.nanos_per_hour()), (11_061_250_000, 4_735_057_375));
}

#[test]
fn a_spot_price_alone_is_compared_with_the_next_price_on_demand() {
    let list = |text, labels: Labels<'_>, told| {
        let sheet = pricing_file::sheet(Some(parse(text).unwrap()), Some(pricing_file::catalogue()));
        let node = facts(&sheet, labels, 8);
        let quote = sheet.on(&node, told).quote("nvidia-h100-80gb", 0).unwrap();
        (
            quote.effective.dollars_per_hour(),
            quote.list.map(gpu_cost_exporter::cost::money::Rate::dollars_per_hour),
        )
    };
    let spot = "gpu_pricing: { nvidia-h100-80gb: { spot: 2.2 } }";
    let gke: Labels<'_> = &[(GKE_SPOT, "true"), (REGION, "us-central1"), (TYPE, "a3-highgpu-8g")];
    assert_eq!(list(spot, gke, None), (2.2, Some(11.061_25)));
    assert_eq!(list(spot, &[(KARPENTER, "spot")], None), (2.2, Some(6.88)));
    // What was bought is no instance that somebody rents out.
    assert_eq!(list(OWNED, &[("pool", "dgx")], None), (1.390_326_575, None));
}

#[test]
fn without_a_catalogue_the_model_decides() {
    let sheet = pricing_file::sheet(None, None);
    let node = facts(&sheet, &[(GKE_SPOT, "true"), (REGION, "us-central1"), (TYPE, "a3-highgpu-8g")], 8);
    let quote = sheet.on(&node, None).quote("nvidia-h100-80gb", 0).unwrap();
    assert_eq!((quote.rule_in_full().as_str(), quote.price_model), ("built_in", PriceModel::Spot));
}

/// Version 2 of the file, read as people read it.
#[test]
fn version_2_says_what_it_says() {
    let file: PricingFile = parse(VERSION_2).unwrap();
    assert_eq!(file.warnings, []);
    let h100 = &file.prices.models["nvidia-h100-80gb"];
    let columns =
        PriceModel::ALL.map(|model| h100.under(model).map(|rate| rate.dollars_per_hour().to_string()));
    let expected = ["6.6", "2.2", "4.4", "3.3", "3.85", "4.95", "4.62", "1.390326575"];
    assert_eq!(columns, expected.map(|rate| Some(rate.to_owned())));
    let day = |month, day| Date::from_calendar(2026, month, day);
    assert_eq!(h100.as_of(PriceModel::OnDemand), day(5, 1));
    assert_eq!(h100.as_of(PriceModel::Spot), day(6, 15));
    assert_eq!(h100.source(PriceModel::Spot).map(|it| &**it), Some("the market"));
    assert_eq!(h100.source(PriceModel::Owned).map(|it| &**it), Some("our contract"));
    assert_eq!(file.prices.changes.len(), 1);
    assert_eq!(file.prices.aliases.len(), 2);
    assert_eq!(file.prices.models["nvidia-l4"].as_of, day(7, 1));
    assert_eq!(file.overrides.iter().map(|it| &*it.name).collect::<Vec<_>>(), ["dgx", "2", "3"]);
    assert_eq!(file.price_model_rules.len(), 2);
    assert_eq!(file.discounts[1].part.nanos(), 500_000_000);
    let energy = file.energy.unwrap();
    assert_eq!(energy.dollars_per_kwh, Some(80_000_000));
    assert_eq!(energy.intensity, Intensity::Told(396_000_000_000));
    assert_eq!((energy.pue, energy.host_factor), (1_200_000_000, 1_800_000_000));
    let night = Tariff { from_minute: 1_320, to_minute: 360, dollars_per_kwh: 50_000_000 };
    assert_eq!((energy.tariffs, energy.utc_offset_minutes), (vec![night], -330));
    assert_eq!((file.budgets[0].monthly, file.budgets[0].matching.len()), (20_000_000_000_000, 1));
    assert_eq!(file.hours_per_month, Some(730_000_000_000));
    assert_eq!((file.mig_share, file.sharing_policy), (Some(MigShare::Memory), Some(SharingPolicy::Active)));
    let gpt = &file.model_costs["gpt-4o"];
    assert_eq!(
        (gpt.input_nanos, gpt.output_nanos, gpt.cached_input_nanos),
        (2_750_000, 11_000_000, Some(1_375_000))
    );
    assert_eq!(file.model_costs["gpt-4"].input_nanos, 33_000_000);
    assert_eq!(file.exchange_rates["CHF"], 1_250_000_000);
}
