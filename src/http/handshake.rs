//! How a connection begins: with TLS, where the web configuration has it.

use std::io;
use std::sync::Arc;

use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use super::Limits;
use super::answer::{self, Answer};
use super::impatient::Impatient;

/// A connection over which requests come.
pub(super) enum Opened {
    /// Without TLS, as it should be.
    Plain(Impatient<TcpStream>),
    /// With TLS.
    Encrypted(Box<TlsStream<Impatient<TcpStream>>>),
    /// Without TLS, though there should be.
    Mistaken(Impatient<TcpStream>),
}

/// Opens a connection, encrypted if there is `tls`. Who takes longer than for a request is cut off.
pub(super) async fn open(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    limits: Limits,
) -> io::Result<Opened> {
    let Some(tls) = tls else { return Ok(Opened::Plain(Impatient::new(stream, limits.response_write))) };
    let opened = async {
        let speaks_http = speaks_http(&stream).await?;
        let stream = Impatient::new(stream, limits.response_write);
        if speaks_http {
            return Ok(Opened::Mistaken(stream));
        }
        Ok(Opened::Encrypted(Box::new(TlsAcceptor::from(tls).accept(stream).await?)))
    };
    tokio::time::timeout(limits.request_read, opened).await?
}

/// Whether the first byte is one of a method's name, as none of TLS is.
async fn speaks_http(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let length = stream.peek(&mut first).await?;
    Ok(length > 0 && first[0].is_ascii_uppercase())
}

/// What somebody is told who speaks plain HTTP where TLS is expected.
pub(super) fn https_was_meant() -> Response<Answer> {
    let mut response =
        answer::text(StatusCode::BAD_REQUEST, "Client sent an HTTP request to an HTTPS server.\n");
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
