//! The words that this file has for versions, cipher suites and curves, which are those of Go, and what we have for them.

use tokio_rustls::rustls::crypto::SupportedKxGroup;
use tokio_rustls::rustls::crypto::ring::kx_group::{SECP256R1, SECP384R1, X25519};
use tokio_rustls::rustls::crypto::ring::{ALL_CIPHER_SUITES, ALL_KX_GROUPS};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use super::entry::text;
use crate::yaml::findings::{Entry, Findings};
use crate::yaml::suggest;

/// A version of TLS, the older the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}

/// Versions by their names.
pub(super) const VERSIONS: &[(&str, Version)] = &[
    ("TLS13", Version::Tls13),
    ("TLS12", Version::Tls12),
    ("TLS11", Version::Tls11),
    ("TLS10", Version::Tls10),
];

/// Cipher suites that exporters in Go have beside ours. Each is of TLS 1.2, and none is safe against every known attack:
/// either its mode of encryption (CBC) or its exchange of keys (RSA) has had some.
const OTHER_SUITES: &[&str] = &[
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
];

/// Curves that exporters in Go have beside ours.
const OTHER_CURVES: &[&str] = &["CurveP521"];

/// What exists between `min` and `max` that we speak.
pub(super) fn versions(min: Version, max: Version) -> Vec<&'static SupportedProtocolVersion> {
    let spoken = [(Version::Tls13, &TLS13), (Version::Tls12, &TLS12)].into_iter();
    spoken.filter(|(version, _)| (min..=max).contains(version)).map(|(_, spoken)| spoken).collect()
}

/// The suites of a list, in its order, and all those of TLS 1.3, which no list is about.
pub(super) fn suites(found: &mut Findings, entry: &Entry<'_>) -> Vec<SupportedCipherSuite> {
    let ours: Vec<_> = ALL_CIPHER_SUITES.iter().map(|suite| (suite_name(*suite), *suite)).collect();
    let named = named(found, entry, "cipher suite", &ours, OTHER_SUITES);
    let modern = ALL_CIPHER_SUITES.iter().copied().filter(|suite| suite.tls13().is_some());
    modern.chain(named.into_iter().filter(|suite| suite.tls13().is_none())).collect()
}

fn suite_name(suite: SupportedCipherSuite) -> String {
    suite.suite().as_str().unwrap_or_default().replace("TLS13_", "TLS_")
}

/// The curves of a list, in its order.
pub(super) fn curves(found: &mut Findings, entry: &Entry<'_>) -> Vec<&'static dyn SupportedKxGroup> {
    let ours = [("CurveP256", SECP256R1), ("CurveP384", SECP384R1), ("X25519", X25519)];
    let ours: Vec<_> = ours.into_iter().map(|(name, curve)| (name.to_owned(), curve)).collect();
    let named = named(found, entry, "curve", &ours, OTHER_CURVES);
    if named.is_empty() { ALL_KX_GROUPS.to_vec() } else { named }
}

/// What the words of a list stand for. One that only others have is left out, which is said; if none is left, it is a
/// mistake.
fn named<T: Copy>(
    found: &mut Findings,
    entry: &Entry<'_>,
    what: &str,
    ours: &[(String, T)],
    others: &[&str],
) -> Vec<T> {
    let before = found.count();
    let mut named = Vec::new();
    for item in found.items(entry, &format!("a list of {what}s")) {
        let Some(word) = text(found, &item, &format!("the name of a {what}")) else { continue };
        if let Some((_, meant)) = ours.iter().find(|(name, _)| name == word) {
            named.push(*meant);
        } else if others.contains(&word) {
            let message = format!("the {what} `{word}` is not spoken here: it is left out");
            found.warning(item.value, &item.path, message);
        } else {
            let known: Vec<&str> = ours.iter().map(|(name, _)| &**name).collect();
            let meant = suggest::phrase(&suggest::keys(word, &known));
            found.unexpected(&item, &format!("one of {}", known.join(", ")), &meant);
        }
    }
    if named.is_empty() && found.count() == before {
        let known: Vec<&str> = ours.iter().map(|(name, _)| &**name).collect();
        let message = format!("expected a {what} that is spoken here, found none of {}", known.join(", "));
        found.problem(entry.value, &entry.path, message);
    }
    named
}
