//! Files that say who may ask, and over what: what is said about the ones that are wrong.

#![expect(clippy::needless_raw_string_hashes, reason = "snapshots are written by expect-test")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use expect_test::{Expect, expect};
use gpu_cost_exporter::web_config::{self, WebConfig};
use tempfile::TempDir;

use crate::support::tls::Authority;
use crate::support::tools::run;

const HASH: &str = "$2y$10$wHoMayAskAndOverWhat..RaJ/N/PvbU91fJw0Xdfk38mUTHd/ijy";

/// A directory with a certificate, its key and the certificate of who vouches for it.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.vouch_for_us().write_to(directory.path());
    fs::write(directory.path().join("ca.crt"), authority.pem()).unwrap();
    fs::write(directory.path().join("other.key"), authority.vouch_for_us().key).unwrap();
    fs::write(directory.path().join("empty"), "").unwrap();
    directory
}

/// What is said about a file in this directory, and what it means.
fn read(directory: &Path, text: &str) -> (String, Option<WebConfig>) {
    let file = directory.join("web.yml");
    fs::write(&file, text).unwrap();
    let (problems, config) = match web_config::read(&file).result {
        Ok((config, warnings)) => {
            (warnings.iter().map(|it| it.as_warning_in_file("web.yml")).collect(), Some(config))
        }
        Err(problems) => (problems.iter().map(|it| it.in_file("web.yml")).collect::<Vec<_>>(), None),
    };
    let said = problems.iter().fold(String::new(), |mut lines, problem| {
        writeln!(lines, "{}", problem.replace(directory.to_str().unwrap(), "DIR")).unwrap();
        lines
    });
    (said, config)
}

#[track_caller]
fn check(text: &str, expected: &Expect) {
    let directory = directory();
    let (said, config) = read(directory.path(), text);
    expected.assert_eq(&format!("{said}{}", if config.is_some() { "ok\n" } else { "" }));
}

const ALL_OF_IT: &str = r#"
tls_server_config:
  cert_file: tls.crt
  key_file: tls.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.crt
  client_allowed_sans: [prometheus.example.com, 10.0.0.1]
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: true
  curve_preferences: [X25519, CurveP256]
http_server_config:
  http2: false
  headers:
    Content-Security-Policy: "default-src 'none'"
    X-Frame-Options: deny
    X-Content-Type-Options: nosniff
    X-XSS-Protection: "0"
    Strict-Transport-Security: max-age=31536000
basic_auth_users:
  prometheus: $2y$10$wHoMayAskAndOverWhat..RaJ/N/PvbU91fJw0Xdfk38mUTHd/ijy
rate_limit: { interval: 1s, burst: 20 }
"#;

#[test]
fn every_key_is_read() {
    let directory = directory();
    let (said, config) = read(directory.path(), ALL_OF_IT);
    let config = config.expect(&said);
    assert_eq!(said, "");
    assert!(config.tls.is_some() && config.rate_limit.is_some_and(|limit| limit.burst == 20));
    assert_eq!((config.users.len(), config.headers.len()), (1, 5));
    let inline = format!(
        "tls_server_config: {}\n",
        serde_json::json!({
            "cert": fs::read_to_string(directory.path().join("tls.crt")).unwrap(),
            "key": fs::read_to_string(directory.path().join("tls.key")).unwrap(),
            "client_ca": fs::read_to_string(directory.path().join("ca.crt")).unwrap(),
            "client_auth_type": "VerifyClientCertIfGiven",
        })
    );
    let (said, config) = read(directory.path(), &inline);
    assert_eq!(said, "");
    assert!(config.is_some_and(|config| config.tls.is_some()));
}

#[test]
fn prometheus_own_checker_agrees_about_a_good_file() {
    let directory = directory();
    for text in [ALL_OF_IT, "", "basic_auth_users: {}\n", "tls_server_config:\n  cert_file: \"\"\n"] {
        let (said, config) = read(directory.path(), text);
        assert!(config.is_some() && said.is_empty(), "{text}: {said}");
        // Older ones do not know the names of clients, nor rate_limit.
        let known = text.lines().filter(|line| !line.contains("sans") && !line.starts_with("rate_limit"));
        fs::write(directory.path().join("web.yml"), known.collect::<Vec<_>>().join("\n")).unwrap();
        let mut promtool = Command::new("promtool");
        promtool.args(["check", "web-config"]).arg(directory.path().join("web.yml"));
        let checked = run(&mut promtool, b"", "install Debian's prometheus (make test does)");
        assert!(checked.status.success(), "{text}: {}", String::from_utf8_lossy(&checked.stderr));
    }
}

#[test]
fn every_mistake_is_told_at_once() {
    check(
        r#"
tls_server_confg: {}
tls_server_config:
  cert_file: nowhere.crt
  key_file: empty
  client_auth_type: RequireAndVerifyClientCerts
  client_ca_file: tls.key
  client_allowed_sans: prometheus
  min_version: TLS1.2
  max_version: TLS11
  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]
  prefer_server_cipher_suites: yes
  curve_preferences: [X25519, CurveP255]
  ciphers: []
http_server_config:
  http2: 1
  headers: { X-Frame-Options: allow, Server: me, Content-Security-Policy: "a\nb" }
basic_auth_users:
  plain: hunter2
  nothing:
  "a:b": $2y$10$wHoMayAskAndOverWhat..RaJ/N/PvbU91fJw0Xdfk38mUTHd/ijy
  list: [hunter3]
rate_limit: { interval: 1, burst: -1 }
"#,
        &expect![[r#"
            web.yml:2: tls_server_confg: expected one of tls_server_config, http_server_config, basic_auth_users, rate_limit, found an unknown key; did you mean `tls_server_config`?
            web.yml:4: tls_server_config.cert_file: expected a file that can be read: No such file or directory (os error 2) (DIR/nowhere.crt)
            web.yml:5: tls_server_config.key_file: expected a private key in PEM (-----BEGIN PRIVATE KEY-----), without a passphrase, found none that can be read
            web.yml:6: tls_server_config.client_auth_type: expected one of NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert, RequireClientCert, found the text `RequireAndVerifyClientCerts`; did you mean `RequireAndVerifyClientCert`?
            web.yml:7: tls_server_config.client_ca_file: expected certificates in PEM (-----BEGIN CERTIFICATE-----), found none that can be read
            web.yml:8: tls_server_config.client_allowed_sans: expected a list of names, such as [prometheus.example.com], found the text `prometheus`
            web.yml:9: tls_server_config.min_version: expected one of TLS13, TLS12, TLS11, TLS10, found the text `TLS1.2`
            web.yml:10: tls_server_config.max_version: expected TLS12 or TLS13, the versions that are spoken here, found the text `TLS11`
            web.yml:11: tls_server_config.cipher_suites[1]: expected one of TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, found the text `TLS_RSA_WITH_RC4_128_SHA`
            web.yml:12: tls_server_config.prefer_server_cipher_suites: expected true or false, found the text `yes`
            web.yml:13: tls_server_config.curve_preferences[2]: expected one of CurveP256, CurveP384, X25519, found the text `CurveP255`
            web.yml:14: tls_server_config.ciphers: expected one of cert_file, key_file, cert, key, client_auth_type, client_ca_file, client_ca, client_allowed_sans, min_version, max_version, cipher_suites, prefer_server_cipher_suites, curve_preferences, found an unknown key
            web.yml:16: http_server_config.http2: expected true or false, found the number `1`
            web.yml:17: http_server_config.headers.X-Frame-Options: expected one of deny, sameorigin, found the text `allow`
            web.yml:17: http_server_config.headers.Server: expected one of Content-Security-Policy, X-Frame-Options, X-Content-Type-Options, X-XSS-Protection, Strict-Transport-Security, found an unknown key
            web.yml:17: http_server_config.headers.Content-Security-Policy: expected one line that can be a header's value, found the text `a\nb`
            web.yml:19: basic_auth_users.plain: expected the bcrypt hash of a password, 60 characters that begin with $2y$10$ or the like, as `htpasswd -nBC 10 ""` prints it, found another text
            web.yml:20: basic_auth_users.nothing: expected the bcrypt hash of a password, 60 characters that begin with $2y$10$ or the like, as `htpasswd -nBC 10 ""` prints it, found another text
            web.yml:21: basic_auth_users.a:b: expected a name without a colon, by which it is parted from the password when it is sent
            web.yml:22: basic_auth_users.list: expected the bcrypt hash of a password, 60 characters that begin with $2y$10$ or the like, as `htpasswd -nBC 10 ""` prints it, found no text
            web.yml:23: rate_limit.interval: expected a time with its unit, such as 1s, or 0 for no limit, found the number `1`
            web.yml:23: rate_limit.burst: expected a whole number from 1 on, found the number `-1`
        "#]],
    );
}

#[test]
fn what_protects_nothing_is_a_mistake() {
    let tls = "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n";
    check(
        "tls_server_config:\n  min_version: TLS13\n",
        &expect![[r#"
        web.yml:1: tls_server_config: expected cert_file or cert, found none
        web.yml:1: tls_server_config: expected key_file or key, found none
    "#]],
    );
    check(
        &format!("{tls}  client_ca_file: ca.crt\n"),
        &expect![[r#"
        web.yml:4: tls_server_config.client_ca_file: expected client_auth_type RequireAndVerifyClientCert beside it: without it no client is asked for a certificate
    "#]],
    );
    check(
        &format!("{tls}  client_auth_type: RequireAndVerifyClientCert\n"),
        &expect![[r#"
        web.yml:4: tls_server_config.client_auth_type: expected client_ca_file beside it: somebody must vouch for clients
    "#]],
    );
    check(
        &format!("{tls}  client_allowed_sans: [a]\n"),
        &expect![[r#"
        web.yml:4: tls_server_config.client_allowed_sans: expected client_auth_type RequireAndVerifyClientCert beside it: who need not show a certificate has no name to be looked at
    "#]],
    );
    check(
        &format!(
            "{tls}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.crt\n  client_allowed_sans: [a]\n"
        ),
        &expect![[r#"
            web.yml:6: tls_server_config.client_allowed_sans: expected client_auth_type RequireAndVerifyClientCert beside it: who need not show a certificate has no name to be looked at
        "#]],
    );
    check(
        &format!("{tls}  client_auth_type: RequireAnyClientCert\n"),
        &expect![[r#"
        web.yml:4: warning: tls_server_config.client_auth_type: proves nothing: anybody can make a certificate, and nobody need vouch for it
        ok
    "#]],
    );
    check(
        "rate_limit: { interval: 1s }\n",
        &expect![[r#"
        web.yml:1: rate_limit: expected burst beside interval, a whole number from 1 on: with none nobody could ask at all
    "#]],
    );
    check(
        "rate_limit: { burst: 20 }\n",
        &expect![[r#"
        web.yml:1: warning: rate_limit: without an interval above 0 this limits nothing
        ok
    "#]],
    );
    check(
        "rate_limit: { interval: 0, burst: 20 }\n",
        &expect![[r#"
        web.yml:1: warning: rate_limit: without an interval above 0 this limits nothing
        ok
    "#]],
    );
}

#[test]
fn a_key_must_be_the_certificates() {
    check(
        "tls_server_config: { cert_file: tls.crt, key_file: other.key }\n",
        &expect![[r#"
        web.yml:1: tls_server_config.key_file: expected the key of the certificate, found another's
    "#]],
    );
    check(
        "tls_server_config: { cert_file: tls.key, key_file: tls.crt }\n",
        &expect![[r#"
        web.yml:1: tls_server_config.cert_file: expected certificates in PEM (-----BEGIN CERTIFICATE-----), found none that can be read
        web.yml:1: tls_server_config.key_file: expected a private key in PEM (-----BEGIN PRIVATE KEY-----), without a passphrase, found none that can be read
    "#]],
    );
    check(
        "tls_server_config: { cert_file: tls.crt, cert: x, key_file: tls.key }\n",
        &expect![[r#"
        web.yml:1: tls_server_config.cert: expected cert or cert_file, found both
    "#]],
    );
    check(
        "tls_server_config: { cert: hunter2, key: hunter3 }\n",
        &expect![[r#"
        web.yml:1: tls_server_config.cert: expected certificates in PEM (-----BEGIN CERTIFICATE-----), found none that can be read
        web.yml:1: tls_server_config.key: expected a private key in PEM (-----BEGIN PRIVATE KEY-----), without a passphrase, found none that can be read
    "#]],
    );
}

#[test]
fn what_is_not_spoken_here_is_said() {
    let tls = "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n";
    check(
        &format!("{tls}  min_version: TLS10\n"),
        &expect![[r#"
        web.yml:4: warning: tls_server_config.min_version: TLS 1.2 is the lowest that is spoken here: it is min_version TLS12 that holds
        ok
    "#]],
    );
    check(
        &format!("{tls}  min_version: TLS13\n  max_version: TLS12\n"),
        &expect![[r#"
        web.yml:5: tls_server_config.max_version: expected a max_version that is not below min_version, found the text `TLS12`
    "#]],
    );
    check(
        &format!("{tls}  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]\n"),
        &expect![[r#"
        web.yml:4: tls_server_config.cipher_suites: expected a cipher suite that is spoken here, found none of TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    "#]],
    );
    check(
        &format!("{tls}  cipher_suites: [TLS_AES_128_GCM_SHA256]\n"),
        &expect![[r#"
        web.yml:4: warning: tls_server_config.cipher_suites: no cipher suite of TLS 1.2 is left: clients must speak TLS 1.3
        ok
    "#]],
    );
    check(
        &format!("{tls}  max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n"),
        &expect![[r#"
        web.yml:5: tls_server_config.cipher_suites: expected a cipher suite of TLS 1.2, found none
    "#]],
    );
    check(
        &format!(
            "{tls}  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n"
        ),
        &expect![[r#"
            web.yml:4: warning: tls_server_config.cipher_suites[1]: the cipher suite `TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA` is not spoken here: it is left out
            ok
        "#]],
    );
    check(
        &format!("{tls}  curve_preferences: [CurveP521]\n"),
        &expect![[r#"
        web.yml:4: tls_server_config.curve_preferences: expected a curve that is spoken here, found none of CurveP256, CurveP384, X25519
    "#]],
    );
    check(
        "http_server_config: { http2: true }\n",
        &expect![[r#"
        web.yml:1: warning: http_server_config.http2: HTTP/2 is not spoken here: clients get HTTP/1.1, which all of them speak
        ok
    "#]],
    );
    check(
        &format!("basic_auth_users: {{ a: {} }}\n", HASH.replace("$10$", "$18$")),
        &expect![[r#"
        web.yml:1: warning: basic_auth_users.a: a cost of 18 makes each look at a password take seconds; 10 to 12 is usual
        ok
    "#]],
    );
}
