//! The product from outside: one module per edge, per artefact, and for the whole.

// The driver edge against a driver that misbehaves on demand.
#[cfg(test)]
mod nvml;

// The kubelet edge: answers of real kubelets, byte for byte, and a kubelet that misbehaves on demand.
#[cfg(test)]
mod captures;
#[cfg(test)]
mod kubelet;

// The API server's edge: watches that end, expire and break on demand.
#[cfg(test)]
mod apiserver;

// What people write and read.
#[cfg(test)]
mod dashboards;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod http;
#[cfg(test)]
mod labels_file;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod page;
#[cfg(test)]
mod pricing;
#[cfg(test)]
mod web_config;

// The whole: the built binary on a node made of fakes, with real scrapes.
#[cfg(test)]
mod broken;
#[cfg(test)]
mod command_line;
#[cfg(test)]
mod containers;
#[cfg(test)]
mod daemon;
#[cfg(test)]
mod day;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod live_prometheus;
#[cfg(test)]
mod gentle;
#[cfg(test)]
mod load;
#[cfg(test)]
mod mig;
#[cfg(test)]
mod price_command;
#[cfg(test)]
mod proof;
#[cfg(test)]
mod released;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod state;
#[cfg(test)]
mod timelines;
#[cfg(test)]
mod who_may_ask;
#[cfg(test)]
mod whose_claim;
#[cfg(test)]
mod whose_money;
#[cfg(test)]
mod whose_part;
#[cfg(test)]
mod whose_turn;
#[cfg(test)]
mod whose_work;

// Whatever may come from outside.
#[cfg(test)]
mod fuzz;

// How it is installed: the chart, the kustomizations and the image.
#[cfg(test)]
mod deploy;

// What operators read, and do as it says.
#[cfg(test)]
mod documents;

// What Prometheus makes of it: recording rules and alerts, by its own tool, and what many nodes cost it.
#[cfg(test)]
mod rules;
#[cfg(test)]
mod scale;

// Rules about the repository itself, which the compiler cannot keep.
#[cfg(test)]
mod sbom;
#[cfg(test)]
mod tidy;

// The far sides that tests put in place of the real ones, and the programs of others that judge what we say.
#[cfg(test)]
mod support;
