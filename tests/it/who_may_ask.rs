//! The built binary with a web configuration: over TLS, with certificates of clients, with passwords, and while all of
//! them change.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::thread;

use tempfile::TempDir;

use crate::live_prometheus::Prometheus;
use crate::support::daemon::{Daemon, binary, eventually};
use crate::support::node::flag;
use crate::support::scrape::Scrape;
use crate::support::server::Got;
use crate::support::tls::{Authority, Client, Encrypted, Identity};
use crate::support::tools::run;

const UP: &str = "gpu_cost_exporter_source_up";
const TLS: &str = "tls_server_config: { cert_file: tls.crt, key_file: tls.key }\n";

/// Hashes of `swordfish` and of `opensesame`, of the lowest cost that there is.
const SWORDFISH: &str = "$2b$04$abcdefghijklmnopqrstuugIEnm3ZbWF6xb2GcoE3L1CoGJFMKtu.";
const OPENSESAME: &str = "$2y$04$ABCDEFGHIJKLMNOPQRSTUuxhn/UJyplO78/pg/lxETlDYDsZzdwkW";

/// A simulated node whose exporter has a web configuration.
struct Site {
    directory: TempDir,
    authority: Authority,
    daemon: Option<Daemon>,
}

// === impl Site ===

impl Site {
    /// A directory with a certificate, its key and this web configuration.
    fn with(config: &str) -> Self {
        let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        authority.vouch_for_us().write_to(directory.path());
        fs::write(directory.path().join("ca.crt"), authority.pem()).unwrap();
        let site = Self { directory, authority, daemon: None };
        site.write("web.yml", config);
        site
    }

    fn start(config: &str) -> Self {
        Self::start_as("--demo", config)
    }

    fn start_as(mode: &str, config: &str) -> Self {
        let mut site = Self::with(config);
        site.daemon = Some(Daemon::start(&[mode, &flag("--web.config.file", &site.path("web.yml"))]));
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("it was started")
    }

    fn port(&self) -> u16 {
        self.daemon().port()
    }

    /// A client that trusts who vouches for us.
    fn client(&self) -> Client {
        Client::trusting(&self.authority)
    }

    /// What a client gets; `None` if there is no connection.
    fn status(&self, client: &Client) -> Option<u16> {
        client.get(self.port(), "/metrics").ok().map(|got| got.status)
    }

    /// What a user gets with a password, without TLS.
    fn status_of(&self, user: &str, password: &str) -> u16 {
        self.daemon().get_with("/metrics", &[&basic(user, password)]).status
    }
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {pair}")
}

fn web_config_is_up(scrape: &Scrape) -> Option<f64> {
    scrape.value(UP, &[("source", "web_config")])
}

#[test]
fn what_is_served_over_tls_is_for_who_trusts_us() {
    let site = Site::start(TLS);
    site.daemon().wait_for_log("serving https://localhost:");
    let got = site.client().get(site.port(), "/metrics").unwrap();
    assert_eq!(web_config_is_up(&Scrape::parse(got.text())), Some(1.0));
    assert_eq!(site.status(&site.client().of_tls12()), Some(200));
    assert_eq!(site.status(&Client::trusting(&Authority::new())), None);
    let plain = site.daemon().get("/metrics");
    assert_eq!(plain.status, 400);
    assert_eq!(plain.text(), "Client sent an HTTP request to an HTTPS server.\n");
}

#[test]
fn an_older_version_of_tls_can_be_refused() {
    let site =
        Site::start("tls_server_config: { cert_file: tls.crt, key_file: tls.key, min_version: TLS13 }\n");
    assert_eq!(site.status(&site.client()), Some(200));
    assert_eq!(site.status(&site.client().of_tls12()), None);
}

#[test]
fn who_must_show_a_certificate_gets_nothing_without_a_good_one() {
    let site = Site::start(
        "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n  client_ca_file: ca.crt\n  \
         client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: [prometheus.example.com]\n",
    );
    let showing = |identity: &Identity| site.status(&site.client().showing(identity));
    let ours = &site.authority;
    assert_eq!(showing(&ours.vouch_for(&["prometheus.example.com"])), Some(200));
    assert_eq!(showing(&ours.vouch_for(&["a.example.com", "prometheus.example.com"])), Some(200));
    assert_eq!(showing(&ours.vouch_for(&["grafana.example.com"])), None, "another name");
    assert_eq!(showing(&Authority::new().vouch_for(&["prometheus.example.com"])), None, "another authority");
    assert_eq!(site.status(&site.client()), None, "no certificate");
    let of_tls12 = |client: Client| site.status(&client.of_tls12());
    assert_eq!(of_tls12(site.client().showing(&ours.vouch_for(&["prometheus.example.com"]))), Some(200));
    assert_eq!(of_tls12(site.client()), None);
}

#[test]
fn each_kind_of_asking_for_certificates_is_as_its_name_says() {
    let strangers = Authority::new();
    // Without a certificate, with one that a stranger vouches for, with a good one.
    let cases = [
        ("NoClientCert", false, [true, true, true]),
        ("RequestClientCert", false, [true, true, true]),
        ("RequireAnyClientCert", false, [false, true, true]),
        ("VerifyClientCertIfGiven", true, [true, false, true]),
        ("RequireAndVerifyClientCert", true, [false, false, true]),
    ];
    for (kind, verified, expected) in cases {
        let authority = if verified { "client_ca_file: ca.crt" } else { "client_ca_file: ''" };
        let site = Site::start(&format!(
            "tls_server_config: {{ cert_file: tls.crt, key_file: tls.key, client_auth_type: {kind}, {authority} }}\n"
        ));
        let clients = [
            site.client(),
            site.client().showing(&strangers.vouch_for(&["x"])),
            site.client().showing(&site.authority.vouch_for(&["x"])),
        ];
        assert_eq!(clients.map(|client| site.status(&client) == Some(200)), expected, "{kind}");
    }
}

#[test]
fn a_new_certificate_is_shown_to_new_connections_while_old_ones_go_on() {
    let site = Site::with("tls_server_config: { cert_file: now/tls.crt, key_file: now/tls.key }\n");
    // As a Secret is mounted: the files lie in a directory of their own, and a link to it is swapped.
    let publish = |generation: &str| {
        let identity = site.authority.vouch_for_us();
        fs::create_dir(site.path(generation)).unwrap();
        identity.write_to(&site.path(generation));
        symlink(generation, site.path("next")).unwrap();
        fs::rename(site.path("next"), site.path("now")).unwrap();
        identity
    };
    let shown = |connection: &Encrypted| connection.conn.peer_certificates().unwrap()[0].clone();
    let first = publish("first");
    let daemon = Daemon::start(&["--demo", &flag("--web.config.file", &site.path("web.yml"))]);
    let address = (Ipv4Addr::LOCALHOST, daemon.port()).into();
    let mut old = site.client().connect(address).unwrap();
    assert_eq!(shown(&old), first.der());
    let second = publish("second");
    eventually("the new certificate", || {
        // The old connection is asked all the while, and does not rest for so long that it is closed.
        assert!(is_answered(&mut old), "the old connection goes on");
        (shown(&site.client().connect(address).unwrap()) == second.der()).then_some(())
    });
    assert!(is_answered(&mut old), "the old connection goes on");
    assert_eq!(shown(&old), first.der());
}

/// Asks on a connection that stays open.
fn is_answered(connection: &mut Encrypted) -> bool {
    let mut answer = [0; 4096];
    connection.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let length = connection.read(&mut answer).unwrap();
    answer[..length].starts_with(b"HTTP/1.1 200 OK")
}

#[test]
fn who_has_no_password_sees_only_whether_it_is_healthy() {
    let users = format!("basic_auth_users:\n  ann: {SWORDFISH}\n  bob: {OPENSESAME}\n");
    let site = Site::start(&users);
    site.daemon().wait_for_log("passwords can be overheard");
    for (user, password, status) in [
        ("ann", "swordfish", 200),
        ("bob", "opensesame", 200),
        ("ann", "swordfish", 200),
        ("ann", "opensesame", 401),
        ("ann", "swordfish2", 401),
        ("ann", "", 401),
        ("eve", "swordfish", 401),
        ("", "", 401),
    ] {
        assert_eq!(site.status_of(user, password), status, "{user}:{password}");
    }
    let without = |header: &[&str]| -> Got { site.daemon().get_with("/metrics", header) };
    let challenged = without(&[]);
    assert_eq!(challenged.status, 401);
    assert!(challenged.header("www-authenticate").unwrap().starts_with("Basic realm="));
    for header in
        ["Authorization: Bearer x", "Authorization: Basic !!!", "Authorization: Basic", "Authorization: "]
    {
        assert_eq!(without(&[header]).status, 401, "{header}");
    }
    for path in ["/", "/api/v1/ledger", "/nothing"] {
        assert_eq!(site.daemon().get(path).status, 401, "{path}");
    }
    eventually("ready", || (site.daemon().get("/-/ready").status == 200).then_some(()));
    assert_eq!(site.daemon().get("/-/healthy").status, 200);
    assert!(!site.daemon().log().contains("swordfish"));
}

#[test]
fn explain_says_who_fetches_the_ledger_where_it_is_not_let_in() {
    let site = Site::start(TLS);
    let explain = |args: &[&str], input: &[u8]| run(binary().arg("explain").args(args), input, "it is built");
    let refused = |url: String| {
        let output = explain(&[&format!("--url={url}")], b"");
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let address = format!("127.0.0.1:{}", site.port());
    let curl = format!("https://{address}/api/v1/ledger | gpu-cost-exporter explain --ledger=-");
    for (url, part) in
        [(format!("http://{address}"), "wants TLS"), (format!("https://{address}"), "TLS is not spoken")]
    {
        let error = refused(url);
        assert!(error.contains(part) && error.contains(&curl), "{error}");
    }
    let open = Site::start(&format!("basic_auth_users:\n  ann: {SWORDFISH}\n"));
    assert!(refused(format!("http://127.0.0.1:{}", open.port())).contains("wants a password"));

    let fetch = || site.client().get(site.port(), "/api/v1/ledger").unwrap();
    let ledger =
        eventually("a report", || Some(fetch()).filter(|got| !got.text().contains("\"report\":null")));
    site.write("ledger.json", ledger.text());
    let from_file = explain(&[&flag("--ledger", &site.path("ledger.json"))], b"");
    let from_pipe = explain(&["--ledger=-"], &ledger.body);
    assert!(from_file.status.success() && from_file.stdout == from_pipe.stdout, "{from_file:?}");
    assert!(String::from_utf8_lossy(&from_pipe.stdout).contains("GPU 0"), "{from_pipe:?}");
    for (input, part) in
        [("{}", "is JSON of another form"), ("a name and its password", "begins with \"a name")]
    {
        let said = String::from_utf8(explain(&["--ledger=-"], input.as_bytes()).stderr).unwrap();
        assert!(said.contains(part) && said.contains("the standard input"), "{said}");
    }
    let missing = String::from_utf8(explain(&["--ledger=/nonexistent"], b"").stderr).unwrap();
    assert!(missing.contains("cannot read a ledger from /nonexistent: No such file"), "{missing}");
}

#[test]
fn users_change_while_it_runs() {
    let site = Site::start(&format!("basic_auth_users:\n  ann: {SWORDFISH}\n"));
    assert_eq!((site.status_of("ann", "swordfish"), site.status_of("bob", "opensesame")), (200, 401));
    site.write("web.yml", &format!("basic_auth_users:\n  ann: {OPENSESAME}\n  bob: {OPENSESAME}\n"));
    eventually("bob", || (site.status_of("bob", "opensesame") == 200).then_some(()));
    assert_eq!((site.status_of("ann", "swordfish"), site.status_of("ann", "opensesame")), (401, 200));
}

#[test]
fn a_file_that_goes_wrong_changes_nothing_and_is_told() {
    goes_wrong("--demo");
}

#[test]
fn a_file_that_goes_wrong_beside_a_replay_is_told_too() {
    goes_wrong(concat!("--replay=", env!("CARGO_MANIFEST_DIR"), "/tests/traces/mig/trace.ndjson"));
}

fn goes_wrong(mode: &str) {
    let users = format!("basic_auth_users:\n  ann: {SWORDFISH}\n");
    let site = Site::start_as(mode, &users);
    let scrape = || {
        let got = site.daemon().get_with("/metrics", &[&basic("ann", "swordfish")]);
        assert_eq!(got.status, 200, "ann is still let in");
        Scrape::parse(got.text())
    };
    let becomes =
        |up: f64| eventually("the metric", || (web_config_is_up(&scrape()) == Some(up)).then_some(()));
    becomes(1.0);
    site.write("web.yml", "basic_auth_user: {}\nrate_limit: { interval: often, burst: 1 }\n");
    site.daemon().wait_for_log("what was read before stays in force");
    assert!(
        site.daemon().log().contains("web.yml:1: basic_auth_user: expected one of"),
        "{}",
        site.daemon().log()
    );
    assert!(site.daemon().log().contains("web.yml:2: rate_limit.interval: expected a time"));
    becomes(0.0);
    // What a reader sees while the file is written anew.
    site.write("web.yml", "");
    site.daemon().wait_for_log("basic_auth_users: expected it as before, found none");
    assert_eq!(site.daemon().get("/metrics").status, 401);
    becomes(0.0);
    site.write("web.yml", &users);
    becomes(1.0);
}

#[test]
fn a_wrong_file_at_the_start_is_told_in_full() {
    let site = Site::with(
        "tls_server_config:\n  cert_file: nowhere\n  key_fil: tls.key\nbasic_auth_users: { a: b }\n",
    );
    let output = binary()
        .args([
            "--demo",
            "--web.listen-address=127.0.0.1:0",
            &flag("--web.config.file", &site.path("web.yml")),
        ])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{said}");
    for part in [
        "web.yml:2: tls_server_config.cert_file: expected a file that can be read",
        "web.yml:3: tls_server_config.key_fil: expected one of",
        "did you mean `key_file`",
        "web.yml:4: basic_auth_users.a: expected the bcrypt hash",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let missing = binary().args(["--demo", "--web.config.file=/nonexistent"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(64));
}

#[test]
fn headers_and_the_rate_limit_are_those_of_the_file() {
    let site = Site::start(
        "http_server_config: { headers: { X-Frame-Options: deny, Content-Security-Policy: \"default-src 'self'\" } }\n\
         rate_limit: { interval: 1h, burst: 2 }\n",
    );
    let first = site.daemon().get("/");
    assert_eq!((first.status, first.header("x-frame-options")), (200, Some("deny")));
    assert_eq!(first.header("content-security-policy"), Some("default-src 'self'"));
    let statuses = [0; 3].map(|_| site.daemon().get("/metrics").status);
    assert_eq!(statuses, [200, 429, 429]);
    assert_eq!(site.daemon().get("/-/healthy").status, 200, "probes go on");
}

#[test]
fn how_many_are_answered_at_one_time_is_the_operators_word() {
    for (max_requests, status) in [(1, 503), (0, 200)] {
        let daemon = Daemon::start(&["--demo", &format!("--web.max-requests={max_requests}")]).ready();
        let mut greedy = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.port())).unwrap();
        let mut asking = greedy.try_clone().unwrap();
        // Asks until no buffer on the way takes more. Who is turned away meanwhile fills none, so no number is enough.
        let asked = "GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n".repeat(1_000);
        let asking = thread::spawn(move || while asking.write_all(asked.as_bytes()).is_ok() {});
        let got = eventually("the answer of who is not greedy", || {
            let got = daemon.get("/metrics");
            if got.status != status {
                // The end of an answer may wait in a buffer, and its place be free: taking some leads further.
                assert_ne!(greedy.read(&mut [0; 10_000]).unwrap(), 0);
                return None;
            }
            Some(got)
        });
        assert_eq!(got.header("retry-after"), (status == 503).then_some("1"));
        assert_eq!(daemon.get("/-/healthy").status, 200);
        drop(daemon);
        asking.join().unwrap();
    }
}

#[test]
fn it_listens_wherever_it_is_told_to() {
    // One more than the one that every daemon of a test has.
    let daemon = Daemon::start(&["--demo", "--web.listen-address=127.0.0.1:0"]);
    let ports: Vec<u16> = eventually("both addresses", || {
        let ports: Vec<u16> = daemon.log().lines().filter_map(port_of).collect();
        (ports.len() == 2).then_some(ports)
    });
    for port in ports {
        let got = crate::support::server::ask((Ipv4Addr::LOCALHOST, port).into(), "GET", "/-/healthy", &[]);
        assert_eq!(got.status, 200);
    }
}

fn port_of(line: &str) -> Option<u16> {
    line.split_once("://localhost:")?.1.split('/').next()?.parse().ok()
}

#[test]
fn an_address_that_is_taken_is_said() {
    let daemon = Daemon::start(&["--demo"]);
    let address = format!("--web.listen-address=127.0.0.1:{}", daemon.port());
    let output = binary().args(["--demo", "--web.listen-address=127.0.0.1:0", &address]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("listen on 127.0.0.1:"), "{said}");
}

#[test]
fn prometheus_comes_in_with_its_certificate_and_its_password() {
    let site = Site::start(&format!(
        "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n  client_ca_file: ca.crt\n  \
         client_auth_type: RequireAndVerifyClientCert\nbasic_auth_users:\n  prometheus: {SWORDFISH}\n"
    ));
    let identity = site.authority.vouch_for(&["prometheus"]);
    fs::create_dir(site.path("client")).unwrap();
    identity.write_to(&site.path("client"));
    let access = format!(
        "  scheme: https\n  basic_auth: {{ username: prometheus, password: swordfish }}\n  tls_config: {{ ca_file: {}, \
         cert_file: {}, key_file: {} }}\n",
        site.path("ca.crt").display(),
        site.path("client/tls.crt").display(),
        site.path("client/tls.key").display(),
    );
    let prometheus = Prometheus::start_with(site.directory.path(), site.port(), &access);
    eventually("it is scraped", || prometheus.query("up").filter(|up| *up > 0.0));
}
