//! Builds every part, binds, starts, supervises, stops. The only module that knows all others.

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

use crate::apiserver::{self, Access, LabelPolicy, Payers, Reading, WholeGpus};
use crate::args::{Args, DemoWhen, Holders, KubernetesApi, MOUNTED_LABELS, MOUNTED_PRICES};
use crate::clock;
use crate::cost::attribution::Rules;
use crate::cost::meter::{Meter, Policy};
use crate::cost::pricing::PriceSheet;
use crate::demo::Demo;
use crate::errors;
use crate::kubelet::{self, ResourceName, ResourceNames};
use crate::labels_file;
use crate::nvml;
use crate::observation::Span;
use crate::pricing_file;
use crate::procfs::Procfs;
use crate::sampler::{Feed, Holding, NodeFeed, Sampler};
use crate::status::{Mode, PricingStatus, Source, SourceStatus, Status};
use crate::trace::{Recorder, Replay};

use self::serving::{announce, bind, serve};

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
    let (prices, pricing) = prices(pricing_file);
    let policy = Policy {
        price_model: pricing_model.into(),
        idle_threshold,
        idle_window: span(idle_window),
        longest_interval: LONGEST_INTERVAL,
        max_gap: span(max_gap),
        retention: RETENTION,
        rules: Rules {
            mig_share: mig_share.into(),
            sharing_policy: sharing_policy.into(),
            max_age: span(kubelet_max_age),
        },
    };
    let (labels, labels_source) = labels(labels_file);
    let sources = iter::once(pricing_source(&pricing)).chain(labels_source).collect();
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

/// The prices in force: the operator's over the built-in ones, or those alone if the operator's cannot be read.
fn prices(file: Option<PathBuf>) -> (Arc<PriceSheet>, PricingStatus) {
    let mounted = || Some(PathBuf::from(MOUNTED_PRICES)).filter(|path| path.exists());
    let Some(path) = file.or_else(mounted) else {
        let status = PricingStatus { file: None, last_reload_successful: true, problems: Vec::new() };
        return (Arc::new(pricing_file::sheet(None)), status);
    };
    let name: Arc<str> = path.display().to_string().into();
    let (read, problems) = match pricing_file::read(&path) {
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
    (Arc::new(pricing_file::sheet(read)), status)
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

/// Who pays for pods that do not say so: what the operator has written, or nothing if it cannot be read.
fn labels(file: Option<PathBuf>) -> (LabelPolicy, Option<SourceStatus>) {
    let mounted = || Some(PathBuf::from(MOUNTED_LABELS)).filter(|path| path.exists());
    let Some(path) = file.or_else(mounted) else { return (LabelPolicy::default(), None) };
    let name = path.display().to_string();
    let (policy, problems) = match labels_file::read(&path) {
        Ok(policy) => {
            info!(file = %name, "the labels of pods that have none are read");
            (policy, Vec::new())
        }
        Err(problems) => (LabelPolicy::default(), problems),
    };
    let problems: Vec<String> = problems.iter().map(|problem| problem.in_file(&name)).collect();
    for problem in &problems {
        warn!("{problem}");
    }
    let up = problems.is_empty();
    if !up {
        warn!(file = %name, "pods pay by their own labels alone: correct the file and restart");
    }
    let source = SourceStatus {
        source: Source::Labels,
        up,
        last_success: up.then(clock::wall),
        errors: u64::try_from(problems.len()).unwrap_or(u64::MAX),
        duration: None,
        message: problems.first().map(|problem| told(problem, problems.len() - 1).into()),
    };
    (policy, Some(source))
}

/// A mistake, and how many more there are.
fn told(problem: &str, more: usize) -> String {
    if more == 0 { problem.to_owned() } else { format!("{problem} (and {more} more, see the log)") }
}

fn host_name() -> Arc<str> {
    rustix::system::uname().nodename().to_string_lossy().into()
}

fn span(duration: Duration) -> Span {
    Span::from_nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}
