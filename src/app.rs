//! Builds every part, binds, starts, supervises, stops. The only module that knows all others.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::apiserver::{self, Access, LabelSources};
use crate::args::{
    Args, DemoWhen, Holders, KubernetesApi, ListenAddress, MOUNTED_PRICES, PriceArgs, PriceCommand, Switch,
};
use crate::clock;
use crate::commands;
use crate::cost::attribution::{MigShare, Rules, SharingPolicy};
use crate::cost::meter::{Meter, Policy};
use crate::cost::pricing::{Date, PriceSheet};
use crate::demo::Demo;
use crate::http;
use crate::kubelet::{self, ResourceName, ResourceNames};
use crate::nvml;
use crate::observation::{Node, Span};
use crate::pricing_file;
use crate::sampler::{Feed, Holding, NodeFeed, Sampler};
use crate::status::{Mode, PricingStatus, Published, Source, SourceStatus, Status};
use crate::trace::{Recorder, Replay};

/// How often the kubelet is asked in the calm.
const KUBELET_INTERVAL: Duration = Duration::from_secs(5);

/// How long the kubelet may take: well below the age at which its last answer is not believed any more.
const KUBELET_DEADLINE: Duration = Duration::from_secs(10);

/// How long a call into the driver may take before its GPU counts as hung. A GPU without persistence mode takes seconds
/// to wake up.
const DRIVER_STALL: Duration = Duration::from_secs(10);

/// The longest interval that the driver's sample buffers cover: they keep about 16 s.
const LONGEST_INTERVAL: Span = Span::from_secs(15);

/// How long a finished pod's series stay, so that every scraper sees its last value.
const RETENTION: Span = Span::from_secs(15 * 60);

/// How long the first sample waits for the API server.
const DESCRIPTION: Duration = Duration::from_secs(2);

/// Where a pod finds the credentials for the API server, by which we know that we are one.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Serves until it is told to stop.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let Args {
        command: _,
        listen_address,
        telemetry_path,
        pricing_file,
        pricing_model,
        pricing_catalogue,
        node_name,
        holders,
        kubelet_socket,
        kubelet_max_age,
        kubelet_resources,
        kubernetes_api,
        kubeconfig,
        label_sources,
        nvml_library,
        sample_interval,
        idle_threshold,
        idle_window,
        max_gap,
        demo,
        record,
        replay,
        log_level: _,
        log_format: _,
    } = args;

    let listener = bind(listen_address).await.with_context(|| format!("listen on {listen_address}"))?;
    let node: Arc<str> = node_name.map_or_else(host_name, Arc::from);
    let mode = mode(demo, replay.is_some(), nvml_library.as_deref());
    let (prices, mig_share, sharing_policy, pricing) = prices(pricing_file, pricing_catalogue);
    let policy = Policy {
        price_model: pricing_model,
        idle_threshold,
        idle_window: span(idle_window),
        longest_interval: LONGEST_INTERVAL,
        max_gap: span(max_gap),
        retention: RETENTION,
        rules: Rules { mig_share, sharing_policy, max_age: span(kubelet_max_age) },
    };
    let sources = vec![pricing_source(&pricing)];
    let status = Status { mode, node: Arc::clone(&node), sources, pricing, ..Status::default() };
    let (sampler, published) = Sampler::new(Meter::new(policy, prices), status);

    let mut parts = JoinSet::new();
    let recorder = record.as_deref().map(Recorder::create).transpose().context("record a trace")?;
    if let Some(file) = replay {
        sampler.replay(Replay::open(&file).context("replay a trace")?).context("replay a trace")?;
    } else {
        let mut first_description = None;
        let feed = if mode == Mode::Demo {
            Feed::Demo { demo: Demo::new(node), boot: clock::boot() }
        } else {
            let pods_changed = Arc::new(Notify::new());
            let described = access(kubernetes_api, kubeconfig).map(|access| {
                let labels = LabelSources::usual_but(label_sources);
                let settings = apiserver::Settings { access, node: Arc::clone(&node), labels };
                follow(settings, &pods_changed, &mut parts)
            });
            let holding = if are_pods(holders, &kubelet_socket) {
                let settings = kubelet_settings(kubelet_socket, kubelet_resources);
                let (publish, latest) = watch::channel(kubelet::Latest::default());
                let asking = kubelet::run(settings, pods_changed, publish);
                parts.spawn(async {
                    asking.await;
                    "the kubelet's poller"
                });
                Holding::Kubelet(latest)
            } else {
                info!("no kubelet here: the node itself is the holder of its GPUs");
                Holding::Node
            };
            let settings = nvml::Settings { library: nvml_library, stall_after: DRIVER_STALL };
            first_description.clone_from(&described);
            let feed = NodeFeed::new(node, nvml::Driver::start(settings), holding);
            Feed::Node(Box::new(feed.described_by(described)))
        };
        let sampling = sampler.run(feed, recorder, sample_interval);
        parts.spawn(async {
            await_description(first_description).await;
            sampling.await;
            "the sampler"
        });
    }
    announce(&listener, mode, &telemetry_path);
    serve(listener, telemetry_path, published, parts).await
}

/// Answers a question about prices.
pub async fn price(args: Args, question: PriceArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let mounted = || Some(PathBuf::from(MOUNTED_PRICES)).filter(|path| path.exists());
    let file = args.pricing_file.clone().or_else(mounted);
    let read = file.map(|path| pricing_file::read(&path, None).map_err(|problems| (path, problems)));
    let read = read.transpose().map_err(|(path, problems)| {
        let name = path.display().to_string();
        let lines: Vec<String> = problems.iter().map(|problem| problem.in_file(&name)).collect();
        anyhow!("{}", lines.join("\n"))
    })?;
    let catalogue = (args.pricing_catalogue == Switch::On).then(pricing_file::catalogue);
    let sheet = pricing_file::sheet(read, catalogue);
    if let Some(PriceCommand::List(list)) = &question.list {
        return Ok(commands::list(list, &sheet.catalogue.unwrap_or_default(), out)?);
    }
    let question = PriceArgs { price_model: question.price_model.or(args.pricing_model), ..question };
    if !question.is_about_this_node() {
        return Ok(commands::price(&question, &sheet, clock::wall(), out)?);
    }
    let (node, gpus) = this_node(args).await;
    Ok(commands::price_of_node(&question, &sheet, (&node, clock::wall()), &gpus, out)?)
}

/// This node as the API server describes it, and the UUIDs and names of its GPUs as the driver shows them.
async fn this_node(args: Args) -> (Arc<Node>, Vec<(Arc<str>, Arc<str>)>) {
    let node: Arc<str> = args.node_name.map_or_else(host_name, Arc::from);
    let mut parts = JoinSet::new();
    let described = access(args.kubernetes_api, args.kubeconfig).map(|access| {
        let labels = LabelSources::usual_but(args.label_sources);
        follow(apiserver::Settings { access, node: Arc::clone(&node), labels }, &Arc::default(), &mut parts)
    });
    await_description(described.clone()).await;
    let settings = nvml::Settings { library: args.nvml_library, stall_after: DRIVER_STALL };
    let reading = nvml::Driver::start(settings).read(clock::wall(), DRIVER_STALL).await;
    for error in &reading.errors {
        warn!("{}", crate::errors::chain(error));
    }
    let gpus = reading.gpus.unwrap_or_default().into_iter().map(|gpu| (gpu.uuid, gpu.product));
    let nameless = || Arc::new(Node { name: node, labels: Vec::new() });
    (described.map_or_else(nameless, |latest| Arc::clone(&latest.borrow().node)), gpus.collect())
}

/// Answers requests until somebody asks the program to stop, or a part ends that should not.
async fn serve(
    listener: TcpListener,
    telemetry_path: String,
    published: watch::Receiver<Published>,
    parts: JoinSet<&'static str>,
) -> anyhow::Result<()> {
    let settings = http::Settings { telemetry_path: telemetry_path.into(), limits: http::Limits::USUAL };
    let (stop, stopping) = oneshot::channel::<()>();
    let stopping = async { drop(stopping.await) };
    let mut web = tokio::spawn(http::serve(listener, settings, published, stopping));
    tokio::select! {
        signal = stop_signal() => info!("stopping on {}", signal?),
        part = first_end(parts) => bail!("{part} ended"),
        ended = &mut web => {
            ended.context("serve")?;
            bail!("the server ended")
        }
    }
    // The server waits for the answers that it is giving, and knows for how long.
    drop(stop);
    web.await.context("finish what is being answered")
}

/// Waits until somebody asks the program to stop.
async fn stop_signal() -> anyhow::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}

/// Waits until a part ends. It should not: that is a defect, and ends the program so that it is started anew.
async fn first_end(mut parts: JoinSet<&'static str>) -> String {
    match parts.join_next().await {
        Some(Ok(part)) => part.to_owned(),
        Some(Err(error)) => error.to_string(),
        // A replayed trace needs no part that goes on.
        None => std::future::pending().await,
    }
}

/// Where the observations come from. Never a simulated node unless it was asked for.
fn mode(demo: DemoWhen, replays: bool, library: Option<&Path>) -> Mode {
    match demo {
        _ if replays => Mode::Replay,
        DemoWhen::Always => Mode::Demo,
        // Whoever names a library means a real node.
        DemoWhen::Auto if library.is_none() && nvml::find_library(None).is_none() => Mode::Demo,
        DemoWhen::Auto | DemoWhen::Never => Mode::Node,
    }
}

fn announce(listener: &TcpListener, mode: Mode, telemetry_path: &str) {
    match mode {
        Mode::Demo => warn!("SIMULATED NODE: every number is made up"),
        Mode::Replay => warn!("REPLAY: the numbers are those of a recorded trace"),
        Mode::Node => {}
    }
    let port = listener.local_addr().map_or(0, |address| address.port());
    info!(version = env!("CARGO_PKG_VERSION"), "serving http://localhost:{port}/ and {telemetry_path}");
}

fn are_pods(holders: Holders, socket: &Path) -> bool {
    match holders {
        Holders::Kubelet => true,
        Holders::Node => false,
        Holders::Auto => socket.parent().is_some_and(Path::is_dir) || Path::new(SERVICE_ACCOUNT).is_dir(),
    }
}

/// How the API server is reached, if it is to be asked.
fn access(api: KubernetesApi, kubeconfig: Option<PathBuf>) -> Option<Access> {
    let service_account = || Path::new(SERVICE_ACCOUNT).is_dir().then_some(Access::ServiceAccount);
    match api {
        KubernetesApi::Off => None,
        KubernetesApi::Auto => kubeconfig.map(Access::Kubeconfig).or_else(service_account),
    }
}

/// Starts to follow the API server.
fn follow(
    settings: apiserver::Settings,
    pods_changed: &Arc<Notify>,
    parts: &mut JoinSet<&'static str>,
) -> watch::Receiver<apiserver::Latest> {
    let (publish, latest) = watch::channel(apiserver::Latest::unasked(Arc::clone(&settings.node)));
    let following = apiserver::run(settings, Arc::clone(pods_changed), publish);
    parts.spawn(async {
        following.await;
        "the API server's follower"
    });
    latest
}

/// Gives the API server a moment to describe the pods, so that they do not begin with a line that has no labels.
async fn await_description(described: Option<watch::Receiver<apiserver::Latest>>) {
    if let Some(mut latest) = described {
        // Whatever comes of it, the sampler goes on: without labels rather than without money.
        let _ = timeout(DESCRIPTION, latest.wait_for(|latest| latest.last_success.is_some())).await;
    }
}

fn kubelet_settings(socket: PathBuf, more: Vec<ResourceName>) -> kubelet::Settings {
    kubelet::Settings {
        socket,
        interval: KUBELET_INTERVAL,
        deadline: KUBELET_DEADLINE,
        resources: ResourceNames::default().and(more),
    }
}

/// The prices in force: the operator's over the built-in ones, or those alone if the operator's cannot be read.
fn prices(
    file: Option<PathBuf>,
    catalogue: Switch,
) -> (Arc<PriceSheet>, MigShare, SharingPolicy, PricingStatus) {
    let catalogue = (catalogue == Switch::On).then(pricing_file::catalogue);
    let mounted = || Some(PathBuf::from(MOUNTED_PRICES)).filter(|path| path.exists());
    let Some(path) = file.or_else(mounted) else {
        let status = PricingStatus { file: None, last_reload_successful: true, problems: Vec::new() };
        let sheet = Arc::new(pricing_file::sheet(None, catalogue));
        return (sheet, MigShare::default(), SharingPolicy::default(), status);
    };
    let name: Arc<str> = path.display().to_string().into();
    let (read, problems) = match pricing_file::read(&path, Some(Date::of(clock::wall()))) {
        Ok(read) => {
            for warning in &read.warnings {
                warn!("{}", warning.as_warning_in_file(&name));
            }
            info!(file = %name, "prices are read");
            (Some(read), Vec::new())
        }
        Err(problems) => {
            let problems: Vec<Arc<str>> =
                problems.iter().map(|problem| problem.in_file(&name).into()).collect();
            for problem in &problems {
                warn!("{problem}");
            }
            warn!(file = %name, "the built-in prices are in force: correct the file and restart");
            (None, problems)
        }
    };
    let status = PricingStatus { file: Some(name), last_reload_successful: read.is_some(), problems };
    let mig_share = read.as_ref().and_then(|read| read.mig_share).unwrap_or_default();
    let sharing_policy = read.as_ref().and_then(|read| read.sharing_policy).unwrap_or_default();
    (Arc::new(pricing_file::sheet(read, catalogue)), mig_share, sharing_policy, status)
}

/// The price file as a source, just read. What is wrong with it is told in the price sheet's own status.
fn pricing_source(pricing: &PricingStatus) -> SourceStatus {
    let up = pricing.last_reload_successful;
    SourceStatus {
        source: Source::Pricing,
        up,
        last_success: up.then(clock::wall),
        errors: u64::try_from(pricing.problems.len()).unwrap_or(u64::MAX),
        duration: None,
        message: None,
    }
}

/// Binds the port before anything starts. Without a host it takes both families, or IPv4 where there is no IPv6.
async fn bind(address: ListenAddress) -> std::io::Result<TcpListener> {
    let ListenAddress { socket, any } = address;
    match TcpListener::bind(socket).await {
        Err(error) if any && error.kind() != std::io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, socket.port()))).await
        }
        bound => bound,
    }
}

fn host_name() -> Arc<str> {
    rustix::system::uname().nodename().to_string_lossy().into()
}

fn span(duration: Duration) -> Span {
    Span::from_nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}
