//! What a client likes best: the format of a scrape, and gzip for who wants it.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::HeaderMap;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderName};

use crate::metrics::Format;

/// The format of a scrape that the client likes best (RFC 9110, 12.5.1): of several that it likes as much, the one that
/// it names first; text where it names none that we have.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let mut best = (Format::Text, 0.0);
    for (range, q) in lines(headers, &ACCEPT).flat_map(|line| line.split(',')).filter_map(quality) {
        if let Some(format) = format_of(range).filter(|_| q > best.1) {
            best = (format, q);
        }
    }
    best.0
}

/// The format that a range of media types asks for, if we have it.
fn format_of(range: &str) -> Option<Format> {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next()?.to_ascii_lowercase();
    let said = |parameter: &str| {
        let mut told = range.split(';').skip(1).filter_map(|part| part.split_once('='));
        let value = told.find(|(name, _)| name.trim().eq_ignore_ascii_case(parameter));
        value.map(|(_, value)| value.trim().trim_matches('"'))
    };
    match &*name {
        "application/vnd.google.protobuf" => {
            let is_ours = said("proto") == Some("io.prometheus.client.MetricFamily")
                && said("encoding") == Some("delimited");
            is_ours.then_some(Format::Protobuf)
        }
        "application/openmetrics-text" => {
            said("version").is_none_or(|version| version == "1.0.0").then_some(Format::OpenMetrics)
        }
        "text/plain" => said("version").is_none_or(|version| version == "0.0.4").then_some(Format::Text),
        "text/*" | "*/*" => Some(Format::Text),
        _ => None,
    }
}

fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}

/// Whether the client prefers gzip to the plain text (RFC 9110, 12.5.3).
pub(super) fn prefers_gzip(headers: &HeaderMap) -> bool {
    let codings = || lines(headers, &ACCEPT_ENCODING).flat_map(|line| line.split(',')).filter_map(quality);
    let named = |names: &[&str]| {
        let is_named = |coding: &str| names.iter().any(|name| name.eq_ignore_ascii_case(coding));
        let of =
            |(coding, _): &(&str, f32)| coding.split(';').next().is_some_and(|name| is_named(name.trim()));
        codings().find(of).map(|(_, q)| q)
    };
    let gzip = named(&["gzip", "x-gzip"]).or_else(|| named(&["*"])).unwrap_or(0.0);
    // Plain text that nobody spoke of is acceptable, but not what a client asks for that names gzip.
    gzip > 0.0 && named(&["identity"]).is_none_or(|identity| gzip >= identity)
}

/// What is liked, with its parameters, and how much, 0 to 1; `None` for what cannot be read.
fn quality(liked: &str) -> Option<(&str, f32)> {
    let mut parts = liked.split(';').map(str::trim);
    parts.next().filter(|name| !name.is_empty())?;
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let q = weight.map_or(Some(1.0), |q| q.trim().parse().ok())?;
    (0.0..=1.0).contains(&q).then_some((liked, q))
}

/// The text, compressed.
pub(super) fn gzip(text: &[u8]) -> io::Result<Bytes> {
    // The fastest level: it already makes a tenth of such text, and this runs on somebody's expensive node.
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    encoder.write_all(text)?;
    encoder.finish().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOBUF: &str =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

    #[test]
    fn the_format_is_the_one_that_is_liked_best() {
        let openmetrics = "application/openmetrics-text";
        let cases: &[(&[&str], Format)] = &[
            (&[], Format::Text),
            (&["*/*"], Format::Text),
            // A browser.
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"], Format::Text),
            // Prometheus 2.42, 2.53 with the flag for created timestamps, 3.5 without and with it.
            (
                &[&format!(
                    "{openmetrics};version=1.0.0,{openmetrics};version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
                )],
                Format::OpenMetrics,
            ),
            (
                &[&format!(
                    "{PROTOBUF};q=0.5,{openmetrics};version=1.0.0;q=0.4,{openmetrics};version=0.0.1;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
                )],
                Format::Protobuf,
            ),
            (
                &[&format!(
                    "{openmetrics};version=1.0.0;escaping=allow-utf-8;q=0.5,{openmetrics};version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
                )],
                Format::OpenMetrics,
            ),
            (
                &[&format!(
                    "{PROTOBUF};q=0.6,{openmetrics};version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.1"
                )],
                Format::Protobuf,
            ),
            // Where a PodMonitor asks for one protocol alone, or in its own order.
            (&["text/plain;version=0.0.4;q=0.4", &format!("{PROTOBUF};q=0.3")], Format::Text),
            (&[&format!("{openmetrics}; version=\"1.0.0\"")], Format::OpenMetrics),
            (&["Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8"], Format::OpenMetrics),
            (&[openmetrics, "text/plain"], Format::OpenMetrics),
            (&["text/plain", openmetrics], Format::Text),
            // What we do not have, what is not liked, and what cannot be read.
            (&[&format!("{openmetrics};version=2.0.0,text/plain;q=0.5")], Format::Text),
            (
                &[&format!("{openmetrics};version=2.0.0,{openmetrics};version=1.0.0;q=0.9,text/plain;q=0.5")],
                Format::OpenMetrics,
            ),
            (&[&PROTOBUF.replace("delimited", "text")], Format::Text),
            (&["application/vnd.google.protobuf"], Format::Text),
            (&[&format!("{openmetrics};q=0,*/*;q=0.1")], Format::Text),
            (&["image/png"], Format::Text),
            (&[";;,,;q=", "\u{7f}"], Format::Text),
        ];
        for (lines, expected) in cases {
            let mut headers = HeaderMap::new();
            for line in lines.iter().filter_map(|line| line.parse().ok()) {
                headers.append(ACCEPT, line);
            }
            assert_eq!(format(&headers), *expected, "{lines:?}");
        }
    }

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
