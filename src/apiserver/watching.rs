//! One list and the watch that goes on from it, for ever.

use std::fmt::Debug;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::Client;
use kube::api::{ListParams, VersionMatch, WatchEvent, WatchParams};
use kube::core::Request;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use super::Error;
use super::objects::{Metadata, Object, ObjectList};
use crate::clock;
use crate::observation::Span;

/// How long the API server may take to answer, or to begin to.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// After how many seconds the API server is to end a watch. It ends it a little sooner or later by itself.
const WATCH_SECONDS: u32 = 240;

/// How long nothing may come over a watch before it counts as dead: the network does not tell of a peer that is gone.
const SILENCE_MAX: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 15);

/// The wait after the first failure, which each further one doubles, and after a watch that ended as it should.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);

/// The longest wait between two questions.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Something that can be listed and watched.
pub(super) trait Watched: Copy + Debug {
    /// What there is of it, with the fields that we use.
    type Object: Clone + Debug + Default + DeserializeOwned;

    /// Where it is listed.
    fn path(self) -> String;

    /// Which of it is about this node.
    fn selector(self, node: &str) -> String;

    /// What was attempted when a list fails.
    fn listing(self) -> &'static str;

    /// What was attempted when a watch fails.
    fn watching(self) -> &'static str;

    /// What is wrong where there is none of it, if that is wrong.
    fn missing(self, _node: &str) -> Option<Error> {
        None
    }

    /// What every object has.
    fn metadata(object: &Self::Object) -> &Metadata;
}

/// What has objects of Kubernetes' core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Collection {
    /// The pods of this node.
    Pods,
    /// This node alone.
    Nodes,
}

/// What the API server told.
#[derive(Debug)]
pub(super) enum News<O> {
    /// All that there is, and how long it took to tell.
    Everything(Vec<O>, Span),
    /// Something is new or has changed.
    Changed(O),
    /// Something is gone; as it last was.
    Gone(O),
    /// Nothing has changed and the watch stands.
    Stands,
    /// It did not answer, or not as it should.
    Failed(Error),
}

/// One collection and how far we have seen it.
pub(super) struct Watching<C> {
    client: Client,
    collection: C,
    node: String,
    next: Next,
    /// Notified when all that there is, is to be told again.
    list_anew: Arc<Notify>,
}

/// What to ask next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    /// All that there is, at least as new as this version; `0` takes whatever is at hand.
    List(String),
    /// All that there is, as new as it can be had, which costs the API server more.
    ListNewest,
    /// What has changed since this version.
    Watch(String),
}

// === impl Watching ===

impl<C: Watched> Watching<C> {
    pub(super) fn new(client: Client, collection: C, node: &str) -> Self {
        let next = Next::List("0".to_owned());
        Self { client, collection, node: node.to_owned(), next, list_anew: Arc::default() }
    }

    /// The same, which tells all that there is again whenever it is notified.
    pub(super) fn listing_anew_on(self, list_anew: Arc<Notify>) -> Self {
        Self { list_anew, ..self }
    }

    /// Tells what is and what becomes of it for as long as somebody listens.
    pub(super) async fn follow(mut self, told: mpsc::Sender<(C, News<C::Object>)>) {
        let mut failures = 0_u32;
        while !told.is_closed() {
            match self.turn(&told, &mut failures).await {
                Ok(()) => sleep(backoff(1)).await,
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.tell(&told, News::Failed(error)).await;
                    sleep(backoff(failures)).await;
                }
            }
        }
    }

    /// Lists if need be, then watches until the watch ends.
    async fn turn(
        &mut self,
        told: &mpsc::Sender<(C, News<C::Object>)>,
        failures: &mut u32,
    ) -> Result<(), Error> {
        let version = if let Next::Watch(version) = &self.next {
            version.clone()
        } else {
            let version = self.list(told).await?;
            *failures = 0;
            version
        };
        match self.watch(version, told, failures).await {
            // Nothing is lost: the next list has it.
            Err(error) if error.is_wrong_version() => {
                tracing::debug!(collection = ?self.collection, "the version is gone: listing again");
                self.list_next();
                Ok(())
            }
            ended => ended,
        }
    }

    /// Lists all that there is before watching on.
    fn list_next(&mut self) {
        if let Next::Watch(version) = &self.next {
            self.next = Next::List(version.clone());
        }
    }

    async fn list(&mut self, told: &mpsc::Sender<(C, News<C::Object>)>) -> Result<String, Error> {
        let asked_at = clock::uptime();
        let list = match self.ask_for_list().await {
            Err(error) if error.is_wrong_version() => {
                self.next = Next::ListNewest;
                return Err(error);
            }
            answer => answer?,
        };
        let objects = list.items.unwrap_or_default();
        if let Some(error) = self.collection.missing(&self.node).filter(|_| objects.is_empty()) {
            return Err(error);
        }
        let version = list.metadata.resource_version;
        self.next = Next::Watch(version.clone());
        self.tell(told, News::Everything(objects, clock::uptime().since(asked_at))).await;
        Ok(version)
    }

    async fn ask_for_list(&self) -> Result<ObjectList<C::Object>, Error> {
        let asked = self.collection.listing();
        let params = ListParams::default().fields(&self.collection.selector(&self.node));
        let params = match &self.next {
            Next::List(version) => params.at(version).matching(VersionMatch::NotOlderThan),
            Next::ListNewest | Next::Watch(_) => params,
        };
        let request = Request::new(self.collection.path()).list(&params);
        let request = request.map_err(|error| Error::of_call(asked, kube::Error::BuildRequest(error)))?;
        // Its own reader of JSON logs what it cannot read, and a pod's environment is nobody's business.
        let text = timeout(DEADLINE, self.client.request_text(request)).await;
        let text = text.map_err(|_| Error::Deadline { asked, deadline: DEADLINE })?;
        let text = text.map_err(|error| Error::of_call(asked, error))?;
        serde_json::from_str(&text).map_err(|source| Error::Answer { asked, source })
    }

    async fn watch(
        &mut self,
        version: String,
        told: &mpsc::Sender<(C, News<C::Object>)>,
        failures: &mut u32,
    ) -> Result<(), Error> {
        let asked = self.collection.watching();
        let failed = |error| Error::of_call(asked, error);
        let params = WatchParams::default().fields(&self.collection.selector(&self.node));
        let request = Request::new(self.collection.path()).watch(&params.timeout(WATCH_SECONDS), &version);
        let request = request.map_err(|error| failed(kube::Error::BuildRequest(error)))?;
        let events = timeout(DEADLINE, self.client.request_events::<C::Object>(request)).await;
        let events = events.map_err(|_| Error::Deadline { asked, deadline: DEADLINE })?.map_err(failed)?;
        let mut events = Box::pin(events);
        self.tell(told, News::Stands).await;
        loop {
            let event = tokio::select! {
                event = timeout(SILENCE_MAX, events.next()) => event,
                // Nothing is lost: the list is as new as what was told last, and the next watch goes on from it.
                () = self.list_anew.notified() => {
                    self.list_next();
                    return Ok(());
                }
            };
            let event = event.map_err(|_| Error::Deadline { asked, deadline: SILENCE_MAX })?;
            let Some(event) = event else { return Ok(()) };
            let news = self.read(event.map_err(failed)?)?;
            *failures = 0;
            self.tell(told, news).await;
        }
    }

    /// Reads an event and remembers how far it brings us.
    fn read(&mut self, event: WatchEvent<C::Object>) -> Result<News<C::Object>, Error> {
        let version = |object| C::metadata(object).resource_version.clone();
        let (version, news) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                (version(&object), News::Changed(object))
            }
            WatchEvent::Deleted(object) => (version(&object), News::Gone(object)),
            WatchEvent::Bookmark(bookmark) => (bookmark.metadata.resource_version, News::Stands),
            WatchEvent::Error(status) => {
                return Err(Error::of_call(self.collection.watching(), kube::Error::Api(status)));
            }
        };
        if !version.is_empty() {
            self.next = Next::Watch(version);
        }
        Ok(news)
    }

    async fn tell(&self, told: &mpsc::Sender<(C, News<C::Object>)>, news: News<C::Object>) {
        // When nobody listens any more the loop ends by itself.
        let _ = told.send((self.collection, news)).await;
    }
}

// === impl Collection ===

impl Watched for Collection {
    type Object = Object;

    fn path(self) -> String {
        let kind = match self {
            Self::Pods => "pods",
            Self::Nodes => "nodes",
        };
        format!("/api/v1/{kind}")
    }

    fn selector(self, node: &str) -> String {
        match self {
            Self::Pods => format!("spec.nodeName={node}"),
            Self::Nodes => format!("metadata.name={node}"),
        }
    }

    fn listing(self) -> &'static str {
        match self {
            Self::Pods => "list the pods of this node",
            Self::Nodes => "read this node",
        }
    }

    fn watching(self) -> &'static str {
        match self {
            Self::Pods => "watch the pods of this node",
            Self::Nodes => "watch this node",
        }
    }

    fn missing(self, node: &str) -> Option<Error> {
        (self == Self::Nodes).then(|| Error::UnknownNode { node: node.to_owned() })
    }

    fn metadata(object: &Object) -> &Metadata {
        &object.metadata
    }
}

/// The wait after some failures in a row. It doubles up to a limit; the later half of it is left to chance, so that
/// those who lost the API server together do not come back together.
pub(super) fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let longest = BACKOFF_FIRST.saturating_mul(1 << doublings).min(BACKOFF_MAX);
    let half_millis = u64::try_from(longest.as_millis() / 2).unwrap_or(0);
    // Chance enough: the standard library seeds its hashers with it.
    Duration::from_millis(half_millis + RandomState::new().hash_one(()) % (half_millis + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_a_limit() {
        for (failures, longest) in [(0, 1), (1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (u32::MAX, 30)] {
            let wait = backoff(failures);
            let longest = Duration::from_secs(longest);
            assert!(wait >= longest / 2 && wait <= longest, "{wait:?} after {failures}");
        }
    }
}
