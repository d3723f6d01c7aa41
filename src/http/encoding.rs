//! Content coding: gzip for who wants it.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::HeaderMap;
use hyper::body::Bytes;
use hyper::header::ACCEPT_ENCODING;

/// Whether the client prefers gzip to the plain text (RFC 9110, 12.5.3).
pub(super) fn prefers_gzip(headers: &HeaderMap) -> bool {
    let told: Vec<_> =
        headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).collect();
    let codings = || told.iter().flat_map(|line| line.split(',')).filter_map(quality);
    let named = |names: &[&str]| {
        codings()
            .find(|(coding, _)| names.iter().any(|name| name.eq_ignore_ascii_case(coding)))
            .map(|(_, q)| q)
    };
    let gzip = named(&["gzip", "x-gzip"]).or_else(|| named(&["*"])).unwrap_or(0.0);
    // Plain text that nobody spoke of is acceptable, but not what a client asks for that names gzip.
    gzip > 0.0 && named(&["identity"]).is_none_or(|identity| gzip >= identity)
}

/// A coding and how much it is liked, 0 to 1; `None` for what cannot be read.
fn quality(coding: &str) -> Option<(&str, f32)> {
    let mut parts = coding.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let q = weight.map_or(Some(1.0), |q| q.trim().parse().ok())?;
    (0.0..=1.0).contains(&q).then_some((name, q))
}

/// The parts, one after the other, compressed.
pub(super) fn gzip(parts: &[Bytes]) -> io::Result<Bytes> {
    // The fastest level: it already makes a tenth of such text, and this runs on somebody's expensive node.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for part in parts {
        encoder.write_all(part)?;
    }
    encoder.finish().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_who_wants_it() {
        let cases: &[(&[&str], bool)] = &[
            (&[], false),
            (&[""], false),
            (&["gzip"], true),
            (&["GZip"], true),
            (&["x-gzip"], true),
            (&["gzip, deflate, br"], true),
            (&["deflate", "gzip"], true),
            (&["gzip;q=0"], false),
            (&["gzip;q=0.000"], false),
            (&["gzip; q=0.1"], true),
            (&["gzip;Q=0"], false),
            (&["identity"], false),
            (&["identity;q=1, gzip;q=0.5"], false),
            (&["identity;q=0.5, gzip;q=1"], true),
            (&["identity;q=0, gzip;q=0.1"], true),
            (&["*"], true),
            (&["*;q=0"], false),
            (&["*;q=0, gzip"], true),
            (&["gzip;q=0, *"], false),
            (&["br"], false),
            (&["gzip;q=NaN"], false),
            (&["gzip;q=2"], false),
            (&["gzip;q=-1"], false),
            (&[";;,,;q="], false),
        ];
        for (lines, expected) in cases {
            let mut headers = HeaderMap::new();
            for line in *lines {
                headers.append(ACCEPT_ENCODING, line.parse().unwrap());
            }
            assert_eq!(prefers_gzip(&headers), *expected, "{lines:?}");
        }
    }
}
