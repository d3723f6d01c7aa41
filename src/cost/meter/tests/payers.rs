//! Who pays, and how many lines that may be.

use super::*;
use crate::observation::CostLabels;

#[test]
fn more_payers_than_there_are_lines_share_one() {
    let mut rig = node(1);
    rig.advertised = Some((0..256).map(|n| replica("GPU-0", n)).collect());
    let pods = 0..256u32;
    rig.seen.pods = pods
        .clone()
        .map(|n| Pod {
            key: key(&format!("p{n}")),
            uid: format!("u{n}").into(),
            labels: CostLabels { team: format!("team-{n}").into(), ..CostLabels::default() },
            ..Pod::default()
        })
        .collect();
    for n in pods {
        rig.hold(&format!("p{n}"), &[replica("GPU-0", n)]);
    }
    rig.observe().run(60, 10);
    let report = rig.report();
    assert_eq!((report.showback.len(), report.folded_payers), (201, 56));
    let other = report.showback.iter().find(|line| &*line.payer.namespace == "__other__").unwrap();
    assert_eq!(&*other.payer.labels.team, "__other__");
    assert_eq!(&*other.payer.gpu_model, "nvidia-a100-80gb");
    let all: Cost = report.showback.iter().map(|line| line.totals.total_cost()).sum();
    assert_eq!(all, rig.device(0).totals.total_cost());
    assert_eq!(report.imbalance, Cost::ZERO);
}

#[test]
fn what_nobody_holds_always_has_its_line() {
    let mut ledger = Ledger::default();
    let payer = |namespace: String| {
        let (namespace, gpu_model) = (namespace.into(), "m".into());
        let labels = CostLabels::default();
        Arc::new(crate::cost::report::Payer { namespace, labels, gpu_model, price_model: None })
    };
    for n in 0..300 {
        ledger.payer(&payer(format!("ns-{n}")));
    }
    ledger.payer(&payer(String::new()));
    assert!(ledger.payers.contains_key(&payer(String::new())));
    assert_eq!((ledger.payers.len(), ledger.folded_payers()), (202, 100));
}

#[test]
fn an_account_is_opened_when_its_line_begins() {
    let mut rig = node(1);
    rig.observe().run(60, 10);
    let start = rig.report().wall;
    rig.hold("late", &[whole("GPU-0")]).observe().run(60, 10);
    let report = rig.report();
    assert_eq!((rig.pod("late").account.since, rig.device(0).since), (start, report.ledger_start));
    let of = |namespace: &str| {
        report.showback.iter().find(|line| &*line.payer.namespace == namespace).map(|line| line.since)
    };
    assert_eq!((of(""), of("ml")), (Some(report.ledger_start), Some(start)));
}
