//! `http_server_config`: what every answer says beside what it is about.

use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS, X_XSS_PROTECTION,
};

use super::entry::{boolean, said, scalar};
use crate::yaml::findings::{Entry, Findings};

/// The keys of the section.
const KEYS: &[&str] = &["http2", "headers"];

/// The headers that can be set, and the values that they can have; none are named where any will do.
const HEADERS: &[(&str, HeaderName, &[&str])] = &[
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY, &[]),
    ("X-Frame-Options", X_FRAME_OPTIONS, &["deny", "sameorigin"]),
    ("X-Content-Type-Options", X_CONTENT_TYPE_OPTIONS, &["nosniff"]),
    ("X-XSS-Protection", X_XSS_PROTECTION, &[]),
    ("Strict-Transport-Security", STRICT_TRANSPORT_SECURITY, &[]),
];

const SECTION: &str = "a map with http2 or headers";
const MAP: &str = "a map of headers, such as X-Frame-Options: deny";
const VALUE: &str = "the value of a header";

/// The headers that are written in the section.
pub(super) fn read(found: &mut Findings, section: &Entry<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for entry in said(found, section, KEYS, SECTION) {
        if entry.name == "headers" {
            let names: Vec<&str> = HEADERS.iter().map(|(written, _, _)| *written).collect();
            let written = said(found, &entry, &names, MAP);
            headers = written.iter().filter_map(|header| self::header(found, header)).collect();
        } else if boolean(found, &entry) == Some(true) {
            let message = "HTTP/2 is not spoken here: clients get HTTP/1.1, which all of them speak";
            found.warning(entry.value, &entry.path, message);
        }
    }
    headers
}

fn header(found: &mut Findings, entry: &Entry<'_>) -> Option<(HeaderName, HeaderValue)> {
    let (_, name, values) = HEADERS.iter().find(|(written, _, _)| *written == entry.name)?;
    // A number is a value too: `X-XSS-Protection: 0`.
    let value = scalar(found, entry, VALUE)?;
    if !values.is_empty() && !values.contains(&value) {
        found.unexpected(entry, &format!("one of {}", values.join(", ")), "");
        return None;
    }
    let checked = HeaderValue::from_str(value).ok();
    if checked.is_none() {
        found.unexpected(entry, "one line that can be a header's value", "");
    }
    Some((name.clone(), checked?))
}
