//! The web configuration: who may ask, and over what, in the file that exporters of Prometheus share.
//!
//! ```yaml
//! tls_server_config:
//!   cert_file: tls.crt                               # paths are relative to this file
//!   key_file: tls.key
//!   client_auth_type: RequireAndVerifyClientCert     # whether clients must show a certificate
//!   client_ca_file: ca.crt
//! basic_auth_users:
//!   prometheus: $2y$10$wHoMayAskAndOverWhat..RaJ/N/PvbU91fJw0Xdfk38mUTHd/ijy    # bcrypt
//! ```
//!
//! Its keys and their meaning are those of Prometheus' exporter-toolkit. It is read more strictly: what protects nothing
//! is a mistake here, and what this server cannot do is said. No message repeats what may be a secret.
//!
//! The modules in reading order: `entry` (values as they are written), `files` (the files that it names), `suites` (the
//! words of TLS), `tls` (the section about it), `clients` (which certificates are good), `names` (whose they are),
//! `users` (passwords), `headers`, `rate`.

mod clients;
mod entry;
mod files;
mod headers;
mod names;
mod rate;
mod suites;
mod tls;
mod users;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use tokio_rustls::rustls::ServerConfig;

use crate::yaml::findings::Findings;
use crate::yaml::{text, tree};

pub use self::files::Files;
pub use self::rate::RateLimit;
pub use self::users::PasswordHash;
pub use crate::yaml::problem::Problem;

use self::files::Origin;

/// The keys of the file.
const SECTIONS: &[&str] = &["tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"];

const FILE: &str = "a map with tls_server_config, http_server_config, basic_auth_users or rate_limit";

/// Who may ask, and over what.
#[derive(Clone, Debug, Default)]
pub struct WebConfig {
    /// How connections are encrypted; `None` if they are not.
    pub tls: Option<Arc<ServerConfig>>,
    /// The password of each user; empty if nobody needs one.
    pub users: BTreeMap<String, PasswordHash>,
    /// What every answer says beside what it is about.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How often may be asked; `None` if there is no limit.
    pub rate_limit: Option<RateLimit>,
}

/// What reading the file came to.
#[derive(Debug)]
pub struct Reading {
    /// What the file says and what in it looks like a mistake, or every mistake in it.
    pub result: Result<(WebConfig, Vec<Problem>), Vec<Problem>>,
    /// Every file that was read for it, to see when one of them changes.
    pub files: Files,
}

/// Reads the file at `path` and those that it names.
#[must_use]
pub fn read(path: &Path) -> Reading {
    let mut files = Files::default();
    files.mark(path);
    let result = text::read(path).map_err(|problem| vec![problem]);
    let mut origin = Origin { directory: path.parent().unwrap_or(Path::new("")), files: &mut files };
    let result = result.and_then(|text| parse(&text, &mut origin));
    Reading { result, files }
}

fn parse(text: &str, origin: &mut Origin<'_>) -> Result<(WebConfig, Vec<Problem>), Vec<Problem>> {
    let root = text::plain(text).and_then(tree::parse).map_err(|problem| vec![problem])?;
    let mut found = Findings::default();
    let mut config = WebConfig::default();
    let sections =
        root.as_ref().map(|root| entry::said_at(&mut found, root, "", SECTIONS, FILE)).unwrap_or_default();
    for section in sections {
        match section.name {
            "tls_server_config" => config.tls = tls::read(&mut found, &section, origin),
            "http_server_config" => config.headers = headers::read(&mut found, &section),
            "basic_auth_users" => config.users = users::read(&mut found, &section),
            // All others were refused.
            _ => config.rate_limit = rate::read(&mut found, &section),
        }
    }
    Ok((config, found.into_result()?))
}
