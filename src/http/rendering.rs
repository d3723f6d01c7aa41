//! What is published, as it is sent: made when somebody asks, once, and the same for all who ask.
//!
//! A scrape of a large node is a megabyte of text, which thousands may want in the same second. So each form of what is
//! published is made on a thread beside the runtime by the first who asks for it; whoever comes meanwhile waits, whoever
//! comes later is given a reference to it. With what is published next all of it is forgotten.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hyper::body::Bytes;
use tokio::sync::watch;

use super::{Settings, encoding, page};
use crate::ledger_json;
use crate::metrics::{self, Format, Process, ProcessReading};
use crate::status::Published;

/// What can be made of what is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Document {
    Metrics(Format),
    Page,
    Ledger,
}

/// A document as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Form {
    pub(super) document: Document,
    pub(super) gzip: bool,
}

/// The bytes, or why there are none.
pub(super) type Outcome = Result<Bytes, Arc<str>>;

/// An outcome that somebody works on, or has worked on.
type Promise = watch::Receiver<Option<Outcome>>;

/// Makes documents of what was published last.
pub(super) struct Renderer {
    telemetry_path: Arc<str>,
    metrics: metrics::Settings,
    process: Process,
    published: watch::Receiver<Published>,
    edition: Mutex<Option<Arc<Edition>>>,
}

/// All that was made of one published value.
struct Edition {
    published: Published,
    /// Read once, so that all forms of a scrape say the same.
    process: OnceLock<ProcessReading>,
    forms: Mutex<BTreeMap<Form, Promise>>,
}

// === impl Renderer ===

impl Renderer {
    pub(super) fn new(settings: &Settings, published: watch::Receiver<Published>) -> Self {
        Self {
            telemetry_path: Arc::clone(&settings.telemetry_path),
            metrics: settings.metrics,
            process: Process::current(),
            published,
            edition: Mutex::default(),
        }
    }

    /// What was published last.
    pub(super) fn published(&self) -> Published {
        self.published.borrow().clone()
    }

    /// Forgets what was made as soon as something else is published; never ends.
    pub(super) async fn forget_what_is_old(&self) {
        let mut published = self.published.clone();
        while published.changed().await.is_ok() {
            let newest = published.borrow_and_update().clone();
            let mut last = self.edition.lock().unwrap_or_else(PoisonError::into_inner);
            last.take_if(|edition| !edition.is_of(&newest));
        }
        pending::<()>().await;
    }

    /// What is published now in this form. Who stops waiting for it stops nobody else.
    pub(super) async fn render(self: &Arc<Self>, form: Form) -> Outcome {
        let mut promise = self.promise(form);
        let kept = promise.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        kept.unwrap_or_else(|| Err("it was begun and not finished".into()))
    }

    fn promise(self: &Arc<Self>, form: Form) -> Promise {
        let edition = self.edition();
        let mut forms = edition.forms.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = || {
            let (keep, promise) = watch::channel(None);
            let (renderer, edition) = (Arc::clone(self), Arc::clone(&edition));
            tokio::task::spawn_blocking(move || keep.send_replace(Some(renderer.make(&edition, form))));
            promise
        };
        forms.entry(form).or_insert_with(begin).clone()
    }

    /// What was made of what is published now.
    fn edition(&self) -> Arc<Edition> {
        let published = self.published();
        let mut last = self.edition.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(edition) if edition.is_of(&published) => Arc::clone(edition),
            _ => Arc::clone(last.insert(Arc::new(Edition::new(published)))),
        }
    }

    fn make(&self, edition: &Edition, form: Form) -> Outcome {
        if !form.gzip {
            return self.make_plain(edition, form.document);
        }
        let plain = match edition.finished(Form { gzip: false, ..form }) {
            Some(plain) => plain,
            None => self.make_plain(edition, form.document),
        };
        encoding::gzip(&plain?).map_err(|error| error.to_string().into())
    }

    fn make_plain(&self, edition: &Edition, document: Document) -> Outcome {
        let published = &edition.published;
        match document {
            Document::Metrics(format) => {
                let process = edition.process.get_or_init(|| self.process.read());
                Ok(metrics::render(published, process, &self.metrics, format).into())
            }
            Document::Page => Ok(page::render(published, &self.telemetry_path).into()),
            Document::Ledger => {
                let ledger = ledger_json::render(published).map_err(|error| error.to_string())?;
                Ok(ledger.into())
            }
        }
    }
}

// === impl Edition ===

impl Edition {
    fn new(published: Published) -> Self {
        Self { published, process: OnceLock::new(), forms: Mutex::default() }
    }

    fn is_of(&self, published: &Published) -> bool {
        let same_report = match (&self.published.report, &published.report) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        same_report && Arc::ptr_eq(&self.published.status, &published.status)
    }

    /// What was made already.
    fn finished(&self, form: Form) -> Option<Outcome> {
        let forms = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        forms.get(&form).and_then(|promise| promise.borrow().clone())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::future::join_all;

    use super::*;
    use crate::http::Limits;
    use crate::status::Status;

    fn renderer() -> (watch::Sender<Published>, Arc<Renderer>) {
        let (publish, published) = watch::channel(Published::default());
        let settings = Settings {
            telemetry_path: "/metrics".into(),
            metrics: metrics::Settings::default(),
            limits: Limits::USUAL,
            web: watch::channel(Arc::default()).1,
        };
        (publish, Arc::new(Renderer::new(&settings, published)))
    }

    fn forms() -> impl Iterator<Item = Form> {
        let metrics = Format::ALL.map(Document::Metrics);
        let documents = metrics.into_iter().chain([Document::Page, Document::Ledger]);
        documents.flat_map(|document| [false, true].map(|gzip| Form { document, gzip }))
    }

    fn made(renderer: &Renderer) -> usize {
        renderer.edition.lock().unwrap().as_ref().map_or(0, |edition| edition.forms.lock().unwrap().len())
    }

    #[tokio::test]
    async fn each_form_is_made_once_and_shared() {
        let (publish, renderer) = renderer();
        for form in forms() {
            let all = join_all((0..64).map(|_| renderer.render(form))).await;
            let first = all[0].clone().unwrap();
            // Two buffers that are there at one time are at two places.
            assert!(
                !first.is_empty() && all.iter().all(|one| one.as_ref().unwrap().as_ptr() == first.as_ptr())
            );
            assert_eq!(renderer.render(form).await.unwrap().as_ptr(), first.as_ptr());
        }
        assert_eq!(made(&renderer), forms().count());
        let form = Form { document: Document::Metrics(Format::Text), gzip: false };
        let before = renderer.render(form).await.unwrap();
        publish
            .send_modify(|published| published.status = Arc::new(Status { ticks: 1, ..Status::default() }));
        assert_ne!(renderer.render(form).await.unwrap(), before);
        assert_eq!(made(&renderer), 1, "what is not asked for is not made");
    }

    #[tokio::test]
    async fn who_does_not_wait_spoils_nothing() {
        let (_publish, renderer) = renderer();
        let form = Form { document: Document::Page, gzip: true };
        // Asks, looks once and goes away.
        drop(renderer.render(form).now_or_never());
        let begun = renderer.promise(form);
        let made = renderer.render(form).await.unwrap();
        assert_eq!(
            begun.borrow().clone().unwrap().unwrap().as_ptr(),
            made.as_ptr(),
            "it is made a second time"
        );
    }

    #[test]
    fn what_is_old_is_forgotten_though_nobody_asks() {
        let (publish, renderer) = renderer();
        let form = Form { document: Document::Page, gzip: false };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let first = runtime.block_on(renderer.render(form)).unwrap();
        // It ends when the thread has ended that made it, which has it for a moment longer.
        drop(runtime);
        let mut forgetting = Box::pin(renderer.forget_what_is_old());
        assert!(forgetting.as_mut().now_or_never().is_none());
        assert_eq!(made(&renderer), 1, "it is still what is published");
        publish
            .send_modify(|published| published.status = Arc::new(Status { ticks: 1, ..Status::default() }));
        assert!(forgetting.as_mut().now_or_never().is_none());
        assert!(renderer.edition.lock().unwrap().is_none());
        assert!(first.is_unique(), "only whom it is being sent to has it");
    }

    #[test]
    fn nothing_is_made_while_nobody_asks() {
        let (publish, renderer) = renderer();
        publish.send_replace(Published::default());
        assert_eq!(made(&renderer), 0);
    }
}
