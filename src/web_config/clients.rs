//! Which certificates of clients are good.

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

use super::names;

/// What clients are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing.
    #[default]
    Nothing,
    /// A certificate, whoever vouches for it, if they have one.
    IfGiven,
    /// A certificate, whoever vouches for it.
    Any,
    /// A certificate that an authority of ours vouches for, if they have one.
    GoodIfGiven,
    /// A certificate that an authority of ours vouches for.
    Good,
}

/// Which certificates of clients are good.
#[derive(Debug)]
pub(super) struct Clients {
    required: bool,
    /// Who must vouch for a certificate; `None` if nobody need.
    authorities: Option<Arc<dyn ClientCertVerifier>>,
    /// Of these names a certificate must have one; `None` if any will do.
    allowed: Option<Vec<String>>,
    algorithms: WebPkiSupportedAlgorithms,
}

// === impl Asked ===

impl Asked {
    /// Whether who has no certificate is turned away.
    pub(super) const fn is_required(self) -> bool {
        matches!(self, Self::Any | Self::Good)
    }

    /// Whether somebody must vouch for a certificate.
    pub(super) const fn is_verified(self) -> bool {
        matches!(self, Self::GoodIfGiven | Self::Good)
    }
}

// === impl Clients ===

impl Clients {
    /// Certificates that one of `roots` vouches for.
    pub(super) fn known_to(
        asked: Asked,
        roots: RootCertStore,
        allowed: Option<Vec<String>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let provider = Arc::clone(provider);
        let authorities = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        Ok(Self { authorities: Some(authorities.build()?), ..Self::any(asked, allowed, &provider) })
    }

    /// Certificates, whoever made them.
    pub(super) fn any(asked: Asked, allowed: Option<Vec<String>>, provider: &Arc<CryptoProvider>) -> Self {
        Self {
            required: asked.is_required(),
            authorities: None,
            allowed,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    fn is_allowed(&self, certificate: &CertificateDer<'_>) -> bool {
        let Some(allowed) = &self.allowed else { return true };
        let names = names::of(certificate).unwrap_or_default();
        names.iter().any(|name| allowed.contains(name))
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authorities.as_ref().map_or(&[], |authorities| authorities.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = match &self.authorities {
            Some(authorities) => authorities.verify_client_cert(certificate, intermediates, now)?,
            None => ParsedCertificate::try_from(certificate).map(|_| ClientCertVerified::assertion())?,
        };
        if self.is_allowed(certificate) {
            Ok(verified)
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
