//! Collects the series of one scrape into families, in the order of the catalogue.

use std::cmp::Ordering;

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::catalog::{CATALOG, Id, Kind};
use super::label;

/// The series of one scrape.
pub(super) struct Families {
    node: String,
    series: Vec<Vec<Metric>>,
}

impl Families {
    /// No series yet, of the node called `node`.
    pub(super) fn new(node: &str) -> Self {
        Self {
            node: label::exported(node).into_owned(),
            series: CATALOG.iter().map(|_| Vec::new()).collect(),
        }
    }

    /// Adds one series; `labels` are the values of the catalogue's labels, in its order.
    pub(super) fn add(&mut self, id: Id, labels: &[&str], value: f64) {
        let row = id.metric();
        let node = row.group.has_node().then(|| pair("node", self.node.clone()));
        let told = row
            .labels
            .iter()
            .zip(labels)
            .map(|(name, value)| pair(name, label::exported(value).into_owned()));
        let mut metric = Metric::from_label(node.into_iter().chain(told).collect());
        set(&mut metric, row.kind, value);
        if let Some(series) = self.series.get_mut(id as usize) {
            series.push(metric);
        }
    }

    /// Adds one series if there is something to say.
    pub(super) fn add_some(&mut self, id: Id, labels: &[&str], value: Option<f64>) {
        if let Some(value) = value {
            self.add(id, labels, value);
        }
    }

    /// The families that have series, each series once, sorted by its labels.
    pub(super) fn finish(self) -> Vec<MetricFamily> {
        let filled = CATALOG.iter().zip(self.series).filter(|(_, series)| !series.is_empty());
        filled
            .map(|(row, series)| {
                let mut family = MetricFamily::default();
                family.set_name(row.name.into());
                family.set_help(row.help.into());
                family.set_field_type(if row.kind == Kind::Counter {
                    MetricType::COUNTER
                } else {
                    MetricType::GAUGE
                });
                family.set_metric(distinct(series, row.kind));
                family
            })
            .collect()
    }
}

/// The series sorted, with those that have the same labels made one: readers refuse a whole scrape with a duplicate,
/// and dropping one of them would lose its money.
fn distinct(mut series: Vec<Metric>, kind: Kind) -> Vec<Metric> {
    series.sort_by(by_labels);
    series.dedup_by(|later, earlier| {
        let same = by_labels(later, earlier) == Ordering::Equal;
        if same {
            let (one, other) = (get(earlier, kind), get(later, kind));
            let joined =
                if matches!(kind, Kind::Counter | Kind::Amount) { one + other } else { one.max(other) };
            set(earlier, kind, joined);
        }
        same
    });
    series
}

fn by_labels(one: &Metric, other: &Metric) -> Ordering {
    let values = |metric| Metric::get_label(metric).iter().map(LabelPair::value);
    values(one).cmp(values(other))
}

fn pair(name: &str, value: String) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.into());
    pair.set_value(value);
    pair
}

fn get(metric: &Metric, kind: Kind) -> f64 {
    match kind {
        Kind::Counter => metric.get_counter().get_value(),
        Kind::Amount | Kind::Reading | Kind::Info => metric.get_gauge().get_value(),
    }
}

fn set(metric: &mut Metric, kind: Kind, value: f64) {
    if kind == Kind::Counter {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(id: Id, series: &[(&[&str], f64)], expected: &[(&str, f64)]) {
        let mut families = Families::new("n");
        for (labels, value) in series {
            families.add(id, labels, *value);
        }
        let families = families.finish();
        assert_eq!(families.len(), 1);
        let found: Vec<_> = families[0]
            .get_metric()
            .iter()
            .map(|metric| {
                let values: Vec<_> = metric.get_label().iter().map(LabelPair::value).collect();
                (values.join(" "), get(metric, id.metric().kind))
            })
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|(labels, value)| ((*labels).to_owned(), *value)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn series_are_sorted_and_each_is_there_once() {
        let money: &[(&[&str], f64)] =
            &[(&["b", "idle"], 1.5), (&["a", "used"], 2.0), (&["b", "idle"], 0.25)];
        check(Id::DeviceDollars, money, &[("n a used", 2.0), ("n b idle", 1.75)]);
        check(Id::DevicePower, &[(&["a"], 100.0), (&["a"], 50.0)], &[("n a", 150.0)]);
        check(Id::DeviceUtilization, &[(&["a"], 0.4), (&["a"], 0.9)], &[("n a", 0.9)]);
        check(
            Id::MigInfo,
            &[(&["a", "m", "p", "1"], 1.0), (&["a", "m", "p", "1"], 1.0)],
            &[("n a m p 1", 1.0)],
        );
        check(Id::BuildInfo, &[(&["1", "demo"], 1.0)], &[("1 demo", 1.0)]);
    }

    #[test]
    fn a_family_without_series_is_not_there() {
        assert!(Families::new("n").finish().is_empty());
    }
}
