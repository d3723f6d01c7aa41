//! Programs of others that judge what we say: Prometheus' own, Python's parser, a browser.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

/// Runs a program with `input` and gives its output; `help` says how to get the program.
pub(crate) fn run(command: &mut Command, input: &[u8], help: &str) -> Output {
    use std::io::Write;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}; {help}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // A program may answer before it has read everything, so both pipes are served at once.
    thread::scope(|scope| {
        scope.spawn(move || {
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().expect("output is piped")
    })
}

/// The Python that has `prometheus_client`: `$PYTHON`, else the one that `make test` makes, else the system's.
pub(crate) fn python() -> PathBuf {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/venv/bin/python3");
    std::env::var_os("PYTHON").map_or_else(|| if ours.exists() { ours } else { "python3".into() }, Into::into)
}

/// Runs Python tests that are beside what they test: a module of them, or a class of one, in this directory of the
/// repository, on the built binary; with `UPDATE_EXPECT=1` they write what they would compare.
pub(crate) fn unittest(directory: &str, tests: &str, environment: &[(&str, OsString)]) {
    let mut command = Command::new(python());
    command
        .args(["-B", "-m", "unittest", tests])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory))
        .env("GPU_COST_EXPORTER", env!("CARGO_BIN_EXE_gpu-cost-exporter"))
        .envs(environment.iter().map(|(name, value)| (name, value)));
    let output = run(&mut command, b"", "install the tools of the tests (make tools)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\nmake tools installs what these tests need");
    assert!(!said.contains("Ran 0 tests"), "{said}");
}

/// A program that `make test` puts beside our own tools, unless this variable of the environment names another one.
pub(crate) fn ours(variable: &str, name: &str) -> PathBuf {
    let ours = || Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin").join(name);
    std::env::var_os(variable).map_or_else(ours, Into::into)
}

/// A Prometheus that reads created timestamps: `$PROMETHEUS_CREATED`, else the one that `make test` installs.
pub(crate) fn prometheus_with_created() -> PathBuf {
    ours("PROMETHEUS_CREATED", "prometheus-created")
}

/// The browser: `$CHROMIUM`, else Debian's.
pub(crate) fn chromium() -> PathBuf {
    std::env::var_os("CHROMIUM").map_or_else(|| "/usr/bin/chromium".into(), Into::into)
}

/// Runs the browser once, without a screen, on one page.
pub(crate) fn browse(url: &str, arguments: &[&str]) -> Output {
    let profile = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(chromium());
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .arg(url);
    run(&mut command, b"", "install Chromium or set CHROMIUM to one (make test does)")
}
