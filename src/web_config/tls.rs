//! `tls_server_config`: how connections are encrypted, and who may open one.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::clients::{Asked, Clients};
use super::entry::{boolean, choice, said, scalar, text};
use super::files::Origin;
use super::suites::{self, VERSIONS, Version};
use crate::yaml::findings::{Entry, Findings};

/// The keys of the section.
const KEYS: &[&str] = &[
    "cert_file",
    "key_file",
    "cert",
    "key",
    "client_auth_type",
    "client_ca_file",
    "client_ca",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
];

/// Whether clients are asked for a certificate, by its names. One is older than the others.
const ASKED: &[(&str, Asked)] = &[
    ("NoClientCert", Asked::Nothing),
    ("RequestClientCert", Asked::IfGiven),
    ("RequireAnyClientCert", Asked::Any),
    ("VerifyClientCertIfGiven", Asked::GoodIfGiven),
    ("RequireAndVerifyClientCert", Asked::Good),
    ("RequireClientCert", Asked::Any),
];

const SECTION: &str = "a map with cert_file and key_file";
const FILE: &str = "the path of a file";
const NAMES: &str = "a list of names, such as [prometheus.example.com]";
const NAME: &str = "a name that a client's certificate may have, such as prometheus.example.com";

/// The one protocol that is spoken over it.
const HTTP: &[u8] = b"http/1.1";

/// The section, and what it says.
struct Section<'a, 't> {
    section: &'a Entry<'t>,
    entries: Vec<Entry<'t>>,
}

/// What proves that we are who we are.
struct Proof {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// How connections are encrypted, if the section says so and has no mistake.
pub(super) fn read(
    found: &mut Findings,
    section: &Entry<'_>,
    origin: &mut Origin<'_>,
) -> Option<Arc<ServerConfig>> {
    let before = found.count();
    let section = Section { section, entries: said(found, section, KEYS, SECTION) };
    if section.entries.is_empty() {
        return None;
    }
    let proof = section.proof(found, origin);
    let versions = section.versions(found);
    let provider = Arc::new(section.provider(found, &versions));
    let clients = section.clients(found, origin, &provider);
    let prefers_ours = section.get("prefer_server_cipher_suites").and_then(|entry| boolean(found, entry));
    let proof = proof.filter(|_| found.count() == before)?;
    let mut config = section.build(found, proof, &versions, provider, clients)?;
    config.ignore_client_order = prefers_ours.unwrap_or(true);
    config.alpn_protocols = vec![HTTP.to_vec()];
    Some(Arc::new(config))
}

// === impl Section ===

impl<'t> Section<'_, 't> {
    fn get(&self, name: &str) -> Option<&Entry<'t>> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// The entry with PEM text, in the file or in one that is named; both would be one too many.
    fn pem(&self, found: &mut Findings, inline: &str, file: &str) -> Option<&Entry<'t>> {
        let (inline_entry, file_entry) = (self.get(inline), self.get(file));
        if let (Some(entry), Some(_)) = (inline_entry, file_entry) {
            found.problem(entry.key, &entry.path, format!("expected {inline} or {file}, found both"));
        }
        file_entry.or(inline_entry)
    }

    fn required(&self, found: &mut Findings, inline: &str, file: &str) -> Option<&Entry<'t>> {
        let entry = self.pem(found, inline, file);
        if entry.is_none() {
            let section = self.section;
            found.problem(section.key, &section.path, format!("expected {file} or {inline}, found none"));
        }
        entry
    }

    fn proof(&self, found: &mut Findings, origin: &mut Origin<'_>) -> Option<Proof> {
        let certificate = self.required(found, "cert", "cert_file");
        let key = self.required(found, "key", "key_file");
        let chain = certificate.and_then(|entry| certificates(found, entry, origin));
        let key = key.and_then(|entry| private_key(found, entry, origin));
        Some(Proof { chain: chain?, key: key? })
    }

    fn versions(&self, found: &mut Findings) -> Vec<&'static SupportedProtocolVersion> {
        let mut version = |name| Some((self.get(name)?, choice(found, self.get(name)?, VERSIONS)?));
        let (min, max) = (version("min_version"), version("max_version"));
        let lowest = min.map_or(Version::Tls12, |(_, version)| version);
        let highest = max.map_or(Version::Tls13, |(_, version)| version);
        if let Some((entry, _)) = min.filter(|_| lowest < Version::Tls12) {
            let message = "TLS 1.2 is the lowest that is spoken here: it is min_version TLS12 that holds";
            found.warning(entry.value, &entry.path, message);
        }
        if let Some((entry, _)) = max.filter(|_| highest < Version::Tls12) {
            found.unexpected(entry, "TLS12 or TLS13, the versions that are spoken here", "");
        } else if let Some((entry, _)) = max.or(min).filter(|_| lowest > highest) {
            found.unexpected(entry, "a max_version that is not below min_version", "");
        }
        suites::versions(lowest, highest)
    }

    /// The cryptography: ring's, with the suites and curves that are wanted.
    fn provider(&self, found: &mut Findings, versions: &[&SupportedProtocolVersion]) -> CryptoProvider {
        let mut provider = default_provider();
        if let Some(entry) = self.get("cipher_suites") {
            provider.cipher_suites = suites::suites(found, entry);
            let is_for = |version: &&&SupportedProtocolVersion| {
                provider.cipher_suites.iter().any(|suite| suite.version() == **version)
            };
            match versions.iter().filter(is_for).count() {
                0 if !versions.is_empty() => {
                    found.problem(entry.value, &entry.path, "expected a cipher suite of TLS 1.2, found none");
                }
                1 if versions.len() > 1 => {
                    let message = "no cipher suite of TLS 1.2 is left: clients must speak TLS 1.3";
                    found.warning(entry.value, &entry.path, message);
                }
                _ => {}
            }
        }
        if let Some(entry) = self.get("curve_preferences") {
            provider.kx_groups = suites::curves(found, entry);
        }
        provider
    }

    /// Which certificates of clients are good; `None` if they are not asked for one.
    fn clients(
        &self,
        found: &mut Findings,
        origin: &mut Origin<'_>,
        provider: &Arc<CryptoProvider>,
    ) -> Option<Arc<dyn ClientCertVerifier>> {
        let kind = self.get("client_auth_type");
        let asked = kind.map_or(Some(Asked::Nothing), |entry| choice(found, entry, ASKED));
        let authority = self.pem(found, "client_ca", "client_ca_file");
        let allowed = self.get("client_allowed_sans").map(|entry| names(found, entry));
        if let Some(asked) = asked {
            self.tell_what_protects_nothing(found, asked, authority);
        }
        let asked = asked.unwrap_or_default();
        let roots = authority.and_then(|entry| Some((entry, authorities(found, entry, origin)?)));
        match roots.filter(|_| asked.is_verified()) {
            Some((entry, roots)) => match Clients::known_to(asked, roots, allowed, provider) {
                Ok(clients) => Some(Arc::new(clients)),
                Err(error) => {
                    found.problem(entry.value, &entry.path, format!("expected good certificates: {error}"));
                    None
                }
            },
            None if asked == Asked::Nothing => None,
            None => Some(Arc::new(Clients::any(asked, allowed, provider))),
        }
    }

    /// A mistake in who may come in is the worst of all, because everything works.
    fn tell_what_protects_nothing(&self, found: &mut Findings, asked: Asked, authority: Option<&Entry<'_>>) {
        let beside = |why| format!("expected client_auth_type RequireAndVerifyClientCert beside it: {why}");
        if let Some(entry) = authority.filter(|_| asked == Asked::Nothing) {
            let why = "without it no client is asked for a certificate";
            found.problem(entry.key, &entry.path, beside(why));
        }
        if let Some(entry) = self.get("client_allowed_sans").filter(|_| !asked.is_required()) {
            let why = "who need not show a certificate has no name to be looked at";
            found.problem(entry.key, &entry.path, beside(why));
        }
        let Some(kind) = self.get("client_auth_type") else { return };
        if asked.is_verified() && authority.is_none() {
            let message = "expected client_ca_file beside it: somebody must vouch for clients";
            found.problem(kind.value, &kind.path, message);
        }
        if asked != Asked::Nothing && !asked.is_verified() {
            let message = "proves nothing: anybody can make a certificate, and nobody need vouch for it";
            found.warning(kind.value, &kind.path, message);
        }
    }

    fn build(
        &self,
        found: &mut Findings,
        proof: Proof,
        versions: &[&'static SupportedProtocolVersion],
        provider: Arc<CryptoProvider>,
        clients: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Option<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let built = builder.and_then(|builder| {
            let builder = match clients {
                Some(clients) => builder.with_client_cert_verifier(clients),
                None => builder.with_no_client_auth(),
            };
            builder.with_single_cert(proof.chain, proof.key)
        });
        let error = match built {
            Ok(config) => return Some(config),
            Err(error) => error,
        };
        let (entry, message) = match &error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => (
                self.pem(found, "key", "key_file"),
                "expected the key of the certificate, found another's".into(),
            ),
            Error::InvalidCertificate(_) => {
                (self.pem(found, "cert", "cert_file"), format!("expected a good certificate: {error}"))
            }
            _ => (self.pem(found, "key", "key_file"), format!("expected a key that can be used: {error}")),
        };
        let entry = entry.unwrap_or(self.section);
        found.problem(entry.value, &entry.path, message);
        None
    }
}

// === PEM ===

/// The PEM text of an entry, in itself or in the file that it names.
fn pem_text(found: &mut Findings, entry: &Entry<'_>, origin: &mut Origin<'_>) -> Option<String> {
    if !entry.name.ends_with("_file") {
        return scalar(found, entry, "PEM").map(str::to_owned);
    }
    let path = text(found, entry, FILE)?;
    origin.read(path).map_err(|message| found.problem(entry.value, &entry.path, message)).ok()
}

fn certificates(
    found: &mut Findings,
    entry: &Entry<'_>,
    origin: &mut Origin<'_>,
) -> Option<Vec<CertificateDer<'static>>> {
    let text = pem_text(found, entry, origin)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let chain = read.ok().filter(|chain| !chain.is_empty());
    if chain.is_none() {
        let message =
            "expected certificates in PEM (-----BEGIN CERTIFICATE-----), found none that can be read";
        found.problem(entry.value, &entry.path, message);
    }
    chain
}

fn private_key(
    found: &mut Findings,
    entry: &Entry<'_>,
    origin: &mut Origin<'_>,
) -> Option<PrivateKeyDer<'static>> {
    let text = pem_text(found, entry, origin)?;
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).ok();
    if key.is_none() {
        let message = "expected a private key in PEM (-----BEGIN PRIVATE KEY-----), without a passphrase, found none \
                       that can be read";
        found.problem(entry.value, &entry.path, message);
    }
    key
}

fn authorities(found: &mut Findings, entry: &Entry<'_>, origin: &mut Origin<'_>) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(found, entry, origin)? {
        if let Err(error) = roots.add(certificate) {
            found.problem(entry.value, &entry.path, format!("expected certificates of authorities: {error}"));
            return None;
        }
    }
    Some(roots)
}

fn names(found: &mut Findings, entry: &Entry<'_>) -> Vec<String> {
    let items = found.items(entry, NAMES);
    items.iter().filter_map(|item| text(found, item, NAME).map(str::to_owned)).collect()
}
