//! Who may know whom, and other promises of the documents that a reader should be able to rely on.

mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use source::{begins_with, lines_without_tests, paths, tokens, without_tests};

/// What a module may use: itself, and what stands here. Read from the top, it is the architecture.
struct Layer {
    module: &'static str,
    /// Modules of ours, or parts of them.
    ours: &'static [&'static str],
    /// Other people's crates.
    crates: &'static [&'static str],
}

const EVERYTHING: &[&str] = &["*"];

const LAYERS: &[Layer] = &[
    // What one tick saw: plain data that every layer shares.
    Layer { module: "observation", ours: &[], crates: &[] },
    // The cost model: data in, data out.
    Layer { module: "cost", ours: &["observation"], crates: &[] },
    // The C library's allocator.
    Layer { module: "allocator", ours: &[], crates: &["libc"] },
    // The one clock.
    Layer { module: "clock", ours: &["observation"], crates: &["rustix::time"] },
    // What the exporter says about itself beside the report.
    Layer { module: "errors", ours: &[], crates: &[] },
    // How files are written by hand, whatever they mean.
    Layer { module: "yaml", ours: &[], crates: &["saphyr_parser", "strsim"] },
    Layer { module: "status", ours: &["observation", "cost::report"], crates: &[] },
    // Where observations come from. The far sides do not know each other, and none knows a price.
    Layer {
        module: "nvml",
        ours: &["observation", "clock"],
        crates: &["nvml_wrapper", "nvml_wrapper_sys", "thiserror", "tokio"],
    },
    Layer {
        module: "kubelet",
        ours: &["observation", "clock"],
        // Of `hyper` only what gRPC is made of: the name of a method is a path of HTTP, a connection is a stream.
        crates: &[
            "hyper::http::uri",
            "hyper_util::rt",
            "prost",
            "thiserror",
            "tokio",
            "tonic",
            "tonic_prost",
            "tower",
            "tracing",
        ],
    },
    Layer {
        module: "apiserver",
        ours: &["observation", "clock", "errors"],
        crates: &["futures", "k8s_openapi", "kube", "serde", "serde_json", "thiserror", "tokio", "tracing"],
    },
    Layer { module: "procfs", ours: &["observation"], crates: &["thiserror"] },
    Layer { module: "demo", ours: &["observation"], crates: &["serde", "serde_yaml"] },
    // The files that people write and keep.
    Layer { module: "watched_file", ours: &["yaml"], crates: &[] },
    Layer { module: "kept_file", ours: &[], crates: &[] },
    Layer {
        module: "pricing_file",
        ours: &[
            "observation",
            "cost::attribution",
            "cost::gpu_model",
            "cost::money",
            "cost::pricing",
            "yaml",
            "kept_file",
        ],
        crates: &["ring::digest", "serde", "serde_json", "serde_yaml"],
    },
    Layer { module: "labels_file", ours: &["apiserver", "yaml"], crates: &[] },
    Layer {
        module: "web_config",
        ours: &["yaml", "watched_file"],
        crates: &["base64", "bcrypt", "humantime", "hyper::header", "tokio_rustls::rustls"],
    },
    Layer { module: "trace", ours: &["observation"], crates: &["serde", "serde_json", "thiserror"] },
    Layer {
        module: "state_file",
        ours: &[
            "observation",
            "cost::attribution",
            "cost::ledger",
            "cost::meter",
            "cost::money",
            "cost::pricing",
            "cost::report",
            "clock",
            "status",
            "kept_file",
            "trace",
        ],
        crates: &["crc32fast", "serde", "serde_json", "thiserror", "tokio", "tracing"],
    },
    // The loop between what is seen and what is said. It meters, and knows nothing of how money is counted.
    Layer {
        module: "sampler",
        ours: &[
            "observation",
            "cost::meter",
            "cost::report",
            "clock",
            "errors",
            "status",
            "nvml",
            "kubelet",
            "apiserver",
            "procfs",
            "demo",
            "trace",
            "state_file",
        ],
        crates: &["tokio", "tracing"],
    },
    // Where reports go. They know the answer and its words, not how it was found.
    Layer {
        module: "metrics",
        ours: &["observation", "cost::money", "cost::pricing", "cost::report", "status"],
        crates: &["itoa", "prometheus", "zmij"],
    },
    Layer {
        module: "ledger_json",
        ours: &["observation", "cost::money", "cost::pricing", "cost::report", "status", "metrics::unit"],
        crates: &["serde", "serde_json"],
    },
    // The chain behind a charge in words, from what the JSON says.
    Layer { module: "why", ours: &["ledger_json"], crates: &[] },
    Layer {
        module: "http",
        ours: &[
            "observation",
            "cost::money",
            "cost::pricing",
            "cost::report",
            "status",
            "metrics",
            "ledger_json",
            "why",
            "clock",
            "web_config",
        ],
        crates: &[
            "base64",
            "flate2",
            "hyper",
            "hyper_util",
            "maud",
            "ring::hmac",
            "ring::rand",
            "tokio",
            "tokio_rustls",
            "tracing",
        ],
    },
    // The other end of the line: it knows what is served, and no server.
    Layer {
        module: "explain",
        ours: &["ledger_json", "why"],
        crates: &[
            "http_body_util",
            "hyper",
            "hyper_util",
            "serde",
            "serde_json",
            "strsim",
            "thiserror",
            "tokio",
        ],
    },
    // What was typed.
    Layer {
        module: "args",
        ours: &[
            "observation",
            "cost::attribution",
            "cost::pricing",
            "explain::Address",
            "explain::Output",
            "kubelet::ResourceName",
            "kubelet::SOCKET",
            "apiserver::LabelSource",
            "metrics::Level",
        ],
        crates: &["clap", "humantime", "tracing::level_filters", "tracing_subscriber::EnvFilter"],
    },
    // What is answered at once.
    Layer {
        module: "commands",
        ours: &["observation", "cost::gpu_model", "cost::money", "cost::pricing", "args"],
        crates: &["serde_json"],
    },
    // The only module that may know all others.
    Layer {
        module: "app",
        ours: EVERYTHING,
        crates: &["anyhow", "rustix::process", "rustix::system", "thiserror", "tokio", "tracing"],
    },
    Layer {
        module: "main",
        ours: &["allocator", "cost::pricing", "clock", "pricing_file", "explain", "args", "app"],
        crates: &["anyhow", "clap", "tokio", "tracing", "tracing_subscriber"],
    },
    Layer { module: "lib", ours: &[], crates: &[] },
];

/// The modules that compute money and must give the same answer everywhere, with what they may not ask `std` for.
const PURE: &[&str] = &["observation", "cost"];
const IMPURE_STD: &[&str] = &["env", "fs", "io", "net", "process", "thread", "time"];

/// A longer file holds two ideas.
const LINES: usize = 400;

/// Where `unsafe` is needed: at the allocator's settings, at the driver's own interface, in the fake of it, where a test talks
/// to the fake, and in an allocator that counts.
const UNSAFE: &[&str] = &[
    "src/allocator.rs",
    "src/nvml/ffi.rs",
    "tests/allocations/counting.rs",
    "tests/fake-nvml/",
    "tests/it/support/fake_nvml.rs",
];

#[test]
fn every_module_uses_only_what_its_layer_allows() {
    let crates = dependencies(&read("Cargo.toml"));
    let complaints = program().into_iter().flat_map(|file| layering(&file, &read(&file), &crates));
    assert_none(complaints);
}

#[test]
fn no_layer_is_allowed_what_it_does_not_use() {
    let crates = dependencies(&read("Cargo.toml"));
    for layer in LAYERS {
        let files = program().into_iter().filter(|file| module_of(file)[0] == layer.module);
        let used: Vec<Used> = files.flat_map(|file| used(&file, &read(&file), &crates)).collect();
        let named = |allowed: &str, origin: &Origin| {
            used.iter().any(|path| path.origin == *origin && begins_with_path(&path.path, allowed))
        };
        let ours = layer.ours.iter().filter(|allowed| **allowed != "*");
        let unused = ours.filter(|allowed| !named(allowed, &Origin::Ours));
        let unused = unused.chain(layer.crates.iter().filter(|allowed| !named(allowed, &Origin::Crate)));
        assert_eq!(unused.collect::<Vec<_>>(), [&""; 0], "{} may use what it does not", layer.module);
    }
}

#[test]
fn arrows_point_to_what_was_read_before() {
    let rows: Vec<&str> = LAYERS.iter().map(|layer| layer.module).collect();
    for (at, layer) in LAYERS.iter().enumerate() {
        let earlier = |allowed: &&str| allowed.split("::").next().is_some_and(|it| rows[..at].contains(&it));
        let later = layer.ours.iter().filter(|allowed| **allowed != "*" && !earlier(allowed));
        assert_eq!(later.collect::<Vec<_>>(), [&""; 0], "{} uses what comes after it", layer.module);
    }
    let lib = tokens(&read("src/lib.rs"));
    let declared = lib.windows(2).filter(|pair| pair[0].text == "mod").map(|pair| pair[1].text.as_str());
    let declared: Vec<_> = declared.chain(["main", "lib"]).collect();
    assert_eq!(declared, rows, "lib.rs and LAYERS are read in one order");
}

#[test]
fn a_forbidden_arrow_is_seen() {
    let crates = dependencies("[dependencies]\nserde_yaml = { package = \"x\" }\nhyper-util = \"1\"\n");
    for (file, text, expected) in [
        ("src/cost/meter.rs", "use crate::observation::Span;\nuse super::money::Rate;", ""),
        ("src/cost/meter.rs", "use std::sync::Arc; use std::fmt;", ""),
        ("src/cost/meter.rs", "fn a() { crate::clock::uptime(); }", "cost may not use clock::uptime"),
        ("src/cost.rs", "use std::{fmt, time::Duration};", "cost may not use std::time::Duration"),
        ("src/observation.rs", "#[derive(serde_yaml::X)] struct A;", "observation may not use serde_yaml::X"),
        ("src/nvml.rs", "use super::kubelet;", "nvml may not use kubelet"),
        ("src/nvml/mig.rs", "use super::super::cost::money;", "nvml may not use cost::money"),
        ("src/nvml/mig.rs", "use super::{Device, Error};", ""),
        ("src/metrics.rs", "use crate::cost::{report::Report, ledger};", "metrics may not use cost::ledger"),
        ("src/metrics.rs", "use crate::cost;", "metrics may not use cost"),
        ("src/http.rs", "use prometheus_text::A; use hyper_util::rt;", ""),
        ("src/http.rs", "use crate::sampler;", "http may not use sampler"),
        ("src/clock.rs", "use rustix::{fs, time};", ""),
        ("src/nvml.rs", "// use crate::kubelet;\n#[cfg(test)]\nmod tests { use crate::kubelet; }", ""),
        ("src/main.rs", "gpu_cost_exporter::sampler::run();", "main may not use sampler::run"),
        (
            "src/app.rs",
            "use crate::{nvml, kubelet}; use serde_yaml::Value;",
            "app may not use serde_yaml::Value",
        ),
        ("src/elsewhere.rs", "", "elsewhere has no row in LAYERS that says what it may use"),
    ] {
        let found: Vec<_> = layering(file, text, &crates).into_iter().map(|it| it.said).collect();
        assert_eq!(found.join("; "), expected, "{file}: {text}");
    }
    let rustix = dependencies("[dependencies]\nrustix = \"1\"\n");
    assert_eq!(
        layering("src/clock.rs", "\nuse rustix::fs;", &rustix)[0].to_string(),
        "src/clock.rs:2: clock may not use rustix::fs"
    );
}

#[test]
fn every_file_holds_one_idea() {
    assert_none(program().into_iter().filter_map(|file| {
        let lines = lines_without_tests(&read(&file));
        length(lines).map(|said| Complaint { file, line: 1, said })
    }));
    assert!(length(LINES).is_none() && length(LINES + 1).is_some());
}

#[test]
fn exceptions_are_expected_and_no_test_is_ignored() {
    let files = handwritten("src").into_iter().chain(handwritten("tests/it"));
    assert_none(files.flat_map(|file| silencers(&file, &read(&file))));
    for (text, expected) in [
        ("#[expect(dead_code, reason = \"#[allow(x)]\")] fn ignore() { allow(); }", ""),
        ("#![allow(dead_code)]", "allow"),
        ("#[test]\n#[ignore]\nfn a() {}", "ignore"),
        ("#[cfg_attr(x, allow(y))]", "allow"),
        ("#[ignore = \"slow\"]", "ignore"),
    ] {
        let found: Vec<_> = silencers("", text).into_iter().map(|it| it.said).collect();
        let expected: Vec<_> =
            expected.split_terminator(' ').map(|word| format!("`{word}` hides something")).collect();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn unsafe_code_is_at_the_driver_and_the_allocator_only() {
    let files = handwritten("src").into_iter().chain(handwritten("tests"));
    assert_none(files.flat_map(|file| unsafe_code(&file, &read(&file))));
    assert_eq!(unsafe_code("src/nvml.rs", "// unsafe\nfn a() { unsafe {} }").len(), 1);
    assert_eq!(unsafe_code("src/nvml/ffi.rs", "fn a() { unsafe {} }").len(), 0);
}

#[test]
fn manifests_and_documents_name_metrics_that_exist() {
    let Ok(catalogue) = fs::read_to_string(root().join("METRICS.md")) else {
        // Generated from the catalogue in the code; until both exist there is nothing to compare with.
        return;
    };
    let mut known = metric_names(&catalogue);
    assert!(known.contains("gpu_cost_device_dollars_total"), "METRICS.md names no metric");
    for file in files("rules") {
        let text = read(&file);
        let records = text.lines().filter(|line| line.contains("record:"));
        known.extend(records.flat_map(metric_names));
    }
    let documents = [
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/energy.md",
        "docs/sharing.md",
        "docs/install.md",
        "docs/dashboards.md",
        "docs/web-config.md",
        "docs/scale.md",
    ]
    .map(str::to_owned);
    // Dashboards name recorded series, too: tests/dashboards/conventions.py knows them apart.
    let files = files("deploy").into_iter().chain(documents);
    assert_none(files.flat_map(|file| {
        let named = metric_names(&read(&file));
        let unknown: Vec<_> = named.difference(&known).cloned().collect();
        unknown.into_iter().map(move |name| Complaint {
            file: file.clone(),
            line: 1,
            said: format!("names {name}, which METRICS.md does not have"),
        })
    }));
}

#[test]
fn a_metric_is_found_in_an_expression() {
    let names = metric_names(
        "sum(gpu_cost_pod_dollars_total{x=\"1\"}) / my_gpu_cost_y + `gpu_cost_z` gpu_cost_ a:gpu_cost_b:c",
    );
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["gpu_cost_pod_dollars_total", "gpu_cost_z"]);
}

#[test]
fn the_commands_of_the_documents_exist() {
    let makefile = read("Makefile");
    let documents = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"].map(|file| (file, root().join(file)));
    assert_none(documents.iter().filter(|(_, path)| path.exists()).flat_map(|(file, _)| {
        let missing = make_targets(&read(file)).into_iter().filter(|target| !defines(&makefile, target));
        missing.map(|target| Complaint {
            file: (*file).to_owned(),
            line: 1,
            said: format!("says `make {target}`, which the Makefile does not have"),
        })
    }));
    for script in makefile.split_whitespace().filter(|word| word.starts_with("scripts/")) {
        assert!(root().join(script).exists(), "the Makefile calls {script}, which does not exist");
    }
    let text = "make sure; `make run`\n```sh\nmake gpu-check ARGS=1\n```\nmake it\n\n    make lint  # so\n";
    assert_eq!(make_targets(text), ["run", "gpu-check", "lint"]);
    assert!(defines("a:\nrun: b\n", "run") && !defines("a: run\n\trun:\n", "run"));
}

#[test]
fn what_the_documents_name_exists() {
    let code = handwritten("src").into_iter().chain(handwritten("tests"));
    let words: BTreeSet<String> =
        code.flat_map(|file| tokens(&read(&file))).map(|token| token.text).collect();
    for document in
        ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/sharing.md", "docs/dashboards.md", "docs/security.md"]
    {
        for name in read(document).split('`').skip(1).step_by(2) {
            let is_test = name.matches('_').count() >= 3 && !name.starts_with("gpu_cost_");
            let is_test = is_test && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase());
            assert!(!is_test || words.contains(name), "{document} names {name}, which no code has");
            let is_file = Path::new(name).extension().is_some_and(|extension| extension == "rs");
            let exists = ["", "src", "src/cost"].iter().any(|folder| root().join(folder).join(name).exists());
            assert!(!is_file || exists, "{document} names {name}, which is no file");
        }
    }
}

#[test]
fn what_must_pass_is_what_a_developer_runs() {
    assert!(
        read(".ci/run").lines().any(|line| line.ends_with("exec make test")),
        ".ci/run does not call `make test`"
    );
}

/// What is wrong, and where.
struct Complaint {
    file: String,
    line: usize,
    said: String,
}

// === impl Complaint ===

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.said)
    }
}

fn assert_none(complaints: impl IntoIterator<Item = Complaint>) {
    let said: Vec<_> = complaints.into_iter().map(|complaint| complaint.to_string()).collect();
    assert!(said.is_empty(), "\n{}\n", said.join("\n"));
}

/// What a file uses and may not.
fn layering(file: &str, text: &str, crates: &BTreeSet<String>) -> Vec<Complaint> {
    let module = module_of(file);
    let complaint = |line, said| Complaint { file: file.to_owned(), line, said };
    let Some(layer) = LAYERS.iter().find(|layer| layer.module == module[0]) else {
        return vec![complaint(1, format!("{} has no row in LAYERS that says what it may use", module[0]))];
    };
    let refused = used(file, text, crates).into_iter().filter(|used| !may_use(layer, used));
    refused
        .map(|used| complaint(used.line, format!("{} may not use {}", layer.module, used.path.join("::"))))
        .collect()
}

/// What a file uses outside of its tests.
fn used(file: &str, text: &str, crates: &BTreeSet<String>) -> Vec<Used> {
    let module = module_of(file);
    let paths = paths(&without_tests(&tokens(text))).into_iter();
    paths.filter_map(|path| path_in_full(&path, &module, crates)).collect()
}

/// A path with its origin.
struct Used {
    origin: Origin,
    path: Vec<String>,
    line: usize,
}

#[derive(PartialEq)]
enum Origin {
    Ours,
    Std,
    Crate,
}

/// Where a path leads from a module; `None` for names that another path brought into scope.
fn path_in_full(found: &source::Path, module: &[String], crates: &BTreeSet<String>) -> Option<Used> {
    let below = |origin, path: &[String]| Some(Used { origin, path: path.to_vec(), line: found.line });
    let path = &found.segments;
    match path.first()?.as_str() {
        "crate" | "gpu_cost_exporter" => below(Origin::Ours, &path[1..]),
        "self" | "super" => {
            let parents = path.iter().take_while(|segment| *segment == "super").count();
            let rest = path.iter().skip_while(|segment| matches!(segment.as_str(), "self" | "super"));
            let stay = module.len().saturating_sub(parents);
            below(Origin::Ours, &module[..stay].iter().chain(rest).cloned().collect::<Vec<_>>())
        }
        "std" | "core" | "alloc" => below(Origin::Std, path),
        name if crates.contains(name) => below(Origin::Crate, path),
        _ => None,
    }
}

fn may_use(layer: &Layer, used: &Used) -> bool {
    let within = |allowed: &[&str]| {
        allowed.iter().any(|prefix| *prefix == "*" || begins_with_path(&used.path, prefix))
    };
    match used.origin {
        Origin::Ours => used.path.first().is_some_and(|first| first == layer.module) || within(layer.ours),
        Origin::Crate => within(layer.crates),
        Origin::Std => {
            let part = used.path.get(1).map_or("", String::as_str);
            !PURE.contains(&layer.module) || !IMPURE_STD.contains(&part)
        }
    }
}

/// Whether a path is `prefix` or leads into it.
fn begins_with_path(path: &[String], prefix: &str) -> bool {
    prefix.split("::").eq(path.iter().take(prefix.split("::").count()))
}

/// The module that a file of `src` is.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    path.split('/').map(str::to_owned).collect()
}

/// The crates that a manifest depends on, as the code names them.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut names = BTreeSet::new();
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            inside = section.trim_end_matches(']').ends_with("dependencies");
        } else if let Some((name, _)) = line.split_once('=').filter(|_| inside && !line.starts_with('#')) {
            names.insert(name.trim().replace('-', "_"));
        }
    }
    names
}

/// What is wrong with the length of a file, its tests left out.
fn length(lines: usize) -> Option<String> {
    (lines > LINES).then(|| format!("has {lines} lines without its tests: does it hold two ideas?"))
}

/// Attributes that silence a lint or a test.
fn silencers(file: &str, text: &str) -> Vec<Complaint> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        let opens = begins_with(&tokens[at..], &["#", "["]) || begins_with(&tokens[at..], &["#", "!", "["]);
        match token.text.as_str() {
            "#" if opens && depth == 0 => depth = 1,
            "[" | "(" if depth > 0 => depth += 1,
            ")" if depth > 0 => depth -= 1,
            // The outermost bracket closes the attribute itself.
            "]" if depth > 0 => depth = if depth == 2 { 0 } else { depth - 1 },
            word @ ("allow" | "ignore") if depth > 0 => {
                found.push(Complaint {
                    file: file.to_owned(),
                    line: token.line,
                    said: format!("`{word}` hides something"),
                });
            }
            _ => {}
        }
    }
    found
}

fn unsafe_code(file: &str, text: &str) -> Vec<Complaint> {
    if UNSAFE.iter().any(|place| file.starts_with(place)) {
        return Vec::new();
    }
    let words = tokens(text).into_iter().filter(|token| token.text == "unsafe");
    words
        .map(|token| Complaint { file: file.to_owned(), line: token.line, said: "is unsafe".to_owned() })
        .collect()
}

/// The names of metrics in a text.
fn metric_names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    let words = words.map(|word| word.trim_end_matches(':'));
    words.filter(|word| word.starts_with("gpu_cost_") && !word.ends_with('_')).map(str::to_owned).collect()
}

/// The targets of the `make` commands in the code of a Markdown text.
fn make_targets(markdown: &str) -> Vec<String> {
    // Code stands between backticks, be it one or three, or is indented by four spaces.
    let quoted = markdown.split('`').skip(1).step_by(2).flat_map(str::lines);
    let indented = markdown.lines().filter(|line| line.starts_with("    "));
    let targets = quoted.chain(indented).filter_map(|line| line.trim().strip_prefix("make "));
    let names = targets.filter_map(|rest| rest.split([' ', '\t']).next());
    let mut found: Vec<String> = Vec::new();
    for name in names.filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())) {
        if !found.iter().any(|known| known == name) {
            found.push(name.to_owned());
        }
    }
    found
}

fn defines(makefile: &str, target: &str) -> bool {
    makefile.lines().any(|line| line.strip_prefix(target).is_some_and(|rest| rest.starts_with(':')))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).expect(file)
}

/// The files of the program that people wrote, without those that hold only tests.
fn program() -> Vec<String> {
    let tests = |file: &String| file.ends_with("/tests.rs") || file.contains("/tests/");
    handwritten("src").into_iter().filter(|file| !tests(file)).collect()
}

/// The Rust files below a directory that no generator wrote.
fn handwritten(directory: &str) -> Vec<String> {
    let generated = |file: &String| read(file).lines().next().is_some_and(|line| line.contains("@generated"));
    let rust = |file: &String| Path::new(file).extension().is_some_and(|extension| extension == "rs");
    files(directory).into_iter().filter(|file| rust(file) && !generated(file)).collect()
}

/// The text files below a directory of the repository, sorted. Links lead to files that are elsewhere in it.
fn files(directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories: Vec<PathBuf> = vec![root().join(directory)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("the directory can be listed") {
            let path = entry.expect("the directory can be listed").path();
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                directories.push(path);
            } else if let Ok(path) = path.strip_prefix(root()) {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}
