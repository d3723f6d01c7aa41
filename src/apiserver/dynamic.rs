//! What claims have, and the devices behind them (dynamic resource allocation).
//!
//! The kubelet names a claimed device as `gpu-3` and says no more. Its UUID is in the driver's
//! [slices](super::slices), and on which terms a pod has it in the [claim](super::claims). Both are asked for where
//! the cluster has such an API, in the newest [version](super::group) of it that we read.
//!
//! ```text
//!   the pods ── claim names ──▶ one question per claim ──┐
//!                                                        ├──▶ Told { dynamic, message, errors }
//!   list and watch of this node's slices ────────────────┘
//! ```
//!
//! A kubelet that starts removes all slices of its node until the drivers are back, and so does one whose driver is gone
//! for a while; the pods run on. So a device that a claim has stays as it was last published.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::claim_names::Named;
use super::claim_questions::{Claims, Question};
use super::claims::{self, ClaimState, Consumer};
use super::group::{self, Version};
use super::slices::{Published, Slice, Slices, SlicesOfNode};
use super::watching::{News, Watching, backoff};
use super::{EVENTS, Error};
use crate::clock;
use crate::observation::{ClaimedDevice, Dynamic, DynamicDevice, ResourceClaim};

/// How long a cluster without the API is not asked for it again, unless a pod names a claim: somebody may switch it on.
const ABSENT: Duration = Duration::from_secs(300);

/// What came of a question.
type Answer = (Question, Result<ClaimState, Error>);

/// What is known of claims and devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) dynamic: Arc<Dynamic>,
    /// What is wrong; `None` while nothing is.
    pub(super) message: Option<Arc<str>>,
    /// How many calls failed.
    pub(super) errors: u64,
}

/// What is kept from one answer to the next.
struct Board {
    slices: Slices,
    claims: Claims,
    /// The devices as they were last told.
    devices: BTreeMap<DynamicDevice, Published>,
    trouble: Trouble,
    errors: u64,
    publish: watch::Sender<Told>,
}

/// What is wrong with which of the questions; `None` while nothing is.
#[derive(Default)]
struct Trouble {
    group: Option<Arc<str>>,
    slices: Option<Arc<str>>,
    claims: Option<Arc<str>>,
}

/// Follows the devices of the node and the claims that are named, for ever, where there is an API for it.
pub(super) async fn follow(
    client: Client,
    node: Arc<str>,
    mut named: watch::Receiver<Named>,
    publish: watch::Sender<Told>,
) {
    let mut board = Board::new(publish);
    let mut failures: u32 = 0;
    loop {
        let went_well = match group::discover(&client).await {
            Ok(version) => {
                board.discovered(version, &mut named);
                match version {
                    Some(version) => board.keep(&client, version, &node, &mut named).await,
                    None => absence(&mut named).await,
                }
            }
            Err(error) => board.cannot_discover(&error),
        };
        failures = if went_well { 1 } else { failures.saturating_add(1) };
        sleep(backoff(failures)).await;
    }
}

/// Asks for a claim.
async fn ask(client: &Client, version: Version, question: Question) -> Answer {
    let answer = claims::ask(client, version, &question.key).await;
    (question, answer)
}

/// Waits until it is worth to ask for the API again.
async fn absence(named: &mut watch::Receiver<Named>) -> bool {
    tokio::select! {
        () = sleep(ABSENT) => {}
        Ok(()) = named.changed() => {}
    }
    true
}

// === impl Board ===

impl Board {
    fn new(publish: watch::Sender<Told>) -> Self {
        Self {
            slices: Slices::default(),
            claims: Claims::default(),
            devices: BTreeMap::new(),
            trouble: Trouble::default(),
            errors: 0,
            publish,
        }
    }

    fn discovered(&mut self, version: Option<Version>, named: &mut watch::Receiver<Named>) {
        if let Some(version) = version {
            tracing::info!(%version, "the API server knows claims of devices");
        }
        self.trouble = Trouble::default();
        self.set_named(named);
        self.tell();
    }

    fn cannot_discover(&mut self, error: &Error) -> bool {
        self.trouble.group = Some(self.count(error));
        self.tell();
        false
    }

    /// Follows devices and claims until there is no such version any more; says whether there was.
    async fn keep(
        &mut self,
        client: &Client,
        version: Version,
        node: &str,
        named: &mut watch::Receiver<Named>,
    ) -> bool {
        let (sender, mut news) = mpsc::channel(EVENTS);
        let watching = Watching::new(client.clone(), SlicesOfNode(version), node);
        let mut watching = pin!(watching.follow(sender));
        let mut questions = FuturesUnordered::new();
        self.claims.forget_questions(clock::uptime());
        let mut was_listed = false;
        loop {
            let now = clock::uptime();
            while let Some(question) = self.claims.next_question(now) {
                questions.push(ask(client, version, question));
            }
            let pause = self.claims.pause(now);
            tokio::select! {
                () = &mut watching => return was_listed,
                Some((_, news)) = news.recv() => match news {
                    News::Failed(error) if error.is_not_found() => return was_listed,
                    news => {
                        was_listed |= matches!(news, News::Everything(..));
                        self.take_in_slices(news);
                    }
                },
                Some(answer) = questions.next() => self.take_in_claim(answer),
                Ok(()) = named.changed() => self.set_named(named),
                () = sleep(pause.unwrap_or(ABSENT)), if pause.is_some() => {}
            }
            self.tell();
        }
    }

    fn take_in_slices(&mut self, news: News<Slice>) {
        self.trouble.slices = None;
        match news {
            News::Everything(slices, _) => self.slices.set(&slices),
            News::Changed(slice) => self.slices.change(&slice),
            News::Gone(slice) => self.slices.remove(&slice),
            News::Stands => {}
            News::Failed(error) => self.trouble.slices = Some(self.count(&error)),
        }
    }

    fn set_named(&mut self, named: &mut watch::Receiver<Named>) {
        self.claims.set_named(&named.borrow_and_update(), clock::uptime());
    }

    fn take_in_claim(&mut self, (question, answer): Answer) {
        self.trouble.claims = match self.claims.take_in(&question, answer, clock::uptime()) {
            Ok(()) => None,
            Err(error) => Some(self.count(&error)),
        };
    }

    fn count(&mut self, error: &Error) -> Arc<str> {
        self.errors = self.errors.saturating_add(1);
        error.message().into()
    }

    /// Publishes what is known, if it is new.
    fn tell(&mut self) {
        if self.claims.is_empty() {
            self.trouble.claims = None;
        }
        let told =
            Told { dynamic: Arc::new(self.dynamic()), message: self.trouble.message(), errors: self.errors };
        self.publish.send_if_modified(|before| {
            let is_new = *before != told;
            *before = told;
            is_new
        });
    }

    fn dynamic(&mut self) -> Dynamic {
        let mut devices = self.slices.devices();
        let had = self.claims.states().flat_map(|(_, state)| &state.devices);
        for name in had.map(|consumer| &consumer.device.name) {
            if let Some(before) = self.devices.get(name) {
                devices.entry(name.clone()).or_insert_with(|| before.clone());
            }
        }
        self.devices = devices;
        let claims = self.claims.states().map(|(key, state)| {
            let devices = state.devices.iter().map(|consumer| self.claimed(consumer)).collect();
            ResourceClaim { key: key.clone(), devices }
        });
        Dynamic {
            claims: claims.collect(),
            devices: self.devices.values().map(|published| published.device.clone()).collect(),
        }
    }

    /// What a claim has of a device; shares of it, where the driver counts those, as their part of its memory.
    fn claimed(&self, consumer: &Consumer) -> ClaimedDevice {
        let by_shares = || {
            let Published { device, shares } = self.devices.get(&consumer.device.name)?;
            let part = u128::from(device.memory?) * u128::from(consumer.shares?);
            u64::try_from(part.checked_div((*shares)?.into())?).ok()
        };
        ClaimedDevice { consumed: consumer.device.consumed.or_else(by_shares), ..consumer.device.clone() }
    }
}

// === impl Trouble ===

impl Trouble {
    /// The first that there is.
    fn message(&self) -> Option<Arc<str>> {
        [&self.group, &self.slices, &self.claims].into_iter().flatten().next().cloned()
    }
}
