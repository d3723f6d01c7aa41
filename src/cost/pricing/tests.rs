use super::*;
use crate::observation::{Node, UnixTime};

#[expect(clippy::unnecessary_wraps, reason = "a row holds optional rates")]
fn rate(cents: u64) -> Option<Rate> {
    Some(Rate::from_nanos_per_hour(cents * 10_000_000))
}

fn table(rows: &[(&str, Prices)]) -> PriceTable {
    PriceTable {
        models: rows.iter().map(|(model, prices)| (Arc::from(*model), prices.clone())).collect(),
        ..PriceTable::default()
    }
}

fn on_demand(cents: u64) -> Prices {
    Prices { on_demand: rate(cents), ..Prices::default() }
}

fn node(labels: &[(&str, &str)]) -> NodeFacts {
    let labels = labels.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect();
    let node = Arc::new(Node { name: "n".into(), labels });
    NodeFacts::of(&node, 8, UnixTime::from_millis(1_785_000_000_000), None)
}

#[test]
fn the_first_rule_that_matches_wins() {
    let mut sheet = PriceSheet {
        file: table(&[("a", on_demand(100))]),
        built_in: table(&[("a", on_demand(900)), ("b", Prices { spot: rate(90), ..on_demand(300) })]),
        ..PriceSheet::default()
    };
    let found = |sheet: &PriceSheet, model| {
        let quote = sheet.on(&node(&[]), Some(PriceModel::Spot)).quote(model, 0);
        quote.map(|q| (Some(q.effective), q.price_model, q.fell_back, q.rule))
    };
    assert_eq!(found(&sheet, "a"), Some((rate(100), PriceModel::OnDemand, true, PriceRule::File)));
    assert_eq!(found(&sheet, "b"), Some((rate(90), PriceModel::Spot, false, PriceRule::BuiltIn)));
    assert_eq!(found(&sheet, "c"), None);
    sheet.file.default = Some(on_demand(50));
    assert_eq!(found(&sheet, "c"), Some((rate(50), PriceModel::OnDemand, true, PriceRule::FileDefault)));
}

#[test]
fn every_price_model_has_a_column_and_a_name() {
    let mut prices = Prices::default();
    for (cents, model) in (1..).zip(PriceModel::ALL) {
        *prices.under_mut(model) = rate(cents);
        assert_eq!(PriceModel::from_name(model.as_str()), Some(model));
    }
    let columns = PriceModel::ALL.map(|model| prices.under(model));
    assert_eq!(columns, [1, 2, 3, 4, 5, 6, 7, 8].map(rate));
}

#[test]
fn the_price_of_a_node_is_the_sum_of_its_gpus() {
    let whole = Prices { on_demand: Some(Rate::from_nanos_per_hour(10_000_000_003)), ..Prices::default() };
    let sheet = PriceSheet {
        overrides: vec![Override {
            name: "mine".into(),
            matching: Match::default(),
            valid_from: None,
            valid_until: None,
            price_model: None,
            prices: Some(OverridePrices::Node { prices: whole, gpus: Some(4) }),
        }],
        discounts: vec![Discount { matching: Match::default(), part: Percent::from_nanos(7_000_000_000) }],
        ..PriceSheet::default()
    };
    let on = |gpus| {
        let node = NodeFacts { gpus, ..node(&[]) };
        let prices = sheet.on(&node, None);
        let quotes: Vec<Quote> = (0..8).filter_map(|position| prices.quote("x", position)).collect();
        let sum =
            |rate: fn(&Quote) -> Rate, n| quotes.iter().take(n).map(rate).sum::<Rate>().nanos_per_hour();
        let list = |quote: &Quote| quote.list.unwrap_or_default();
        (sum(|quote| quote.effective, 8), sum(list, 8), sum(list, 4))
    };
    // More GPUs than the file says: none of them pays for another one.
    assert_eq!(on(8), (9_300_000_003, 10_000_000_003, 5_000_000_003));
    // Fewer: those that are missing were paid for as well.
    assert_eq!(on(3).2, 10_000_000_003);
}

#[test]
fn a_node_is_bought_as_all_its_gpus_are() {
    let spot = Override {
        name: "spot".into(),
        matching: Match { gpu_model: Some("a".into()), ..Match::default() },
        valid_from: None,
        valid_until: None,
        price_model: Some(PriceModel::Spot),
        prices: None,
    };
    let sheet = PriceSheet { overrides: vec![spot], ..PriceSheet::default() };
    let node = node(&[]);
    for (models, expected) in [
        (&["a", "a"][..], PriceModel::Spot),
        (&["b"], PriceModel::OnDemand),
        (&["a", "b"], PriceModel::OnDemand),
        (&[], PriceModel::OnDemand),
    ] {
        assert_eq!(sheet.on(&node, None).price_model(models.iter().copied()), expected, "{models:?}");
    }
}

#[test]
fn labels_tell_the_provider() {
    let aws = ("eks.amazonaws.com/nodegroup", "gpu");
    for (labels, expected) in [
        (vec![aws], Some("aws")),
        (vec![("karpenter.k8s.aws/instance-family", "p5")], Some("aws")),
        (vec![("cloud.google.com/gke-nodepool", "gpu")], Some("gcp")),
        (vec![("kubernetes.azure.com/agentpool", "gpu")], Some("azure")),
        (vec![("alibabacloud.com/nodepool-id", "np")], Some("alibaba")),
        (vec![("node.alibabacloud.com/x", "np")], Some("alibaba")),
        (vec![("karpenter.sh/capacity-type", "spot")], None),
        (vec![("notk8s.aws/x", "y"), ("k8s.aws", "no domain")], None),
        (vec![], None),
    ] {
        assert_eq!(node(&labels).provider.as_deref(), expected, "{labels:?}");
    }
}

#[test]
fn labels_tell_how_a_node_was_bought() {
    let rules = [PriceModelRule {
        label: "pool".into(),
        values: vec![("dgx".into(), PriceModel::Owned), ("cheap".into(), PriceModel::Spot)],
    }];
    for (labels, expected) in [
        (vec![("karpenter.sh/capacity-type", "spot")], Some(("spot", PriceModel::Spot))),
        (vec![("karpenter.sh/capacity-type", "on-demand")], Some(("on_demand", PriceModel::OnDemand))),
        (vec![("karpenter.sh/capacity-type", "reserved")], Some(("reserved", PriceModel::OnDemand))),
        (
            vec![
                ("karpenter.sh/capacity-type", "reserved"),
                ("karpenter.k8s.aws/capacity-reservation-type", "capacity-block"),
            ],
            Some(("capacity_block", PriceModel::CapacityBlock)),
        ),
        (vec![("eks.amazonaws.com/capacityType", "SPOT")], Some(("spot", PriceModel::Spot))),
        (
            vec![("eks.amazonaws.com/capacityType", "CAPACITY_BLOCK")],
            Some(("capacity_block", PriceModel::CapacityBlock)),
        ),
        (vec![("cloud.google.com/gke-spot", "true")], Some(("spot", PriceModel::Spot))),
        (vec![("cloud.google.com/gke-spot", "false")], None),
        (
            vec![
                ("cloud.google.com/gke-provisioning", "standard"),
                ("cloud.google.com/gke-flex-start", "true"),
            ],
            Some(("flex_start", PriceModel::FlexStart)),
        ),
        (vec![("kubernetes.azure.com/scalesetpriority", "spot")], Some(("spot", PriceModel::Spot))),
        (vec![("pool", "dgx"), ("karpenter.sh/capacity-type", "spot")], Some(("owned", PriceModel::Owned))),
        (vec![("pool", "else"), ("karpenter.sh/capacity-type", "spot")], Some(("spot", PriceModel::Spot))),
        (vec![], None),
    ] {
        let found = node(&labels).capacity_type(&rules);
        assert_eq!(found.map(|it| (it.name, it.price_model)), expected, "{labels:?}");
    }
}

#[test]
fn a_change_counts_from_its_day_on() {
    let change = |day, cents| Change {
        from: Date::from_calendar(2026, 9, day).unwrap(),
        model: Some("a".into()),
        prices: on_demand(cents),
    };
    let table =
        PriceTable { changes: vec![change(1, 200), change(10, 300)], ..table(&[("a", on_demand(100))]) };
    let on = |month, day| {
        table.row("a", Date::from_calendar(2026, month, day).unwrap()).and_then(|prices| prices.on_demand)
    };
    assert_eq!([on(8, 31), on(9, 1), on(9, 9), on(9, 10)], [100, 200, 200, 300].map(rate));
}
