//! Which request gets which answer.

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Buf, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use maud::html;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::sleep;

use super::rendering::{Document, Form, Renderer};
use super::{PROBES, Settings, encoding};
use crate::ledger_json;
use crate::status::{Published, Source, SourceStatus};

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The page needs nothing but itself: its own style, its own script and the same page again.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                           connect-src 'self'; base-uri 'none'; form-action 'none'";

/// How long a Prometheus waits for a scrape, in seconds.
const SCRAPE_TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// The part of that time in which an answer must be there, so that it is not on its way when nobody waits any more.
const PATIENCE: f64 = 0.9;

/// How much of an answer is given to a connection at once: as much as most answers have, because each piece is a call of
/// the system.
const PIECE_BYTES: usize = 256 * 1024;

/// Everything that answers are made of.
pub(super) struct Site {
    telemetry_path: Arc<str>,
    renderer: Arc<Renderer>,
    slots: Arc<Semaphore>,
}

/// What is sent: bytes that are shared with whoever else asked, and the right to be answered.
pub(super) struct Answer {
    rest: Bytes,
    slot: Option<OwnedSemaphorePermit>,
}

/// A piece of an answer. With the last one goes the right to be answered, which is given back when all of it is on its way.
pub(super) struct Piece {
    rest: Bytes,
    _slot: Option<OwnedSemaphorePermit>,
}

// === impl Site ===

impl Site {
    pub(super) fn new(settings: &Settings, published: watch::Receiver<Published>) -> Self {
        Self {
            telemetry_path: Arc::clone(&settings.telemetry_path),
            renderer: Arc::new(Renderer::new(settings, published)),
            slots: Arc::new(Semaphore::new(settings.limits.requests)),
        }
    }

    /// Lets go of what was made of a report as soon as there is another one; never ends.
    pub(super) async fn forget_what_is_old(&self) {
        self.renderer.forget_what_is_old().await;
    }

    /// Answers one request.
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Answer> {
        let path = request.uri().path();
        let headers = request.headers();
        let document = match path {
            _ if *path == *self.telemetry_path => Some(Document::Metrics(encoding::format(headers))),
            "/" => Some(Document::Page),
            ledger_json::PATH => Some(Document::Ledger),
            _ => None,
        };
        if document.is_none() && !PROBES.contains(&path) {
            return self.not_found(path);
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return method_not_allowed(request.method());
        }
        match document {
            Some(document) => {
                let form = Form { document, gzip: encoding::prefers_gzip(headers) };
                self.answer_in_turn(form, patience(headers)).await
            }
            None if path == "/-/healthy" => text(StatusCode::OK, "healthy\n"),
            None => self.ready(),
        }
    }

    /// Sends a document, if not too many others wait for one, and if it is there in time.
    async fn answer_in_turn(&self, form: Form, patience: Option<Duration>) -> Response<Answer> {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            return too_many_requests();
        };
        let too_late = async {
            match patience {
                Some(patience) => sleep(patience).await,
                None => pending().await,
            }
        };
        let outcome = tokio::select! {
            // What is there too late counts as not there.
            biased;
            () = too_late => return too_slow(),
            outcome = self.renderer.render(form) => outcome,
        };
        let mut response = match outcome {
            Ok(bytes) => document(form, bytes),
            Err(reason) => failed(form, &reason),
        };
        response.body_mut().slot = Some(slot);
        response
    }

    fn ready(&self) -> Response<Answer> {
        match why_not_ready(&self.renderer.published()) {
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
        respond(StatusCode::NOT_FOUND, HTML, page.into_string().into())
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

/// How long the client waits for the answer, if it says so.
fn patience(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(SCRAPE_TIMEOUT)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds * PATIENCE).ok()
}

// === answers ===

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Answer> {
    let mut response = Response::new(Answer { rest: body, slot: None });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Answer> {
    respond(status, TEXT, text.into())
}

fn document(form: Form, body: Bytes) -> Response<Answer> {
    let (content_type, vary) = match form.document {
        Document::Metrics(format) => (format.content_type(), "Accept, Accept-Encoding"),
        Document::Page => (HTML, "Accept-Encoding"),
        Document::Ledger => (JSON, "Accept-Encoding"),
    };
    let mut response = respond(StatusCode::OK, content_type, body);
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static(vary));
    if form.gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if form.document == Document::Page {
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    }
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
    unavailable("too many requests are being answered already: scrape less often or from fewer places\n")
}

fn too_slow() -> Response<Answer> {
    unavailable("this could not be answered within the scrape timeout: allow more time, or try again\n")
}

fn unavailable(reason: &'static str) -> Response<Answer> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, reason);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn failed(form: Form, reason: &str) -> Response<Answer> {
    tracing::error!(?form, reason, "failed to make an answer");
    text(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to make this answer: {reason}\n"))
}

// === impl Answer ===

impl Body for Answer {
    type Data = Piece;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Infallible>>> {
        let length = self.rest.len().min(PIECE_BYTES);
        let rest = self.rest.split_to(length);
        // It goes with the last piece, which is dropped when it is sent.
        let slot = if self.rest.is_empty() { self.slot.take() } else { None };
        Poll::Ready((length > 0).then(|| Ok(Frame::data(Piece { rest, _slot: slot }))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.rest.len()).unwrap_or(u64::MAX))
    }
}

// === impl Piece ===

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.rest.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.rest.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.rest.advance(count);
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
