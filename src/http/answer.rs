//! Which request gets which answer.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use maud::html;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{Settings, encoding, page};
use crate::ledger_json;
use crate::metrics::{self, Process};
use crate::status::{Published, Source, SourceStatus};

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The page needs nothing but itself: its own style, its own script and the same page again.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                           connect-src 'self'; base-uri 'none'; form-action 'none'";

/// How much of a body is given to a connection at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// Everything that answers are made of.
pub(super) struct Site {
    telemetry_path: Arc<str>,
    published: watch::Receiver<Published>,
    process: Process,
    slots: Arc<Semaphore>,
    last: Mutex<Option<Rendered>>,
}

/// What is rendered of what is published, for which one has to wait one's turn.
#[derive(Clone, Copy)]
enum Document {
    Metrics,
    Page,
    Ledger,
}

/// What one published value looks like; many scrapers share it.
struct Rendered {
    published: Published,
    text: Bytes,
}

/// What is sent, and the right to be answered, which is given back once all of it is on its way.
pub(super) struct Answer {
    parts: VecDeque<Bytes>,
    slot: Option<OwnedSemaphorePermit>,
}

// === impl Site ===

impl Site {
    pub(super) fn new(settings: &Settings, published: watch::Receiver<Published>) -> Self {
        Self {
            telemetry_path: Arc::clone(&settings.telemetry_path),
            published,
            process: Process::current(),
            slots: Arc::new(Semaphore::new(settings.limits.requests)),
            last: Mutex::default(),
        }
    }

    /// Answers one request.
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Answer> {
        let path = request.uri().path();
        let document = match path {
            _ if *path == *self.telemetry_path => Some(Document::Metrics),
            "/" => Some(Document::Page),
            ledger_json::PATH => Some(Document::Ledger),
            _ => None,
        };
        if document.is_none() && !["/-/healthy", "/-/ready"].contains(&path) {
            return self.not_found(path);
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return method_not_allowed(request.method());
        }
        match document {
            Some(document) => self.answer_in_turn(document, encoding::prefers_gzip(request.headers())).await,
            None if path == "/-/healthy" => text(StatusCode::OK, "healthy\n"),
            None => self.ready(),
        }
    }

    /// Renders a document, if not too many others wait for one.
    async fn answer_in_turn(self: Arc<Self>, document: Document, gzip: bool) -> Response<Answer> {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            return too_many_requests();
        };
        let answered = tokio::task::spawn_blocking(move || {
            let mut response = match document {
                Document::Metrics => self.scrape(gzip),
                Document::Page => self.page(gzip),
                Document::Ledger => self.ledger(gzip),
            };
            response.body_mut().slot = Some(slot);
            response
        });
        answered.await.unwrap_or_else(|error| failed("render an answer", &error))
    }

    fn scrape(&self, gzip: bool) -> Response<Answer> {
        let rendered = self.text().and_then(|text| Ok([text, self.process.render()?.into()]));
        match rendered {
            Ok(parts) => encoded(metrics::CONTENT_TYPE, parts.into(), gzip),
            Err(error) => failed("render the metrics", &error),
        }
    }

    /// The text of what is published now, rendered once however many ask for it.
    fn text(&self) -> Result<Bytes, metrics::Error> {
        let published = self.published.borrow().clone();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_ref().filter(|last| last.is_of(&published)) {
            return Ok(last.text.clone());
        }
        let text = Bytes::from(metrics::render(&published)?);
        *last = Some(Rendered { published, text: text.clone() });
        Ok(text)
    }

    fn page(&self, gzip: bool) -> Response<Answer> {
        let published = self.published.borrow().clone();
        let page = page::render(&published, &self.telemetry_path);
        let mut response = encoded(HTML, vec![page.into()], gzip);
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
        response
    }

    fn ledger(&self, gzip: bool) -> Response<Answer> {
        let published = self.published.borrow().clone();
        match ledger_json::render(&published) {
            Ok(ledger) => encoded(JSON, vec![ledger.into()], gzip),
            Err(error) => failed("write the ledger as JSON", &error),
        }
    }

    fn ready(&self) -> Response<Answer> {
        match why_not_ready(&self.published.borrow()) {
            None => text(StatusCode::OK, "ready\n"),
            Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
        }
    }

    fn not_found(&self, path: &str) -> Response<Answer> {
        let page = html! {
            (maud::DOCTYPE)
            title { "Not found" }
            p { "There is nothing at " code { (path) } ". There is " a href="/" { "the page" } ", "
                a href=(self.telemetry_path) { (self.telemetry_path) } ", "
                a href=(ledger_json::PATH) { (ledger_json::PATH) } ", "
                a href="/-/healthy" { "/-/healthy" } " and " a href="/-/ready" { "/-/ready" } "." }
        };
        respond(StatusCode::NOT_FOUND, HTML, vec![page.into_string().into()])
    }
}

/// Why nothing can be said yet, one reason a line, with what to do; `None` once there is a report and every source that
/// it needs has answered at least once. Money goes on without the API server and the operator's price file.
fn why_not_ready(published: &Published) -> Option<String> {
    if published.status.stopping {
        return Some("not ready: it is about to end\n".into());
    }
    // Nothing is reported before the ledger is read that is to go on.
    let waits_for_state = published.report.is_none();
    let is_needed = |status: &&SourceStatus| {
        !status.source.is_optional() || waits_for_state && status.source == Source::StateFile
    };
    let sources = || published.status.sources.iter().filter(is_needed);
    if published.report.is_some() && sources().all(|source| source.last_success.is_some()) {
        return None;
    }
    let mut text = String::from("not ready: there is no good observation yet\n");
    let down = sources().filter(|source| !source.up);
    let mut lines: Vec<String> = down
        .map(|source| {
            let message = source.message.as_deref().unwrap_or("it has not answered yet");
            format!("{}: {message}\n", source.source.as_str())
        })
        .collect();
    if lines.is_empty() {
        lines.push("no source is known to be down: the first observation takes one tick\n".into());
    }
    text.extend(lines);
    Some(text)
}

// === impl Rendered ===

impl Rendered {
    fn is_of(&self, published: &Published) -> bool {
        let same_report = match (&self.published.report, &published.report) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        same_report && Arc::ptr_eq(&self.published.status, &published.status)
    }
}

// === answers ===

fn respond(status: StatusCode, content_type: &'static str, parts: Vec<Bytes>) -> Response<Answer> {
    let mut response = Response::new(Answer { parts: parts.into(), slot: None });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Answer> {
    respond(status, TEXT, vec![text.into()])
}

fn encoded(content_type: &'static str, parts: Vec<Bytes>, gzip: bool) -> Response<Answer> {
    let compressed = if gzip { Some(encoding::gzip(&parts)) } else { None };
    let mut response = match compressed {
        None => respond(StatusCode::OK, content_type, parts),
        Some(Err(error)) => return failed("compress an answer", &error),
        Some(Ok(compressed)) => {
            let mut response = respond(StatusCode::OK, content_type, vec![compressed]);
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        }
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

fn method_not_allowed(method: &Method) -> Response<Answer> {
    let mut response = text(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not allowed: this server can only be read\n"),
    );
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn too_many_requests() -> Response<Answer> {
    let mut response = text(
        StatusCode::SERVICE_UNAVAILABLE,
        "too many requests are being answered already: scrape less often or from fewer places\n",
    );
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn failed(what: &str, error: &(dyn Error + 'static)) -> Response<Answer> {
    tracing::error!(error, "failed to {what}");
    text(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to {what}: {error}\n"))
}

// === impl Answer ===

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    /// The next piece: small, so that the slot is held until nearly all has been taken.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        while let Some(part) = self.parts.front_mut() {
            if part.is_empty() {
                self.parts.pop_front();
                continue;
            }
            let piece = part.split_to(part.len().min(CHUNK_BYTES));
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        self.slot = None;
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.parts.iter().all(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = self.parts.iter().map(|part| u64::try_from(part.len()).unwrap_or(u64::MAX));
        SizeHint::with_exact(bytes.fold(0, u64::saturating_add))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;

    #[test]
    fn who_is_not_ready_says_why() {
        let down = |source, message: Option<&str>| SourceStatus {
            source,
            up: false,
            last_success: None,
            errors: 1,
            duration: None,
            message: message.map(Into::into),
        };
        let cases = [
            (
                vec![],
                "not ready: there is no good observation yet\n\
                 no source is known to be down: the first observation takes one tick\n",
            ),
            (
                vec![
                    down(Source::Nvml, Some("no libnvidia-ml.so.1: install the driver")),
                    down(Source::Kubelet, None),
                    // It keeps nobody waiting.
                    down(Source::Pricing, None),
                ],
                "not ready: there is no good observation yet\n\
                 nvml: no libnvidia-ml.so.1: install the driver\n\
                 kubelet: it has not answered yet\n",
            ),
        ];
        for (sources, expected) in cases {
            let status = Arc::new(Status { sources, ..Status::default() });
            assert_eq!(why_not_ready(&Published { report: None, status }).as_deref(), Some(expected));
        }
    }
}
