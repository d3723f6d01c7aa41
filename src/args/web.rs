//! Who may ask, and how.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgAction, Args};

/// Where to listen, and what clients may take.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Web")]
pub struct WebArgs {
    /// Address to serve on; without a host, every address of the node. May be repeated.
    #[arg(long = "web.listen-address", env = "GPU_COST_WEB_LISTEN_ADDRESS", value_name = "[HOST]:PORT")]
    #[arg(default_value = ":8080", value_delimiter = ',', action = ArgAction::Append)]
    pub listen_addresses: Vec<ListenAddress>,

    /// Path of the metrics.
    #[arg(long = "web.telemetry-path", env = "GPU_COST_WEB_TELEMETRY_PATH", value_name = "PATH")]
    #[arg(default_value = "/metrics", value_parser = telemetry_path)]
    pub telemetry_path: String,

    /// TLS, client certificates and passwords, in the file that exporters of Prometheus share. It is read again when it
    /// or a certificate changes.
    #[arg(long = "web.config.file", env = "GPU_COST_WEB_CONFIG_FILE", value_name = "FILE")]
    pub config_file: Option<PathBuf>,

    /// Scrapes, pages and ledgers that are answered at one time; a further one gets 503, a probe never does. 0 means no
    /// limit.
    #[arg(long = "web.max-requests", env = "GPU_COST_WEB_MAX_REQUESTS", value_name = "NUMBER")]
    #[arg(default_value = "64")]
    pub max_requests: usize,
}

/// Where to listen: `host:port`, or `:port` for every address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// The address.
    pub socket: SocketAddr,
    /// Whether no host was given, so that IPv4 will do where there is no IPv6.
    pub any: bool,
}

fn telemetry_path(text: &str) -> Result<String, String> {
    let taken = ["/", "/-/healthy", "/-/ready"].contains(&text) || text.starts_with("/api/");
    if text.starts_with('/') && !text.starts_with("//") && !taken && !text.contains(['?', '#', ' ']) {
        Ok(text.to_owned())
    } else {
        Err("expected a path such as /metrics that is not taken by the page, the probes or /api/".to_owned())
    }
}

// === impl ListenAddress ===

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = || "expected an address such as :8080 or 127.0.0.1:8080".to_owned();
        if let Some(port) = text.strip_prefix(':') {
            let port = port.parse().map_err(|_| expected())?;
            return Ok(Self { socket: SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port), any: true });
        }
        let text = text.replacen("localhost:", "127.0.0.1:", 1);
        Ok(Self { socket: text.parse().map_err(|_| expected())?, any: false })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.any { write!(f, ":{}", self.socket.port()) } else { self.socket.fmt(f) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_do_without_a_host() {
        let address = |text: &str| text.parse::<ListenAddress>().map(|address| address.to_string()).ok();
        assert_eq!(address(":8080").as_deref(), Some(":8080"));
        assert_eq!(address("127.0.0.1:9").as_deref(), Some("127.0.0.1:9"));
        assert_eq!(address("localhost:9").as_deref(), Some("127.0.0.1:9"));
        assert_eq!(address("8080"), None);
    }

    #[test]
    fn the_metrics_take_nobodys_path() {
        assert!(telemetry_path("/-/ready").is_err() && telemetry_path("metrics").is_err());
        assert!(telemetry_path("/api/v1/ledger").is_err());
        assert!(telemetry_path("//").is_err() && telemetry_path("/gpu/metrics").is_ok());
    }
}
