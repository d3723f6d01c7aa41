//! Builds every part, binds, starts, supervises, stops. The only module that knows all others.

mod labels;
mod prices;
mod serving;

use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::apiserver::{self, Access, Payers, Reading, WholeGpus};
use crate::args::{Args, DemoWhen, Holders, KubernetesApi, MigShareArg, SharingPolicyArg};
use crate::clock;
use crate::cost::attribution::Rules;
use crate::cost::meter::{Meter, Policy};
use crate::demo::Demo;
use crate::errors;
use crate::kubelet::{self, ResourceName, ResourceNames};
use crate::nvml;
use crate::observation::Span;
use crate::procfs::Procfs;
use crate::sampler::{Feed, Holding, NodeFeed, Sampler};
use crate::status::{Mode, Status};
use crate::trace::{Recorder, Replay};

use self::prices::Prices;
use self::serving::{announce, bind, serve};

pub use self::prices::price;

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

/// Where the host's `/proc` is looked for: where our manifests mount it, and where it is for whoever is in no container
/// or in the host's PID namespace.
const PROCFS: [&str; 2] = ["/host/proc", "/proc"];

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
        labels_file,
        nvml_library,
        procfs,
        sample_interval,
        idle_threshold,
        idle_window,
        max_gap,
        mig_share,
        sharing_policy,
        demo,
        record,
        replay,
        log_level: _,
        log_format: _,
    } = args;

    let listener = bind(listen_address).await.with_context(|| format!("listen on {listen_address}"))?;
    let node: Arc<str> = node_name.map_or_else(host_name, Arc::from);
    let mode = mode(demo, replay.is_some(), nvml_library.as_deref());
    let prices = Prices::read(pricing_file, pricing_catalogue);
    let policy = Policy {
        price_model: pricing_model,
        idle_threshold,
        idle_window: span(idle_window),
        longest_interval: LONGEST_INTERVAL,
        max_gap: span(max_gap),
        retention: RETENTION,
        rules: rules(mig_share, sharing_policy, &prices, kubelet_max_age),
    };
    let (labels, labels_source) = labels::read(labels_file);
    let sources = iter::once(prices.source()).chain(labels_source).collect();
    let status =
        Status { mode, node: Arc::clone(&node), sources, pricing: prices.status, ..Status::default() };
    let (sampler, published) = Sampler::new(Meter::new(policy, prices.sheet), status);

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
                let payers = Payers::new(label_sources, labels);
                let reading = Reading { payers, gpus: whole_gpus(&kubelet_resources) };
                let settings = apiserver::Settings { access, node: Arc::clone(&node), reading };
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
            // Without pods nobody shares a GPU, and every process is the node's own.
            let procfs = if matches!(holding, Holding::Node) { None } else { host_processes(procfs) };
            let settings = nvml::Settings {
                library: nvml_library,
                stall_after: DRIVER_STALL,
                processes: procfs.is_some(),
            };
            first_description.clone_from(&described);
            let feed = NodeFeed::new(node, nvml::Driver::start(settings), holding);
            Feed::Node(Box::new(feed.described_by(described).with_processes(procfs)))
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

/// How GPUs are divided: as was typed, or else as the price file says.
fn rules(
    mig_share: Option<MigShareArg>,
    sharing_policy: Option<SharingPolicyArg>,
    prices: &Prices,
    kubelet_max_age: Duration,
) -> Rules {
    Rules {
        mig_share: mig_share.map(Into::into).or(prices.mig_share).unwrap_or_default(),
        sharing_policy: sharing_policy.map(Into::into).or(prices.sharing_policy).unwrap_or_default(),
        max_age: span(kubelet_max_age),
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

fn are_pods(holders: Holders, socket: &Path) -> bool {
    match holders {
        Holders::Kubelet => true,
        Holders::Node => false,
        Holders::Auto => socket.parent().is_some_and(Path::is_dir) || Path::new(SERVICE_ACCOUNT).is_dir(),
    }
}

/// The host's processes, if they can be seen: where they were said to be, or where they may be.
fn host_processes(given: Option<PathBuf>) -> Option<Procfs> {
    let places = given.map_or_else(|| PROCFS.map(PathBuf::from).to_vec(), |given| vec![given]);
    let mut failures = Vec::new();
    for place in places {
        match Procfs::open(&place) {
            Ok(procfs) => {
                info!(procfs = %place.display(), "who worked on a shared GPU is told by its processes");
                return Some(procfs);
            }
            Err(error) => failures.push(errors::chain(&error)),
        }
    }
    warn!("work on a shared GPU is divided in equal parts: failed to {}", failures.join("; "));
    None
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

/// The resources that stand for whole GPUs, as far as the operator has named them in full.
fn whole_gpus(resources: &[ResourceName]) -> WholeGpus {
    let exact = resources.iter().filter_map(|resource| match resource {
        ResourceName::Exactly(name) => Some(name.clone()),
        ResourceName::BeginsWith(_) => None,
    });
    WholeGpus::and(exact)
}

fn kubelet_settings(socket: PathBuf, more: Vec<ResourceName>) -> kubelet::Settings {
    kubelet::Settings {
        socket,
        interval: KUBELET_INTERVAL,
        deadline: KUBELET_DEADLINE,
        resources: ResourceNames::default().and(more),
    }
}

fn host_name() -> Arc<str> {
    rustix::system::uname().nodename().to_string_lossy().into()
}

fn span(duration: Duration) -> Span {
    Span::from_nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}
