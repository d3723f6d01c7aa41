//! One connection to the kubelet, and the two calls that are made over it.
//!
//! gRPC makes a broken connection anew without a word. We count them, because a kubelet that was restarted says other
//! things for a while, and nothing else tells that it was: its socket may even have the same inode.

use std::error::Error as _;
use std::io;
use std::iter;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::http::uri::{PathAndQuery, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::Error;
use super::messages::{
    AllocatableResourcesRequest, AllocatableResourcesResponse, ListPodResourcesRequest,
    ListPodResourcesResponse,
};

/// The largest answer that is read. Plugins that give out memory in units have tens of thousands of devices on a
/// node, which makes some MiB; ten times that is a fault and not an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Whom gRPC believes to talk to, where a socket has no name.
const AUTHORITY: &str = "http://localhost";

const LIST: &str = "/v1.PodResourcesLister/List";
const GET_ALLOCATABLE_RESOURCES: &str = "/v1.PodResourcesLister/GetAllocatableResources";

/// Calls the kubelet. The connection is made by the first call and kept.
pub(super) struct Client {
    socket: PathBuf,
    deadline: Duration,
    channel: Option<Channel>,
    /// How many connections were made.
    connections: Arc<AtomicU64>,
}

// === impl Client ===

impl Client {
    pub(super) fn new(socket: PathBuf, deadline: Duration) -> Self {
        Self { socket, deadline, channel: None, connections: Arc::default() }
    }

    /// Asks which container has which devices.
    pub(super) async fn list(&mut self) -> Result<ListPodResourcesResponse, Error> {
        self.call(LIST, ListPodResourcesRequest {}).await
    }

    /// Asks which devices there are to be had.
    pub(super) async fn allocatable(&mut self) -> Result<AllocatableResourcesResponse, Error> {
        self.call(GET_ALLOCATABLE_RESOURCES, AllocatableResourcesRequest {}).await
    }

    /// The number of the connection over which the last answer came: another number is another connection.
    pub(super) fn connection(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    async fn call<Q, A>(&mut self, method: &'static str, question: Q) -> Result<A, Error>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let channel = self.channel();
        let result = match tokio::time::timeout(self.deadline, unary(channel, method, question)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => Err(self.refused(method, &status)),
            Err(_) => Err(Error::Deadline { method, socket: self.socket.clone(), deadline: self.deadline }),
        };
        if result.as_ref().is_err_and(|error| !error.is_answer()) {
            self.channel = None;
        }
        result
    }

    /// The channel that is kept, or a new one that nothing is known of yet.
    fn channel(&mut self) -> Channel {
        let (socket, connections) = (&self.socket, &self.connections);
        let channel = self.channel.get_or_insert_with(|| {
            let (socket, connections) = (socket.clone(), Arc::clone(connections));
            let connector = service_fn(move |_: Uri| connect(socket.clone(), Arc::clone(&connections)));
            Endpoint::from_static(AUTHORITY).connect_with_connector_lazy(connector)
        });
        channel.clone()
    }

    fn refused(&self, method: &'static str, status: &Status) -> Error {
        let socket = self.socket.clone();
        match io_error(status) {
            Some(source) => Error::Unreachable { socket, source },
            None => Error::Call { method, socket, code: status.code(), text: status.message().to_owned() },
        }
    }
}

async fn connect(socket: PathBuf, connections: Arc<AtomicU64>) -> io::Result<TokioIo<UnixStream>> {
    let stream = UnixStream::connect(socket).await?;
    connections.fetch_add(1, Ordering::Relaxed);
    Ok(TokioIo::new(stream))
}

async fn unary<Q, A>(channel: Channel, method: &'static str, question: Q) -> Result<A, Status>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let mut grpc = Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let codec: ProstCodec<Q, A> = ProstCodec::default();
    let answer = grpc.unary(Request::new(question), PathAndQuery::from_static(method), codec).await?;
    Ok(answer.into_inner())
}

/// What the operating system said, if it is the reason: gRPC makes one code, UNAVAILABLE, of a socket that is missing,
/// one that is forbidden and one that nobody listens on, and people must do something else about each.
fn io_error(status: &Status) -> Option<io::Error> {
    let error =
        iter::successors(status.source(), |&error| error.source()).find_map(|error| error.downcast_ref())?;
    Some(copy(error))
}

fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
