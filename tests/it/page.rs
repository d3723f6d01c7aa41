//! The page, as a browser shows it.
//!
//! `PAGE_PICTURES=<folder> cargo test --test it page` also leaves pictures of it there, to look at.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use gpu_cost_exporter::cost::money::{Cost, Rate};
use gpu_cost_exporter::cost::report::{Report, State};
use gpu_cost_exporter::http::Limits;
use gpu_cost_exporter::observation::UnixTime;
use gpu_cost_exporter::status::{Mode, Published, Source, SourceStatus, Status};

use crate::support::rich_report::{self, published};
use crate::support::server::Server;
use crate::support::tools;

const NVML_DOWN: &str = "Cannot load libnvidia-ml.so.1: install the NVIDIA driver on this node.";

fn everything_wrong() -> Published {
    let mut status = Status { mode: Mode::Demo, ..rich_report::status(Mode::Node) };
    status.sources = vec![
        rich_report::down(Source::Nvml, NVML_DOWN),
        rich_report::down(Source::Kubelet, "Cannot connect to the pod-resources socket: mount <it>."),
    ];
    // Five minutes before the report.
    let last_success = published().report.map(|it| UnixTime::from_millis(it.wall.as_millis() - 310_000));
    status
        .sources
        .push(SourceStatus { last_success, ..rich_report::down(Source::ApiServer, "Connection refused.") });
    status.pricing.last_reload_successful = false;
    status.pricing.problems =
        (1..=12).map(|n| format!("line {n}: spot: expected a number, found \"<b>\"").into()).collect();
    Published { status: Arc::new(status), ..published() }
}

fn nothing_yet() -> Published {
    let sources = vec![rich_report::down(Source::Nvml, NVML_DOWN)];
    Published { report: None, status: Arc::new(Status { sources, ..rich_report::status(Mode::Node) }) }
}

/// What the browser shows, as one line of text, and the document that it made of the page.
fn browse(server: &Server) -> (String, String) {
    let url = format!("http://{}/", server.address);
    if let Some(folder) = std::env::var_os("PAGE_PICTURES") {
        take_pictures(&url, Path::new(&folder));
    }
    let dom = dump(&url, &[]);
    (shown(&dom), dom)
}

/// Pictures of the page by day, by night and on a telephone, named after the test.
fn take_pictures(url: &str, folder: &Path) {
    let test = std::thread::current().name().unwrap_or("page").replace("::", "-");
    // A window of the browser is never narrower than 500 pixels, a frame may be.
    let frame = format!(
        "data:text/html,<body style=margin:0><iframe width=400 height=3390 style=border:0 src={url}>"
    );
    let dark = "--blink-settings=preferredColorScheme=0";
    let light = "--blink-settings=preferredColorScheme=1";
    for (kind, url, size, scheme) in [
        ("day", url, "1280,2300", light),
        ("night", url, "1280,2300", dark),
        ("phone", &*frame, "500,3400", light),
    ] {
        let file = folder.join(format!("{test}-{kind}.png"));
        let picture = format!("--screenshot={}", file.display());
        let size = format!("--window-size={size}");
        let local = "--disable-features=LocalNetworkAccessChecks";
        let output = tools::browse(url, &[&picture, &size, scheme, local, "--virtual-time-budget=2000"]);
        assert!(file.exists(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn dump(url: &str, arguments: &[&str]) -> String {
    let arguments: Vec<&str> = ["--dump-dom"].into_iter().chain(arguments.iter().copied()).collect();
    let output = tools::browse(url, &arguments);
    let dom = String::from_utf8(output.stdout).expect("a document is UTF-8");
    assert!(dom.contains("<main>"), "no page: {dom}{}", String::from_utf8_lossy(&output.stderr));
    dom
}

/// The text of the document's `main`.
fn shown(dom: &str) -> String {
    let main = dom.split("<main>").nth(1).and_then(|rest| rest.split("</main>").next()).expect("a main part");
    let text: Vec<&str> =
        main.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text)).collect();
    let text = text.join(" ").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn check_shows(text: &str, expected: &[&str]) {
    for part in expected {
        assert!(text.contains(part), "{part:?} is not shown in {text}");
    }
}

fn dollars(cost: Cost) -> String {
    format!("${:.2}", cost.dollars())
}

fn state_cost(report: &Report, state: State) -> Cost {
    report.devices.iter().filter_map(|line| line.totals.cost(state)).sum()
}

#[test]
fn a_finops_person_finds_the_numbers_of_the_report() {
    let published = published();
    let report = Arc::clone(published.report.as_ref().expect("a report"));
    let (text, dom) = browse(&Server::start(published, Limits::USUAL));
    let rate: Rate =
        report.devices.iter().filter_map(|line| line.quote.as_ref()).map(|quote| quote.effective).sum();
    let total: Cost = report.devices.iter().map(|line| line.totals.total_cost()).sum();
    check_shows(
        &text,
        &[
            "gpu-node-7",
            &format!("Costs now ${:.2} per hour", rate.dollars_per_hour()),
            &format!("${:.2} a day", rate.dollars_per_hour() * 24.0),
            &format!("Cost so far {} in 24 h", dollars(total)),
            &format!("Used {:.1} %", 100.0 * state_cost(&report, State::Used).dollars() / total.dollars()),
            &format!("Used {}", dollars(state_cost(&report, State::Used))),
            &format!("Idle {}", dollars(state_cost(&report, State::Idle))),
            &format!("Unallocated {}", dollars(state_cost(&report, State::Unallocated))),
            &format!("Unavailable {}", dollars(state_cost(&report, State::Unavailable))),
            "5 GPUs, 1 without a price",
            "One GPU has no price.",
            "nvidia-b300",
            "2 nvidia-h100-80gb one holder at a time XID 31 × 2 $3.20/h spot, your price 75 %",
            "3 nvidia-h100-80gb one holder at a time Lost: it has fallen off the bus",
            "1/4 inference/ chat-7f9c4-x2x8z",
            "1/2 unallocated",
            "1/7 unallocated 1/7 stranded",
            "4/7 research/ notebook-ada 4g.40gb",
            "embed-66b7d-l0p9k live search 0.25 $2.00/h $48.00 $48.00 100 %",
            "resnet-0 ended vision – – $144.00",
            "b300-benchmark live – 1 no price 20.0 GPU-h no price – –",
            "no known holder – 29.9 GPU-h",
            "why? container main asked for nvidia.com/gpu.shared and got GPU-00000000-aaaa-bbbb-cccc-000000000000::0",
            "share 1/4 of the GPU: 1 of 4 slots",
            "share 4/7 of the GPU: 4 of 7 compute slices",
            "price × time = used + underused + idle",
            "/api/v1/ledger",
            "NVIDIA driver 580.82.07",
        ],
    );
    // Cost decides the order.
    let (first, last) = (text.find("research/ resnet-0"), text.find("research/ short-job"));
    assert!(first < last, "{text}");
    let (_, tables) = dom.split_once("<table").expect("tables");
    assert_eq!(tables.matches("scope=\"row\"").count(), 5 + 8 + 7, "each row has a header");
    assert!(dom.contains("http-equiv=\"refresh\""), "the page is alive without a script, too");
    for word in ["NaN", "inf ", "undefined", "null"] {
        assert!(!text.contains(word), "{word} in {text}");
    }
}

#[test]
fn what_cannot_be_attributed_is_not_called_free() {
    let mut report = rich_report::report();
    report.pods.clear();
    for line in &mut report.devices {
        line.holdings.clear();
        line.unheld = vec![(State::Unattributed, (1, 1))];
    }
    let published = Published { report: Some(Arc::new(report)), ..published() };
    let (text, _) = browse(&Server::start(published, Limits::USUAL));
    check_shows(&text, &["all unattributed", "Nobody can be named: the kubelet", "no known holder"]);
    for wrong in ["No pod holds a GPU.", "all unallocated", "held by nobody –"] {
        assert!(!text.contains(wrong), "{wrong} in {text}");
    }
}

#[test]
fn names_are_shown_and_never_run() {
    let mut report = rich_report::report();
    let attack = "\"><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";
    report.pods[0].pod = attack.into();
    report.pods[0].namespace = attack.into();
    let account = Arc::make_mut(&mut report.pods[0].account);
    let labels = &mut Arc::make_mut(&mut account.description).labels;
    labels.team = "</main></body><script>document.title='owned'</script>".into();
    report.devices[0].holdings[0].pod = attack.into();
    report.devices[0].gpu_model = attack.into();
    report.showback[1].payer.namespace = attack.into();
    let gpu = Arc::make_mut(&mut report.devices[0].gpu);
    gpu.product = attack.into();
    gpu.uuid = attack.into();
    let status = Status { node: attack.into(), ..rich_report::status(Mode::Node) };
    let server =
        Server::start(Published { report: Some(Arc::new(report)), status: Arc::new(status) }, Limits::USUAL);
    let (text, dom) = browse(&server);
    assert!(text.matches(attack).count() >= 4, "{text}");
    assert_eq!(dom.matches("<script").count(), 1, "only the page's own script");
    assert!(!dom.contains("<img") && !dom.contains("<title>owned"), "{dom}");
}

#[test]
fn what_is_wrong_is_said_first_with_what_to_do() {
    let (text, _) = browse(&Server::start(everything_wrong(), Limits::USUAL));
    let before_numbers = text.split("Costs now").next().expect("a headline");
    check_shows(
        before_numbers,
        &[
            "Simulated node: these numbers are made up.",
            NVML_DOWN,
            "The kubelet does not answer. Cannot connect to the pod-resources socket: mount <it>. Which pod",
            "The API server does not answer. Connection refused. It last answered 5 min ago.",
            "/config/pricing.yaml cannot be used.",
            "line 10: spot: expected a number, found \"<b>\" and 2 more",
        ],
    );
    let (text, _) = browse(&Server::start(nothing_yet(), Limits::USUAL));
    check_shows(&text, &[NVML_DOWN, "Nothing is counted yet"]);
    let half =
        SourceStatus { up: true, ..rich_report::down(Source::ApiServer, "Grant get on resourceclaims.") };
    let half = Status { sources: vec![half], ..rich_report::status(Mode::Node) };
    let (text, _) =
        browse(&Server::start(Published { status: Arc::new(half), ..published() }, Limits::USUAL));
    let says = "The API server does not tell which devices claims have. Grant get on resourceclaims. \
                Pods and the node are known.";
    check_shows(&text, &[says]);
    assert!(!text.contains("does not answer"), "{text}");
    let replay = Status { mode: Mode::Replay, ..rich_report::status(Mode::Node) };
    let (text, _) =
        browse(&Server::start(Published { status: Arc::new(replay), ..published() }, Limits::USUAL));
    check_shows(&text, &["Replay of a recording"]);
    assert!(!text.contains("Simulated"), "{text}");
}

#[test]
fn a_report_without_anything_is_no_reason_to_fail() {
    let mut report = rich_report::report();
    report.devices.clear();
    report.pods.clear();
    report.showback.clear();
    report.ledger_start = report.wall;
    report.imbalance = Cost::from_cents(1);
    let (text, _) =
        browse(&Server::start(Published { report: Some(Arc::new(report)), ..published() }, Limits::USUAL));
    check_shows(
        &text,
        &[
            "0 GPUs",
            "Costs now –",
            "Nothing has been charged yet.",
            "The driver shows no GPU on this node.",
            "No pod holds a GPU.",
            "The lines do not add up to the bill. They differ by $0.01.",
        ],
    );
}

#[test]
fn what_somebody_opened_stays_open_when_the_page_renews_itself() {
    let server = Server::start(published(), Limits::USUAL);
    // A reader opens the reasons of one holder at once; the page renews itself some seconds later.
    let page = server.get("/").text().replacen("<details ", "<details open ", 1);
    let front = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = front.local_addr().expect("an address");
    let pages = AtomicUsize::new(0);
    let ended = AtomicBool::new(false);
    let dom = std::thread::scope(|scope| {
        scope.spawn(|| {
            for stream in front.incoming().take_while(|_| !ended.load(Ordering::SeqCst)) {
                let mut stream = stream.expect("a connection");
                let Some((_, path)) = asked(&mut stream) else { continue };
                let body = match pages.fetch_add(1, Ordering::SeqCst) {
                    0 => page.clone(),
                    _ => server.get(&path).text().replace("<h1>", "<h1>renewed "),
                };
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close";
                let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let _end = End { front: address, ended: &ended };
        dump(&format!("http://{address}/"), &["--virtual-time-budget=10000"])
    });
    assert!(dom.contains("<h1>renewed "), "{dom}");
    assert_eq!(dom.matches("<details ").count(), 6, "one for each holder");
    assert_eq!(dom.matches(" open=\"\"").count(), 1, "{dom}");
}

#[test]
fn the_page_follows_the_node_by_itself() {
    let server = Server::start(published(), Limits::USUAL);
    let mut later = rich_report::report();
    later.devices.truncate(1);
    let later = Arc::new(later);
    let front = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = front.local_addr().expect("an address");
    let pages = AtomicUsize::new(0);
    let forward = |stream| {
        forward(stream, &server, || {
            // The second page is asked for by the script of the first.
            if pages.fetch_add(1, Ordering::SeqCst) == 1 {
                server.publish.send_modify(|now| now.report = Some(later.clone()));
            }
        });
    };
    let ended = AtomicBool::new(false);
    let dom = std::thread::scope(|scope| {
        scope.spawn(|| {
            for stream in front.incoming().take_while(|_| !ended.load(Ordering::SeqCst)) {
                scope.spawn(|| forward(stream.expect("a connection")));
            }
        });
        let _end = End { front: address, ended: &ended };
        dump(&format!("http://{address}/"), &["--virtual-time-budget=10000"])
    });
    check_shows(&shown(&dom), &["Costs now $8.00 per hour", "1 GPU $192.00 a day"]);
    assert!(dom.contains("<title>$8.00/h · gpu-node-7</title>"), "{dom}");
}

/// Ends the front when the browser is done, however that went.
struct End<'a> {
    front: SocketAddr,
    ended: &'a AtomicBool,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.front));
    }
}

/// Passes one request of the browser on; `on_page` is called before a page is.
fn forward(mut stream: TcpStream, server: &Server, on_page: impl Fn()) {
    let Some((_, path)) = asked(&mut stream) else { return };
    if path == "/" {
        on_page();
    }
    let got = server.get(&path);
    let _ = stream.write_all(got.head.as_bytes()).and_then(|()| stream.write_all(&got.body));
}

/// The method and the path that a browser asks for; it also opens connections on which it asks nothing.
fn asked(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut head = vec![0; 16 * 1024];
    let length = stream.read(&mut head).unwrap_or(0);
    let head = String::from_utf8_lossy(&head[..length]).into_owned();
    let mut words = head.split(' ').map(str::to_owned);
    words.next().zip(words.next())
}
