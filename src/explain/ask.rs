//! The question over HTTP.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::{Address, Error};
use crate::ledger_json::PATH;

/// How long an exporter may take: it has the answer ready, so it is hung or far away when it takes longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The largest answer that is read: a pod takes about a KiB, so far more than the pods of any node.
pub(super) const LARGEST_BYTES: usize = 256 << 20;

/// How much of a refusal is shown.
const SHOWN_CHARS: usize = 200;

/// The ledger of the exporter at `address`.
pub(super) async fn ask(address: &Address) -> Result<Value, Error> {
    let fetched = tokio::time::timeout(PATIENCE, fetch(address)).await;
    let (status, body) = fetched.map_err(|_| Error::Late { address: address.clone() })??;
    let stranger = |what: String| Error::Stranger { address: address.clone(), what };
    match status {
        StatusCode::OK => serde_json::from_slice(&body)
            .map_err(|_| stranger("answers with something else than JSON".into())),
        StatusCode::NOT_FOUND => Err(stranger(format!("has no {PATH}"))),
        StatusCode::SERVICE_UNAVAILABLE => {
            Err(Error::Busy { address: address.clone(), said: excerpt(&body) })
        }
        StatusCode::UNAUTHORIZED => Err(Error::Closed { address: address.clone(), wanted: "a password" }),
        StatusCode::BAD_REQUEST if excerpt(&body).contains("HTTPS server") => {
            Err(Error::Closed { address: address.clone(), wanted: "TLS" })
        }
        _ => Err(stranger(format!("answers with {status}"))),
    }
}

async fn fetch(address: &Address) -> Result<(StatusCode, Bytes), Error> {
    let stream = TcpStream::connect((&*address.host, address.port)).await;
    let stream = stream.map_err(|source| Error::Unreachable { address: address.clone(), source })?;
    let no_http = |_| Error::Stranger { address: address.clone(), what: "does not speak HTTP".into() };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(no_http)?;
    let request = Request::get(format!("{}{PATH}", address.prefix))
        .header(HOST, &address.authority)
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    let exchange = async move {
        let request = request.map_err(|error| format!("cannot be asked: {error}"))?;
        let response = sender.send_request(request).await.map_err(|_| "does not speak HTTP".to_owned())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST_BYTES).collect().await;
        let body = body.map_err(|_| "breaks off its answer, or it is too long".to_owned())?;
        Ok((status, body.to_bytes()))
    };
    // How the connection ends says nothing that the exchange does not.
    let (answered, _) = tokio::join!(exchange, connection);
    answered.map_err(|what| Error::Stranger { address: address.clone(), what })
}

/// The beginning of what somebody said, as one line.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    words.join(" ").trim().chars().take(SHOWN_CHARS).collect()
}
