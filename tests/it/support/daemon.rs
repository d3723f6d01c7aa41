//! The built binary, started, scraped and stopped as its users do it.

use std::io::{BufRead, BufReader, Read};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::scrape::Scrape;
use super::server::{self, Got};

/// How long anything may take that a test waits for. Generous: a busy machine is no defect.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// The built binary.
const BINARY: &str = env!("CARGO_BIN_EXE_gpu-cost-exporter");

/// A running exporter.
pub(crate) struct Daemon {
    child: Child,
    port: u16,
    log: Arc<Log>,
}

/// What a daemon has logged so far.
#[derive(Default)]
struct Log {
    text: Mutex<String>,
    grown: Condvar,
}

/// The built binary with no environment of ours but its own.
pub(crate) fn binary() -> Command {
    without_ours(Command::new(BINARY))
}

/// The built binary with a view of its own of what is mounted, made by a script that has the directory as `$1`.
pub(crate) fn binary_with_mounts(script: &str, directory: &Path) -> Command {
    let mut command = unshared();
    let script = format!("{script}\nshift\nexec \"$@\"");
    command.args(["--mount", "sh", "-euc", &script, "sh"]).arg(directory).arg(BINARY);
    without_ours(command)
}

/// The built binary with a clock of its own, which is so many seconds ahead of this machine's.
pub(crate) fn binary_with_clock(ahead: u32) -> Command {
    let mut command = unshared();
    command.args(["--time", "--boottime", &ahead.to_string(), BINARY]);
    without_ours(command)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command that gives another one something of its own, to whoever runs the tests.
fn unshared() -> Command {
    let mut command = Command::new("unshare");
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
}

fn without_ours(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let ours = name.to_string_lossy().starts_with("GPU_COST_");
        if ours || ["PRICING_CONFIG", "NODE_NAME", "KUBECONFIG"].iter().any(|known| name == *known) {
            command.env_remove(name);
        }
    }
    command
}

/// Waits until `condition` gives a value, and fails with `what` if it never does.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let looks = PATIENCE.as_millis() / GLANCE.as_millis();
    for _ in 0..looks {
        if let Some(value) = condition() {
            return value;
        }
        thread::sleep(GLANCE);
    }
    panic!("waited {PATIENCE:?} in vain: {what}");
}

// === impl Daemon ===

impl Daemon {
    /// Starts the binary on a port of its own.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    /// Starts the binary with some of its environment set.
    pub(crate) fn start_with(args: &[&str], environment: &[(&str, &Path)]) -> Self {
        Self::start_as(binary(), args, environment)
    }

    /// Starts a command that becomes the binary.
    pub(crate) fn start_as(mut command: Command, args: &[&str], environment: &[(&str, &Path)]) -> Self {
        command
            .args(["--web.listen-address=127.0.0.1:0", "--node.name=test-node", "--shutdown.grace=0s"])
            .args(args);
        command.envs(environment.iter().copied());
        let mut child =
            command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the binary is built");
        let log = Arc::new(Log::default());
        let stderr = child.stderr.take().expect("stderr is piped");
        let writer = Arc::clone(&log);
        thread::spawn(move || writer.follow(stderr));
        let line = log.wait_for("localhost:");
        let port = line.split_once("localhost:").and_then(|(_, rest)| rest.split('/').next());
        let port = port.and_then(|port| port.parse().ok()).expect("a port in the line");
        Self { child, port, log }
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Asks for a page.
    pub(crate) fn get(&self, path: &str) -> Got {
        self.get_with(path, &[])
    }

    /// Asks for a page with these header lines.
    pub(crate) fn get_with(&self, path: &str, headers: &[&str]) -> Got {
        server::ask((Ipv4Addr::LOCALHOST, self.port).into(), "GET", path, headers)
    }

    /// Scrapes the metrics.
    pub(crate) fn scrape(&self) -> Scrape {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200);
        Scrape::parse(answer.text())
    }

    /// Scrapes until `condition` gives a value.
    pub(crate) fn scrape_until<T>(&self, what: &str, condition: impl Fn(&Scrape) -> Option<T>) -> T {
        eventually(&format!("{what}; log so far:\n{}", self.log()), || condition(&self.scrape()))
    }

    /// Waits until it is ready.
    pub(crate) fn ready(self) -> Self {
        eventually("ready", || (self.get("/-/ready").status == 200).then_some(()));
        self
    }

    /// Waits for a line of the log that contains `text`, and gives it.
    pub(crate) fn wait_for_log(&self, text: &str) -> String {
        self.log.wait_for(text)
    }

    /// Waits until `count` lines of the log contain `text`.
    pub(crate) fn wait_for_logs(&self, text: &str, count: usize) {
        eventually(&format!("{count} lines with {text:?} in\n{}", self.log()), || {
            (self.log().lines().filter(|line| line.contains(text)).count() >= count).then_some(())
        });
    }

    /// All that was logged.
    pub(crate) fn log(&self) -> String {
        self.log.text.lock().expect("no reader panicked").clone()
    }

    /// Asks it to read its files anew.
    pub(crate) fn hang_up(&self) {
        self.signal("HUP");
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Ends it at whatever it is doing.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is our child");
    }

    /// Sends it a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Changes what it sees mounted at a path.
    pub(crate) fn mount(&self, options: &[&str], path: &Path) {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid().to_string(), "--mount"]);
        if !is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        let status = command.arg("mount").args(options).arg(path).status().expect("nsenter runs");
        assert!(status.success());
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> (ExitStatus, String) {
        let status = eventually("the end of the process", || self.child.try_wait().expect("it is our child"));
        (status, self.log())
    }

    /// Asks it to stop as Kubernetes does, and waits for its end.
    pub(crate) fn terminate(self) -> (ExitStatus, String) {
        self.signal("TERM");
        self.ended()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Log ===

impl Log {
    fn follow(&self, stderr: impl Read) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut text = self.text.lock().expect("no reader panicked");
            text.push_str(&line);
            text.push('\n');
            self.grown.notify_all();
        }
    }

    fn wait_for(&self, part: &str) -> String {
        let line = |text: &String| text.lines().find(|line| line.contains(part)).map(str::to_owned);
        let text = self.text.lock().expect("no writer panicked");
        let (text, _) = self
            .grown
            .wait_timeout_while(text, PATIENCE, |text| line(text).is_none())
            .expect("no writer panicked");
        line(&text).unwrap_or_else(|| panic!("no line with {part:?} in\n{text}"))
    }
}
