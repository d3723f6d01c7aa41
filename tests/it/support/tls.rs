//! Certificates of authorities made up for a test, and a client that speaks TLS as it is told.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::server::{DEADLINE, Got, read_to_end};

/// Who vouches for others.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A client that trusts one authority.
#[derive(Clone)]
pub(crate) struct Client {
    roots: RootCertStore,
    identity: Option<Identity>,
    only_tls12: bool,
}

/// An encrypted connection.
pub(crate) type Encrypted = StreamOwned<ClientConnection, TcpStream>;

// === impl Authority ===

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate of a server or a client that has these names.
    pub(crate) fn vouch_for(&self, names: &[&str]) -> Identity {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A certificate of this machine.
    pub(crate) fn vouch_for_us(&self) -> Identity {
        self.vouch_for(&["127.0.0.1", "localhost"])
    }
}

// === impl Identity ===

impl Identity {
    /// Writes `tls.crt` and `tls.key`.
    pub(crate) fn write_to(&self, directory: &Path) {
        fs::write(directory.join("tls.crt"), &self.certificate).unwrap();
        fs::write(directory.join("tls.key"), &self.key).unwrap();
    }

    /// The certificate as it is sent.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

// === impl Client ===

impl Client {
    pub(crate) fn trusting(authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
        Self { roots, identity: None, only_tls12: false }
    }

    pub(crate) fn showing(self, identity: &Identity) -> Self {
        Self { identity: Some(identity.clone()), ..self }
    }

    pub(crate) fn of_tls12(self) -> Self {
        Self { only_tls12: true, ..self }
    }

    /// Opens a connection to a port of this machine.
    pub(crate) fn connect(&self, address: SocketAddr) -> io::Result<Encrypted> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let name = address.ip().into();
        let session = ClientConnection::new(Arc::new(self.config()), name).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        // What is wrong with a certificate of ours is told with the first bytes that come back.
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    fn config(&self) -> ClientConfig {
        let versions = if self.only_tls12 { vec![&TLS12] } else { vec![&TLS12, &TLS13] };
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&versions)
            .unwrap()
            .with_root_certificates(self.roots.clone());
        match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![identity.der()], key).unwrap()
            }
        }
    }

    /// Asks for a page with these header lines, over a connection of its own.
    pub(crate) fn ask(&self, port: u16, path: &str, headers: &[&str]) -> io::Result<Got> {
        let mut stream = self.connect((Ipv4Addr::LOCALHOST, port).into())?;
        let headers: String = headers.iter().flat_map(|line| [line, "\r\n"]).collect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n")?;
        read_to_end(Unclean(stream))
    }

    pub(crate) fn get(&self, port: u16, path: &str) -> io::Result<Got> {
        self.ask(port, path, &[])
    }
}

/// A connection that may end without a farewell.
pub(crate) struct Unclean(pub(crate) Encrypted);

impl Read for Unclean {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }
}
