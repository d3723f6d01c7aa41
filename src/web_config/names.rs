//! Whose a certificate is: the names in it, of all kinds (subject alternative names, RFC 5280 4.2.1.6).
//!
//! A certificate is a tree of elements, each a tag, a length and that many bytes (DER):
//!
//! ```text
//! certificate 30
//!   what is signed 30
//!     …
//!     extensions a3
//!       30
//!         extension 30
//!           its identifier 06, whether it is critical 01, its content 04
//!             names 30
//!               81 email, 82 DNS, 86 URI, 87 IP address
//! ```

use std::net::IpAddr;

/// A list of elements.
const SEQUENCE: u8 = 0x30;
const EXTENSIONS: u8 = 0xa3;
const IDENTIFIER: u8 = 0x06;
const BYTES: u8 = 0x04;
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;

/// The identifier 2.5.29.17 of the extension with the names.
const NAMES: [u8; 3] = [0x55, 0x1d, 0x11];

/// The longest length of a length: a certificate has less than 4 GiB.
const LENGTH_BYTES: usize = 4;

/// One element: its tag, and what is in it.
type Element<'a> = (u8, &'a [u8]);

/// The elements that follow each other. Ends at the first that cannot be read.
struct Elements<'a>(&'a [u8]);

/// The names in a certificate; `None` if it cannot be read, or has none.
pub(super) fn of(certificate: &[u8]) -> Option<Vec<String>> {
    let certificate = the(SEQUENCE, certificate)?;
    let extensions = the(SEQUENCE, the(EXTENSIONS, the(SEQUENCE, certificate)?)?)?;
    let is_names = |extension: &&[u8]| the(IDENTIFIER, extension) == Some(&NAMES);
    let names = Elements(extensions).map(|(_, extension)| extension).find(is_names)?;
    let names = the(SEQUENCE, the(BYTES, names)?)?;
    Some(Elements(names).filter_map(name).collect())
}

fn name((tag, bytes): Element<'_>) -> Option<String> {
    match tag {
        EMAIL | DNS | URI => std::str::from_utf8(bytes).ok().map(str::to_owned),
        IP => {
            let four = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
            let sixteen = || <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from);
            four().or_else(sixteen).map(|address| address.to_canonical().to_string())
        }
        _ => None,
    }
}

/// What is in the first element with this tag.
fn the(tag: u8, elements: &[u8]) -> Option<&[u8]> {
    Elements(elements).find(|(found, _)| *found == tag).map(|(_, content)| content)
}

// === impl Elements ===

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let (&[tag, first], rest) = std::mem::take(&mut self.0).split_first_chunk()?;
        let (length, rest) = match usize::from(first) {
            short @ ..0x80 => (short, rest),
            long => {
                let (digits, rest) =
                    rest.split_at_checked(long - 0x80).filter(|_| long - 0x80 <= LENGTH_BYTES)?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate(names: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn names_of_every_kind_are_found() {
        let names = vec![
            SanType::DnsName("prometheus.example.com".try_into().unwrap()),
            SanType::Rfc822Name("ops@example.com".try_into().unwrap()),
            SanType::URI("spiffe://example.com/prometheus".try_into().unwrap()),
            SanType::IpAddress("10.1.2.3".parse().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
        ];
        let expected = [
            "prometheus.example.com",
            "ops@example.com",
            "spiffe://example.com/prometheus",
            "10.1.2.3",
            "2001:db8::1",
        ];
        assert_eq!(of(&certificate(names)).unwrap(), expected);
        // A certificate of 300 names needs lengths of more than one byte.
        let many = (0..300).map(|n| SanType::DnsName(format!("host-{n}").try_into().unwrap()));
        assert_eq!(of(&certificate(many.collect())).unwrap().len(), 300);
        assert_eq!(of(&certificate(Vec::new())), None);
    }

    proptest! {
        #[test]
        fn no_bytes_do_any_harm(bytes: Vec<u8>) {
            of(&bytes);
        }

        #[test]
        fn nor_does_a_certificate_with_one_byte_changed(at: prop::sample::Index, byte: u8) {
            let mut bytes = certificate(vec![SanType::DnsName("host".try_into().unwrap())]);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            of(&bytes);
            of(&bytes[..at]);
        }
    }
}
