//! Who may ask: how often, and with which password.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode};
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio_rustls::rustls::ServerConfig;

use super::PROBES;
use super::answer::{self, Answer, Site};
use crate::clock;
use crate::web_config::{PasswordHash, WebConfig};

/// How many passwords may wait to be looked at, one after the other: it takes a processor some 50 ms each, and who asks
/// for more than this in a second is guessing.
const QUEUE: usize = 16;

/// What a client is asked for that gave no password.
const CHALLENGE: &str = "Basic realm=\"gpu-cost-exporter\", charset=\"UTF-8\"";

/// Lets requests through to the site, or answers them itself.
pub(super) struct Gate {
    config: watch::Receiver<Arc<WebConfig>>,
    site: Arc<Site>,
    passwords: Passwords,
    /// When the next request is due, in nanoseconds since boot.
    due: Mutex<u64>,
}

/// Passwords that are being looked at, and those that were right.
struct Passwords {
    /// For each user, the keyed hash of its password's hash and of the password that was right. The key is this
    /// process's own, so that the memory of it holds no password.
    right: Mutex<HashMap<String, hmac::Tag>>,
    /// `None` if the system has no random numbers: then every password is looked at each time.
    key: Option<hmac::Key>,
    queue: Semaphore,
    turn: Arc<Semaphore>,
}

/// What is to be said of a password.
enum Verdict {
    Right,
    Wrong,
    /// Too many are being looked at.
    Busy,
}

// === impl Gate ===

impl Gate {
    pub(super) fn new(config: watch::Receiver<Arc<WebConfig>>, site: Arc<Site>) -> Self {
        Self { config, site, passwords: Passwords::new(), due: Mutex::default() }
    }

    /// How a new connection is to be encrypted, if at all.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.config.borrow().tls.clone()
    }

    /// Answers one request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        let config = Arc::clone(&self.config.borrow());
        let refusal = match request.uri().path() {
            path if PROBES.contains(&path) => None,
            _ => self.refusal(&config, request.headers()).await,
        };
        let mut response = match refusal {
            Some(refusal) => refusal,
            None => Arc::clone(&self.site).answer(request).await,
        };
        for (name, value) in &config.headers {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }

    async fn refusal(&self, config: &WebConfig, headers: &HeaderMap) -> Option<Response<Answer>> {
        if !self.is_admitted(config) {
            let said = "too many requests: rate_limit of the web configuration allows no more\n";
            return Some(answer::text(StatusCode::TOO_MANY_REQUESTS, said));
        }
        if config.users.is_empty() {
            return None;
        }
        let verdict = match credentials(headers) {
            Some((user, password)) => self.passwords.judge(&config.users, user, password).await,
            None => Verdict::Wrong,
        };
        match verdict {
            Verdict::Right => None,
            Verdict::Wrong => Some(refused(
                (StatusCode::UNAUTHORIZED, "a name and its password are needed\n"),
                (WWW_AUTHENTICATE, CHALLENGE),
            )),
            Verdict::Busy => Some(refused(
                (StatusCode::SERVICE_UNAVAILABLE, "too many passwords are being looked at already\n"),
                (RETRY_AFTER, "1"),
            )),
        }
    }

    fn is_admitted(&self, config: &WebConfig) -> bool {
        let Some(limit) = config.rate_limit else { return true };
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        match limit.admit(*due, clock::uptime().as_nanos()) {
            Some(next) => {
                *due = next;
                true
            }
            None => false,
        }
    }
}

fn refused(
    (status, said): (StatusCode, &'static str),
    (header, value): (hyper::header::HeaderName, &'static str),
) -> Response<Answer> {
    let mut response = answer::text(status, said);
    response.headers_mut().insert(header, HeaderValue::from_static(value));
    response
}

/// The name and the password that a request comes with (RFC 7617).
fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let decoded = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let user = String::from_utf8(decoded.get(..colon)?.to_vec()).ok()?;
    Some((user, decoded.get(colon + 1..)?.to_vec()))
}

// === impl Passwords ===

impl Passwords {
    fn new() -> Self {
        Self {
            right: Mutex::default(),
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok(),
            queue: Semaphore::new(QUEUE),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    async fn judge(
        &self,
        users: &BTreeMap<String, PasswordHash>,
        user: String,
        password: Vec<u8>,
    ) -> Verdict {
        let hash = users.get(&user);
        let was_right = || hash.is_some_and(|hash| self.was_right(&user, hash, &password));
        if was_right() {
            return Verdict::Right;
        }
        let Ok(_place) = self.queue.try_acquire() else { return Verdict::Busy };
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        // The same scraper may have been looked at on another connection.
        if was_right() {
            return Verdict::Right;
        }
        // An unknown user takes as long as a known one, or names could be found out by time.
        let Some(judged) = hash.or_else(|| users.values().max_by_key(|hash| hash.cost())).cloned() else {
            return Verdict::Wrong;
        };
        let data = data(&judged, &password);
        let judging = spawn_blocking(move || {
            let is_right = judged.is_of(&password);
            drop(turn);
            is_right
        });
        if !judging.await.unwrap_or(false) || hash.is_none() {
            return Verdict::Wrong;
        }
        self.remember(users, user, &data);
        Verdict::Right
    }

    fn was_right(&self, user: &str, hash: &PasswordHash, password: &[u8]) -> bool {
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        let known = right.get(user).zip(self.key.as_ref());
        known.is_some_and(|(tag, key)| hmac::verify(key, &data(hash, password), tag.as_ref()).is_ok())
    }

    /// Keeps one password for each user that there is.
    fn remember(&self, users: &BTreeMap<String, PasswordHash>, user: String, data: &[u8]) {
        let Some(key) = &self.key else { return };
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        right.retain(|user, _| users.contains_key(user));
        right.insert(user, hmac::sign(key, data));
    }
}

/// The hash, whose length is always the same, and the password.
fn data(hash: &PasswordHash, password: &[u8]) -> Vec<u8> {
    hash.bytes().chain(password.iter().copied()).collect()
}
