//! The way to an API server as clusters have it: over TLS, with a certificate of the cluster's own authority.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use fake_nvml::{Board, Node};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::support::fake_apiserver::{FakeApiServer, pod};
use crate::support::fake_kubelet;
use crate::support::node::{FakeNode, flag, uuid};

const SHOWBACK: &str = "gpu_cost_showback_dollars_total";
const UP: &str = "gpu_cost_exporter_source_up";

/// Who vouches for servers.
type Authority = CertifiedIssuer<'static, KeyPair>;

/// An end of TLS in front of an API server that speaks none.
struct Front {
    address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server's certificate for this machine, and what proves that it is the server's.
fn proof(authority: &Authority) -> ServerConfig {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap()
}

/// As kubeconfigs have it.
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |three: &[u8]| {
        let bits =
            (0..3).fold(0_usize, |bits, n| bits << 8 | usize::from(three.get(n).copied().unwrap_or(0)));
        let digit =
            |n: usize| if n > three.len() { '=' } else { char::from(DIGITS[bits >> (18 - 6 * n) & 63]) };
        [0, 1, 2, 3].map(digit)
    };
    text.as_bytes().chunks(3).flat_map(digits).collect()
}

// === impl Front ===

impl Front {
    /// Listens with a certificate from `authority`.
    fn of(server: &FakeApiServer, authority: &Authority) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(proof(authority)));
        let behind = server.address();
        let (end, ended) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, acceptor, behind) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, end: Some(end), thread: Some(thread) }
    }

    /// A kubeconfig that leads here and trusts `authority`.
    fn kubeconfig(&self, node: &FakeNode, authority: &Authority) -> PathBuf {
        let cluster = json!({
            "server": format!("https://{}", self.address),
            "certificate-authority-data": base64(&authority.pem()),
        });
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{ "name": "it", "cluster": cluster }],
            "users": [{ "name": "it", "user": { "token": "secret" } }],
            "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it" } }],
        });
        let file = node.path("kubeconfig");
        fs::write(&file, kubeconfig.to_string()).unwrap();
        file
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        drop(self.end.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the end of TLS panicked");
    }
}

async fn serve(listener: std::net::TcpListener, acceptor: TlsAcceptor, behind: SocketAddr) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (outside, _) = listener.accept().await.unwrap();
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // Who does not trust us hangs up.
            let Ok(mut outside) = acceptor.accept(outside).await else { return };
            let Ok(mut inside) = TcpStream::connect(behind).await else { return };
            drop(copy_bidirectional(&mut outside, &mut inside).await);
        });
    }
}

/// A node with one GPU, which a pod of the team `nlp` holds.
fn cluster() -> (FakeNode, FakeApiServer) {
    let (node, server) = (FakeNode::new(&Node::new([Board::t4(0).busy(50)])), FakeApiServer::start());
    node.kubelet.list(vec![fake_kubelet::pod("ml", "chat", "nvidia.com/gpu", &[&uuid(0)])]);
    server.apply(&pod("ml", "chat", "uid-1", &[("team", "nlp")]));
    (node, server)
}

#[test]
fn it_comes_to_the_api_server_over_tls() {
    let ((node, server), authority) = (cluster(), authority());
    let front = Front::of(&server, &authority);
    let kubeconfig = flag("--kubernetes.kubeconfig", &front.kubeconfig(&node, &authority));
    let daemon = node.start(&[&kubeconfig]).ready();
    let pays = |team: &'static str| {
        daemon.scrape_until(team, |scrape| (scrape.sum(SHOWBACK, &[("team", team)]) > 0.0).then_some(()));
    };
    pays("nlp");
    // The watch comes over it too.
    server.apply(&pod("ml", "chat", "uid-1", &[("team", "vision")]));
    pays("vision");
    assert_eq!(daemon.scrape().value(UP, &[("source", "apiserver")]), Some(1.0));
}

#[test]
fn it_trusts_no_server_that_another_authority_vouches_for() {
    let ((node, server), ours) = (cluster(), authority());
    let front = Front::of(&server, &authority());
    let kubeconfig = flag("--kubernetes.kubeconfig", &front.kubeconfig(&node, &ours));
    let daemon = node.start(&[&kubeconfig]).ready();
    daemon.wait_for_log("certificate");
    let scrape = daemon.scrape();
    assert_eq!(scrape.value(UP, &[("source", "apiserver")]), Some(0.0));
    assert_eq!(scrape.values(SHOWBACK, &[("team", "nlp")]), [0.0; 0]);
    assert_eq!(server.asked("pods"), [""; 0]);
}
