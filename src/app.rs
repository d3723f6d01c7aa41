//! Builds every part, binds, starts, supervises, stops. The only module that knows all others.

mod driver_wanted;
mod files;
mod kept;
mod labels;
mod price_file;
mod prices;
mod serving;
mod web;

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::apiserver::{self, Access, Reading, WholeGpus};
use crate::args::{Args, DemoWhen, Holders, KubernetesApi};
use crate::clock;
use crate::cost::attribution::Rules;
use crate::cost::meter::{Meter, Policy, Terms};
use crate::demo::Demo;
use crate::errors;
use crate::kubelet::{self, ResourceName, ResourceNames};
use crate::nvml;
use crate::observation::Span;
use crate::procfs::Procfs;
use crate::sampler::{End, Feed, Files, Holding, NodeFeed, Sampler};
use crate::status::{Mode, Published, Status};
use crate::trace::{Recorder, Replay};

use self::files::HangUps;
use self::labels::LabelsFile;
use self::price_file::PriceFile;
use self::serving::{Serving, announce, bind, first_end, serve, settings};

pub use self::prices::price;
pub use self::web::WrongInput;

/// How often the kubelet is asked in the calm.
const KUBELET_INTERVAL: Duration = Duration::from_secs(5);

/// How long the kubelet may take: well below the age at which its last answer is not believed any more.
const KUBELET_DEADLINE: Duration = Duration::from_secs(10);

/// How long a call into the driver may take before its GPU counts as hung. A GPU without persistence mode takes seconds
/// to wake up.
const DRIVER_STALL: Duration = Duration::from_secs(10);

/// Where the host's `/proc` is looked for: where our manifests mount it, and where it is for whoever is in no container
/// or in the host's PID namespace.
const PROCFS: [&str; 2] = ["/host/proc", "/proc"];

/// How long the first sample waits for the API server.
const DESCRIPTION: Duration = Duration::from_secs(2);

/// Where a pod finds the credentials for the API server, by which we know that we are one.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What Kubernetes tells every container, by which we know that somebody starts another one.
const IN_KUBERNETES: &str = "KUBERNETES_SERVICE_HOST";

/// The program ended because only a new container can reach the driver again.
#[derive(Debug, thiserror::Error)]
#[error(
    "the driver was replaced, or its devices were taken from this container: ending, to be started in a new one"
)]
pub struct ShutOut;

/// What runs beside the server; each says its name when it ends, which it should not.
type Parts = JoinSet<&'static str>;

/// What the API server says of the pods and of the node.
type Described = watch::Receiver<apiserver::Latest>;

/// Serves until it is told to stop.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let told = HangUps::listen().context("listen for SIGHUP")?;
    let mut parts = JoinSet::new();
    let web = web::read(args.web.config_file.clone(), &mut parts)?;
    let listeners = bind(&args.web.listen_addresses).await?;
    let mode = mode(&args);
    let (price_file, priced) = PriceFile::open(&args, mode);
    let labels_file = LabelsFile::open(&args);
    let files = Files { prices: priced, labels: labels_file.source(), web: web.followed };
    let status = Status {
        mode,
        started: Some(clock::wall()),
        node: node_name(&args),
        sources: files.sources(),
        pricing: files.prices.borrow().status.clone(),
        ..Status::default()
    };
    let (publish, published) = watch::channel(Published { report: None, status: Arc::new(status.clone()) });
    let (stop, stopping) = watch::channel(false);
    let settings = settings(&args, web.config);
    let serving = Serving { settings, grace: args.shutdown_grace, publish: publish.clone(), stop };
    announce(&listeners, mode, &serving.settings);
    let mut begun = Begun { files, status, publish, parts, stopping };
    if let Some(file) = args.replay.clone() {
        let replayed = replay(&args, &file, begun, told)?;
        return serve(listeners, serving, published, replayed).await;
    }
    let reading = labels_file.reading();
    follow_files(price_file, labels_file, told, &mut begun.parts);
    let recorder = args.record.as_deref().map(Recorder::create).transpose().context("record a trace")?;
    serve(listeners, serving, published, Box::pin(observe(args, begun, reading, recorder))).await
}

/// What is there before anything is observed.
struct Begun {
    files: Files,
    status: Status,
    publish: watch::Sender<Published>,
    parts: Parts,
    stopping: watch::Receiver<bool>,
}

/// Meters a whole trace; what is left to do then is to wait for the end.
fn replay(
    args: &Args,
    file: &Path,
    begun: Begun,
    told: HangUps,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + use<>> {
    let Begun { files, status, publish, mut parts, mut stopping } = begun;
    let Terms { prices, rules } = terms(&files);
    let telling = web::tell_of_changes(files.clone(), publish.clone());
    let sampler = Sampler::new(Meter::new(policy(args, rules), prices), files, status, publish);
    sampler.replay(Replay::open(file).context("replay a trace")?).context("replay a trace")?;
    parts.spawn(files::decline(told));
    Ok(async move {
        tokio::select! {
            // Whoever can no longer tell us to stop has stopped.
            _ = stopping.wait_for(|stop| *stop) => Ok(()),
            part = first_end(parts) => bail!("{part} ended"),
            () = telling => bail!("the follower of the web configuration ended"),
        }
    })
}

/// Observes until it is told to stop: first takes the ledger that was kept, then goes on with it.
async fn observe(
    args: Args,
    begun: Begun,
    reading: watch::Receiver<Reading>,
    recorder: Option<Recorder>,
) -> anyhow::Result<()> {
    let Begun { files, mut status, publish, mut parts, mut stopping } = begun;
    let Some((state, kept)) = kept::take(&args, &mut status, &publish, &mut stopping).await else {
        return Ok(());
    };
    let last = kept.as_ref().map(|kept| kept.interval.seen.clone());
    let Terms { prices, rules } = terms(&files);
    let policy = policy(&args, rules);
    let meter = match kept {
        Some(kept) => Meter::resume(policy, prices, *kept),
        None => Meter::new(policy, prices),
    };
    let node = Arc::clone(&status.node);
    let mode = status.mode;
    let in_container = env::var_os(IN_KUBERNETES).is_some();
    let sampler = Sampler::new(meter, files, status, publish).kept_in(state).in_container(in_container);
    let feed = if mode == Mode::Demo {
        Feed::Demo { demo: Demo::new(node), boot: clock::boot() }
    } else {
        let (feed, answers) = node_feed(&args, node, reading, &mut parts);
        answers.await_first(last.is_some()).await;
        let wanted = driver_wanted::listen(&mut parts)?;
        Feed::Node(Box::new(feed.last_seen(last).released_until(wanted)))
    };
    tokio::select! {
        end = sampler.run(feed, recorder, args.sample_interval, stopping) => match end {
            End::Asked => Ok(()),
            End::ShutOut => Err(ShutOut.into()),
        },
        part = first_end(parts) => bail!("{part} ended"),
    }
}

fn node_name(args: &Args) -> Arc<str> {
    args.node_name.as_deref().map_or_else(host_name, Arc::from)
}

/// Where the observations come from. Never a simulated node unless it was asked for.
fn mode(args: &Args) -> Mode {
    match args.demo {
        _ if args.replay.is_some() => Mode::Replay,
        DemoWhen::Always => Mode::Demo,
        // Whoever names a library means a real node.
        DemoWhen::Auto if args.nvml_library.is_none() && nvml::find_library(None).is_none() => Mode::Demo,
        DemoWhen::Auto | DemoWhen::Never => Mode::Node,
    }
}

/// How the meter charges.
fn policy(args: &Args, rules: Rules) -> Policy {
    Policy {
        price_model: args.pricing_model,
        idle_threshold: args.idle_threshold,
        idle_window: span(args.idle_window),
        max_gap: span(args.max_gap),
        rules,
        ..Policy::default()
    }
}

/// What the price file says now.
fn terms(files: &Files) -> Terms {
    files.prices.borrow().terms.clone()
}

/// Starts to look for news in the files that people write.
fn follow_files(mut prices: PriceFile, mut labels: LabelsFile, told: HangUps, parts: &mut Parts) {
    let HangUps { prices: told_prices, labels: told_labels } = told;
    parts.spawn(async {
        files::follow(move |is_told| prices.look(is_told), Some(told_prices)).await;
        "the watch of the price file"
    });
    parts.spawn(async {
        files::follow(move |is_told| labels.look(is_told), Some(told_labels)).await;
        "the watch of the file of labels"
    });
}

// === the node ===

/// The answers for which the first sample waits.
struct Answers {
    described: Option<Described>,
    allocated: Option<watch::Receiver<kubelet::Latest>>,
}

/// The real node, and what it waits for.
fn node_feed(
    args: &Args,
    node: Arc<str>,
    reading: watch::Receiver<Reading>,
    parts: &mut Parts,
) -> (NodeFeed, Answers) {
    let pods_changed = Arc::new(Notify::new());
    let described = description(args, &node, reading, &pods_changed, parts);
    let holding = holding(args, pods_changed, parts);
    // Without pods nobody shares a GPU, and every process is the node's own.
    let procfs = if matches!(holding, Holding::Node) { None } else { host_processes(args.procfs.clone()) };
    let settings = nvml::Settings {
        library: args.nvml_library.clone(),
        stall_after: DRIVER_STALL,
        processes: procfs.is_some(),
    };
    let allocated = if let Holding::Kubelet(latest) = &holding { Some(latest.clone()) } else { None };
    let feed = NodeFeed::new(node, nvml::Driver::start(settings), holding);
    let answers = Answers { described: described.clone(), allocated };
    (feed.described_by(described).with_processes(procfs), answers)
}

/// Starts to follow the API server, if it is to be asked.
fn description(
    args: &Args,
    node: &Arc<str>,
    reading: watch::Receiver<Reading>,
    pods_changed: &Arc<Notify>,
    parts: &mut Parts,
) -> Option<Described> {
    let settings = apiserver::Settings { access: access(args)?, node: Arc::clone(node), reading };
    let (publish, latest) = watch::channel(apiserver::Latest::unasked(Arc::clone(node)));
    let following = apiserver::run(settings, Arc::clone(pods_changed), publish);
    parts.spawn(async {
        following.await;
        "the API server's follower"
    });
    Some(latest)
}

/// How the API server is reached, if it is to be asked.
fn access(args: &Args) -> Option<Access> {
    let service_account = || Path::new(SERVICE_ACCOUNT).is_dir().then_some(Access::ServiceAccount);
    match args.kubernetes_api {
        KubernetesApi::Off => None,
        KubernetesApi::Auto => args.kubeconfig.clone().map(Access::Kubeconfig).or_else(service_account),
    }
}

/// Gives the API server a moment to describe the pods, so that they do not begin with a line that has no labels.
async fn await_description(described: Option<Described>) {
    if let Some(mut latest) = described {
        // Whatever comes of it, the sampler goes on: without labels rather than without money.
        let _ = timeout(DESCRIPTION, latest.wait_for(|latest| latest.last_success.is_some())).await;
    }
}

// === impl Answers ===

impl Answers {
    /// Waits a moment for the API server and, if a ledger goes on, for the kubelet: who held something before and does so
    /// no longer is not to be charged for the time in between.
    async fn await_first(self, goes_on: bool) {
        let Self { described, allocated } = self;
        let allocated = async {
            if let Some(mut latest) = allocated.filter(|_| goes_on) {
                let answered = |latest: &kubelet::Latest| latest.up || latest.errors > 0;
                // Whatever comes of it, the sampler goes on: with the last answer rather than without money.
                let _ = timeout(DESCRIPTION, latest.wait_for(answered)).await;
            }
        };
        tokio::join!(await_description(described), allocated);
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

/// Who holds the GPUs: starts to ask the kubelet where there are pods.
fn holding(args: &Args, pods_changed: Arc<Notify>, parts: &mut Parts) -> Holding {
    if !are_pods(args.holders, &args.kubelet_socket) {
        info!("no kubelet here: the node itself is the holder of its GPUs");
        return Holding::Node;
    }
    let (publish, latest) = watch::channel(kubelet::Latest::default());
    let asking = kubelet::run(kubelet_settings(args), pods_changed, publish);
    parts.spawn(async {
        asking.await;
        "the kubelet's poller"
    });
    Holding::Kubelet(latest)
}

fn are_pods(holders: Holders, socket: &Path) -> bool {
    match holders {
        Holders::Kubelet => true,
        Holders::Node => false,
        Holders::Auto => socket.parent().is_some_and(Path::is_dir) || Path::new(SERVICE_ACCOUNT).is_dir(),
    }
}

fn kubelet_settings(args: &Args) -> kubelet::Settings {
    kubelet::Settings {
        socket: args.kubelet_socket.clone(),
        interval: KUBELET_INTERVAL,
        deadline: KUBELET_DEADLINE,
        resources: ResourceNames::default().and(args.kubelet_resources.clone()),
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

fn host_name() -> Arc<str> {
    rustix::system::uname().nodename().to_string_lossy().into()
}

fn span(duration: Duration) -> Span {
    Span::from_nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn who_types_nothing_gets_what_holds_otherwise() {
        let args = Args::parse_from(["gpu-cost-exporter"]);
        assert_eq!(policy(&args, Rules::default()), Policy::default());
        assert_eq!(span(args.kubelet_max_age), Rules::default().max_age);
    }
}
