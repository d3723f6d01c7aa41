//! Where an exporter is.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use hyper::http::uri::Authority;

use crate::ledger_json::PATH;

/// The port of plain HTTP where none is named.
const HTTP_PORT: u16 = 80;

/// The address of an exporter, such as `http://localhost:8080`, perhaps below a path of a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name or number, an IPv6 address without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Host and port as they were written.
    pub(super) authority: String,
    /// What stands before every path; empty or `/…`, without a slash at its end.
    pub(super) prefix: String,
}

/// How another program fetches the ledger of an exporter that wants TLS or a password.
pub(super) fn curl(authority: &str) -> String {
    format!("curl --fail --cacert CA.crt --user NAME https://{authority}{PATH}")
}

// === impl Address ===

impl Address {
    /// Host and port as they were written.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = || "expected an address such as http://localhost:8080".to_owned();
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = with_scheme.parse().map_err(|_| expected())?;
        if uri.scheme_str() != Some("http") {
            let authority = uri.authority().map_or("HOST:8080", Authority::as_str);
            return Err(format!(
                "{}: TLS is not spoken here; where only the exporter's proxy wants it, kubectl port-forward leads around \
                 it, and where the exporter does: {} | gpu-cost-exporter explain --ledger=-",
                expected(),
                curl(authority)
            ));
        }
        let authority =
            uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(expected)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let names_port = authority.as_str() != authority.host();
        let port = authority.port_u16().or((!names_port).then_some(HTTP_PORT)).ok_or_else(expected)?;
        if host.is_empty() || uri.query().is_some() {
            return Err(expected());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_what_people_type() {
        let cases = [
            ("http://localhost:8080", "localhost", 8080, ""),
            ("localhost:9400", "localhost", 9400, ""),
            ("http://gpu-7", "gpu-7", 80, ""),
            ("http://gpu-7/", "gpu-7", 80, ""),
            ("http://[::1]:8080/gpu/cost/", "::1", 8080, "/gpu/cost"),
        ];
        for (text, host, port, prefix) in cases {
            let address: Address = text.parse().unwrap();
            assert_eq!((&*address.host, address.port, &*address.prefix), (host, port, prefix), "{text}");
        }
        let wrong = [
            "",
            "http://",
            "http://:8080",
            "https://x",
            "ftp://x",
            "http://a@b",
            "http://x?y",
            "a b",
            "x:99999",
        ];
        for text in wrong {
            let said = text.parse::<Address>().unwrap_err();
            assert!(said.contains("http://localhost:8080"), "{text}: {said}");
        }
    }
}
