//! The far side of pod-resources: a kubelet that says what a test wants and misbehaves on demand.
//!
//! Only the kubelet itself is replaced. The unix socket, HTTP/2 and the framing of gRPC are real, down to the socket
//! file that a killed kubelet leaves behind. It runs on a thread of its own with a runtime of its own, so that it
//! answers, or hangs, whatever the test and the program do.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use gpu_cost_exporter::clock;
use gpu_cost_exporter::kubelet::messages::{
    AllocatableResourcesResponse, ContainerDevices, ContainerResources, ListPodResourcesResponse,
    PodResources,
};
use gpu_cost_exporter::observation::Uptime;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::http::{HeaderMap, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tonic::body::Body;
use tonic::{Code, Status};

/// A kubelet on a socket of its own, which lies in a directory of its own.
pub(crate) struct FakeKubelet {
    directory: TempDir,
    script: Arc<Mutex<Script>>,
    life: Option<Life>,
}

/// A method of pod-resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Method {
    List,
    GetAllocatableResources,
}

/// What the kubelet does with one call.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Answers with these bytes as the message.
    Bytes(Bytes),
    /// Refuses.
    Refuse(Code, &'static str),
    /// Never answers, nor anything else that comes over the same connection.
    Hang,
    /// Answers after a time.
    Late(Duration, Box<Answer>),
}

/// What the kubelet was told to do, and what it was asked.
#[derive(Default)]
struct Script {
    /// One answer per call, before the lasting ones.
    next: HashMap<Method, VecDeque<Answer>>,
    lasting: HashMap<Method, Answer>,
    /// When each call was answered.
    calls: HashMap<Method, Vec<Uptime>>,
}

/// The thread of a running kubelet.
struct Life {
    end: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

/// A pod with one container, `main`, that has these devices of one resource: an entry each, as the kubelet does it.
pub(crate) fn pod(namespace: &str, name: &str, resource: &str, ids: &[&str]) -> PodResources {
    pod_of(namespace, name, resource, &[("main", ids)])
}

/// A pod with these containers, each with its devices of one resource.
pub(crate) fn pod_of(
    namespace: &str,
    name: &str,
    resource: &str,
    containers: &[(&str, &[&str])],
) -> PodResources {
    let container = |(name, ids): &(&str, &[&str])| ContainerResources {
        name: (*name).to_owned(),
        devices: devices(resource, ids),
        ..ContainerResources::default()
    };
    PodResources {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        containers: containers.iter().map(container).collect(),
        ..PodResources::default()
    }
}

/// What `List` answers when there are these pods.
pub(crate) fn listing(pods: Vec<PodResources>) -> Answer {
    Answer::message(&ListPodResourcesResponse { pod_resources: pods })
}

/// Devices of one resource, an entry each, as the kubelet does it.
pub(crate) fn devices(resource: &str, ids: &[&str]) -> Vec<ContainerDevices> {
    let entry = |&id: &&str| ContainerDevices {
        resource_name: resource.to_owned(),
        device_ids: vec![id.to_owned()],
        topology: None,
    };
    ids.iter().map(entry).collect()
}

// === impl FakeKubelet ===

impl FakeKubelet {
    /// Starts a kubelet without pods or devices.
    pub(crate) fn start() -> Self {
        let mut kubelet = Self::absent();
        kubelet.come_back();
        kubelet
    }

    /// A kubelet that was never started: there is a directory and no socket in it.
    pub(crate) fn absent() -> Self {
        // The path of a socket may have 108 bytes, so it lies in /tmp however deep the tests' own directory is.
        let directory = TempDir::with_prefix_in("kubelet-", "/tmp").unwrap();
        let kubelet = Self { directory, script: Arc::default(), life: None };
        kubelet.list(Vec::new());
        kubelet.advertise(Vec::new());
        kubelet
    }

    /// The socket, whether it is there or not.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("kubelet.sock")
    }

    /// From now on `List` has these pods.
    pub(crate) fn list(&self, pods: Vec<PodResources>) {
        self.answer(Method::List, listing(pods));
    }

    /// From now on `GetAllocatableResources` has these devices.
    pub(crate) fn advertise(&self, devices: Vec<ContainerDevices>) {
        let message = AllocatableResourcesResponse { devices, ..AllocatableResourcesResponse::default() };
        self.answer(Method::GetAllocatableResources, Answer::message(&message));
    }

    /// From now on every call of a method is answered so.
    pub(crate) fn answer(&self, method: Method, answer: Answer) {
        self.script().lasting.insert(method, answer);
    }

    /// The next calls of a method are answered so, before it goes on as it was.
    pub(crate) fn answer_next(&self, method: Method, times: usize, answer: &Answer) {
        let answers = vec![answer.clone(); times];
        self.script().next.entry(method).or_default().extend(answers);
    }

    /// How often a method was called.
    pub(crate) fn calls(&self, method: Method) -> usize {
        self.called(method).len()
    }

    /// When a method was called.
    pub(crate) fn called(&self, method: Method) -> Vec<Uptime> {
        self.script().calls.get(&method).cloned().unwrap_or_default()
    }

    /// Dies like a killed process: connections are cut, the socket file stays and refuses.
    pub(crate) fn die(&mut self) {
        if let Some(life) = self.life.take() {
            // It fails only if the thread is gone already.
            let _ = life.end.send(());
            life.thread.join().unwrap();
        }
    }

    /// Starts (again): removes the old socket and listens on a new one at the same path before it returns.
    pub(crate) fn come_back(&mut self) {
        self.die();
        let listener = bind(&self.socket());
        let script = Arc::clone(&self.script);
        let (end, ended) = oneshot::channel();
        let thread = thread::spawn(move || serve(listener, &script, ended));
        self.life = Some(Life { end, thread });
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }
}

impl Drop for FakeKubelet {
    fn drop(&mut self) {
        self.die();
    }
}

// === impl Answer ===

impl Answer {
    /// A good answer.
    pub(crate) fn message(message: &impl Message) -> Self {
        Self::Bytes(message.encode_to_vec().into())
    }

    async fn give(self) -> Response<Body> {
        let mut answer = self;
        loop {
            match answer {
                Self::Bytes(message) => return ok(&message),
                Self::Refuse(code, text) => return Status::new(code, text).into_http(),
                Self::Hang => std::future::pending().await,
                Self::Late(delay, then) => {
                    tokio::time::sleep(delay).await;
                    answer = *then;
                }
            }
        }
    }
}

// === impl Method ===

impl Method {
    fn at(path: &str) -> Option<Self> {
        match path {
            "/v1.PodResourcesLister/List" => Some(Self::List),
            "/v1.PodResourcesLister/GetAllocatableResources" => Some(Self::GetAllocatableResources),
            _ => None,
        }
    }
}

// === impl Script ===

impl Script {
    fn answer(&mut self, method: Method) -> Answer {
        self.calls.entry(method).or_default().push(clock::uptime());
        let next = self.next.get_mut(&method).and_then(VecDeque::pop_front);
        next.unwrap_or_else(|| self.lasting[&method].clone())
    }
}

fn bind(socket: &Path) -> UnixListener {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
        _ => {}
    }
    let listener = UnixListener::bind(socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// Serves until the end. Then the runtime goes, and with it every connection and every call that hangs.
fn serve(listener: UnixListener, script: &Arc<Mutex<Script>>, ended: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::select! {
            () = accept(listener, script) => {}
            _ = ended => {}
        }
    });
}

async fn accept(listener: UnixListener, script: &Arc<Mutex<Script>>) {
    let listener = tokio::net::UnixListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let script = Arc::clone(script);
        let hangs = Arc::new(AtomicBool::new(false));
        let service = hyper::service::service_fn(move |request| {
            answer(Arc::clone(&script), Arc::clone(&hangs), request)
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

async fn answer(
    script: Arc<Mutex<Script>>,
    hangs: Arc<AtomicBool>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let answer = match Method::at(request.uri().path()) {
        Some(method) => script.lock().unwrap().answer(method),
        None => Answer::Refuse(Code::Unimplemented, "unknown method"),
    };
    hangs.fetch_or(matches!(answer, Answer::Hang), Ordering::Relaxed);
    if hangs.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    Ok(answer.give().await)
}

/// A message and the trailers of success.
fn ok(message: &Bytes) -> Response<Body> {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    let trailers = HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from(frame)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}
