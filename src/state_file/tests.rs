//! A directory in which everything goes wrong that can.

mod any_bytes;
mod form;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::directory::{Directory, Found};
use super::envelope;
use super::lock::{Error, Lock};
use super::wire::WireState;
use super::*;
use crate::cost::attribution::Rules;
use crate::cost::ledger::{ContainerAccount, PodAccount, PodId};
use crate::cost::meter::{Meter, Policy};
use crate::cost::money::Cost;
use crate::cost::pricing::PriceSheet;
use crate::cost::report::Totals;
use crate::demo::Demo;
use crate::observation::{Gpu, Observation, UnixTime};

const FILES: [&str; 3] = ["ledger.json", "ledger.journal.0", "ledger.journal.1"];

fn policy() -> Policy {
    Policy { rules: Rules { containers: true, ..Rules::default() }, ..Policy::default() }
}

fn prices() -> Arc<PriceSheet> {
    let electric = crate::pricing_file::parse(crate::demo::PRICING, None).ok();
    Arc::new(crate::pricing_file::sheet(electric, None))
}

/// The demo's node after so many seconds of a boot.
fn demo(second: u64) -> Observation {
    let wall = UnixTime::from_millis(1_700_000_000_000 + second * 1_000);
    Demo::new("node".into()).observe(Uptime::from_nanos(second * 1_000_000_000), wall, "boot".into())
}

/// One GPU that nobody holds: a state that fits into a few hundred bytes.
fn small(second: u64) -> Observation {
    let gpu = Gpu::known_by("GPU-1".into(), 0, "NVIDIA A100-SXM4-80GB".into());
    Observation { gpus: Some(vec![gpu]), ..demo(second) }.without_pods()
}

impl Observation {
    fn without_pods(self) -> Self {
        Self { pods: Arc::default(), allocations: None, dynamic: Arc::default(), ..self }
    }
}

/// The states after each of these observations.
fn states(seen: impl IntoIterator<Item = Observation>) -> Vec<Kept> {
    let mut meter = Meter::new(policy(), prices());
    let state = |seen| {
        meter.observe(&seen);
        meter.kept().unwrap()
    };
    seen.into_iter().map(state).collect()
}

fn identity() -> Identity {
    Identity { node: "node".into(), mode: "demo".into() }
}

fn directory(path: &Path) -> Directory {
    Directory::new(path.into(), identity())
}

/// What a program finds that is started now.
fn found(path: &Path) -> Found {
    directory(path).load()
}

/// The bill of the ledger that a program goes on with.
fn bill(found: &Found) -> Option<Cost> {
    found.kept.as_ref().map(|kept| kept.ledger.devices.values().map(|device| device.bill).sum())
}

fn json(kept: &Kept) -> String {
    serde_json::to_string(&WireState::of(kept, &identity())).unwrap()
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Two small states in the two slots, and the bills of both.
fn two_slots(path: &Path) -> [Option<Cost>; 2] {
    let states = states([small(1), small(2), small(3)]);
    let mut directory = directory(path);
    directory.write(&states[1]).unwrap();
    let older = bill(&found(path));
    directory.write(&states[2]).unwrap();
    let newer = bill(&found(path));
    assert!(older < newer && older.is_some());
    [older, newer]
}

#[test]
fn a_state_is_read_as_it_was_written() {
    let mut meter = Meter::new(policy(), prices());
    for second in (0..7_200).step_by(60) {
        meter.observe(&demo(second));
        let kept = meter.kept().unwrap();
        let text = json(&kept);
        let read: WireState = serde_json::from_str(&text).unwrap();
        let read = read.kept().unwrap();
        assert!(read.ledger.is_sound());
        assert_eq!(json(&read), text);
        let next = demo(second + 7);
        let go_on = |kept| Meter::resume(policy(), prices(), kept).observe(&next);
        assert_eq!(format!("{:?}", go_on(read)), format!("{:?}", go_on(kept)));
    }
}

#[test]
fn a_state_of_before_containers_were_told_apart_is_gone_on_with() {
    let kept = states((0..120).step_by(10).map(demo)).pop().unwrap();
    let told = |kept: &Kept| kept.ledger.pods.values().filter(|pod| !pod.containers.is_empty()).count();
    assert!(told(&kept) > 3 && json(&kept).contains(r#""containers":[{"name":"main""#));
    let mut older = kept.clone();
    older.ledger.pods.values_mut().for_each(|pod| Arc::make_mut(pod).containers.clear());
    let text = json(&older);
    assert!(!text.contains(r#""containers":[{"name""#), "{text}");
    let read = serde_json::from_str::<WireState>(&text).unwrap().kept().unwrap();
    assert!(read.ledger.is_sound());
    let totals = |kept: &Kept| kept.ledger.pods.values().map(|pod| pod.totals.clone()).collect::<Vec<_>>();
    assert_eq!((told(&read), totals(&read)), (0, totals(&kept)));
}

#[test]
fn the_newest_state_counts_over_restarts() {
    let place = tempfile::tempdir().unwrap();
    let states = states((0..40).map(demo));
    for (n, kept) in states.iter().enumerate() {
        let mut directory = directory(place.path());
        let before = directory.load();
        assert_eq!(before.remarks, [""; 0]);
        assert_eq!(before.kept.as_ref().map(json), n.checked_sub(1).map(|n| json(&states[n])));
        let bytes = directory.write(kept).unwrap();
        if n % 3 == 0 {
            super::directory::sync(place.path(), &bytes).unwrap();
        }
        if n % 7 == 0 {
            // The power is lost, and a slot with it that was not synced.
            super::directory::sync(place.path(), &bytes).unwrap();
            fs::write(place.path().join(FILES[1 + n % 2]), b"gpu-cost-exp").unwrap();
        }
    }
    assert_eq!(names(place.path()), ["ledger.journal.0", "ledger.journal.1", "ledger.json"]);
    for file in FILES {
        let mode = fs::metadata(place.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file} has the labels of pods in it");
    }
}

#[test]
fn a_flipped_bit_never_makes_another_ledger() {
    let place = tempfile::tempdir().unwrap();
    let bills = two_slots(place.path());
    let path = place.path().join(FILES[2]);
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, &bytes).unwrap();
        assert_eq!(bill(&found(place.path())), bills[0], "byte {at} of {}", whole.len());
    }
}

#[test]
fn a_state_that_was_cut_off_never_counts() {
    let place = tempfile::tempdir().unwrap();
    let bills = two_slots(place.path());
    let path = place.path().join(FILES[2]);
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(bill(&found(place.path())), bills[0], "{length} bytes of {}", whole.len());
    }
    let longer = [&whole[..], b"what is left of a longer state"].concat();
    fs::write(&path, longer).unwrap();
    assert_eq!(bill(&found(place.path())), bills[1]);
}

/// A directory whose only state is `bytes` is not gone on with, and `said` is said of it.
#[track_caller]
fn refuses(bytes: &[u8], said: &str) {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join(FILES[0]), bytes).unwrap();
    let found = found(place.path());
    assert!(found.kept.is_none());
    let told = found.remarks.join("\n");
    assert!(told.contains(said) && told.contains("a new ledger begins"), "{told}");
    assert_eq!(names(place.path()), ["ledger.json.set-aside-1"]);
    assert_eq!(fs::read(place.path().join("ledger.json.set-aside-1")).unwrap(), bytes);
}

fn sealed(state: &str) -> Vec<u8> {
    let write = |bytes: &mut Vec<u8>| {
        bytes.extend(state.as_bytes());
        Ok(())
    };
    envelope::seal(7, 0, write).unwrap()
}

#[test]
fn what_cannot_be_believed_is_set_aside() {
    let [kept] = &states([small(1)])[..] else { panic!("one state") };
    let good = json(kept);
    refuses(b"{}", "it is no state of gpu-cost-exporter");
    refuses(
        b"gpu-cost-exporter state 2 something else\n",
        "it has version 2 and was written by a newer program",
    );
    refuses(b"gpu-cost-exporter state 99999999999 1\n", "written by a newer program");
    refuses(
        b"gpu-cost-exporter state 1 1 99999999999999999 0\n",
        "it says that it has 99999999999999999 bytes",
    );
    refuses(&sealed("{}"), "it cannot be understood: missing field");
    refuses(&sealed(&good[..good.len() - 1]), "it cannot be understood");
    let mut damaged = sealed(&good);
    *damaged.last_mut().unwrap() ^= 1;
    refuses(&damaged, "it is damaged");
    refuses(
        &sealed(&good.replace("\"mode\":\"demo\"", "\"mode\":\"node\"")),
        "it is the ledger of node node in mode node",
    );
    refuses(
        &sealed(&good.replace("\"node\":\"node\"", "\"node\":\"other\"")),
        "it is the ledger of node other",
    );
    refuses(&sealed(&good.replace("\"bill\":0", "\"bill\":5")), "do not add up to its bills");
    refuses(
        &sealed(&good.replace("\"bill\":0", "\"bill\":-5")),
        "it cannot be understood: number out of range",
    );
    let huge = format!("\"bill\":{}", u128::MAX);
    refuses(&sealed(&good.replace("\"bill\":0", &huge)), "do not add up to its bills");
    refuses(&sealed(&good.replace("\"bill\":0", &format!("{huge}0"))), "it cannot be understood");
    assert!(good.contains("\"bill\":0") && good.contains("\"mode\":\"demo\""));
}

#[test]
fn a_huge_file_and_what_is_no_file_are_not_read() {
    let place = tempfile::tempdir().unwrap();
    fs::File::create(place.path().join(FILES[0])).unwrap().set_len(10 << 30).unwrap();
    assert!(found(place.path()).remarks[0].contains("its first line is damaged"));
    fs::create_dir(place.path().join(FILES[0])).unwrap();
    assert!(found(place.path()).remarks[0].contains("it is no plain file"));
    assert_eq!(names(place.path()), ["ledger.json.set-aside-1", "ledger.json.set-aside-2"]);
}

#[test]
fn few_states_that_were_set_aside_are_kept() {
    let place = tempfile::tempdir().unwrap();
    for n in 0..5 {
        fs::write(place.path().join(FILES[0]), [n]).unwrap();
        found(place.path());
    }
    let kept = |n| fs::read(place.path().join(format!("ledger.json.set-aside-{n}"))).unwrap();
    assert_eq!([kept(1), kept(2), kept(3)], [[4], [3], [2]]);
    assert_eq!(names(place.path()).len(), 3);
}

#[test]
fn a_damaged_snapshot_is_told_and_the_journal_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let bills = two_slots(place.path());
    fs::write(place.path().join(FILES[0]), b"nonsense").unwrap();
    let found = found(place.path());
    assert_eq!(bill(&found), bills[1]);
    assert!(found.remarks[0].contains("the ledger goes on from ledger.journal.1"), "{:?}", found.remarks);
    assert!(names(place.path()).contains(&"ledger.json.set-aside-1".to_owned()));
}

#[test]
fn the_newest_state_is_not_overwritten_by_one_that_fails() {
    let place = tempfile::tempdir().unwrap();
    let states = states((1..9).map(small));
    let mut directory = directory(place.path());
    directory.write(&states[1]).unwrap();
    // What is in the way makes each attempt fail.
    fs::create_dir(place.path().join(FILES[2])).unwrap();
    for kept in &states[2..6] {
        assert!(directory.write(kept).unwrap_err().to_string().starts_with("write ledger.journal.1: "));
    }
    fs::remove_dir(place.path().join(FILES[2])).unwrap();
    assert_eq!(found(place.path()).kept.as_ref().map(json), Some(json(&states[1])));
    directory.write(&states[7]).unwrap();
    assert_eq!(found(place.path()).kept.as_ref().map(json), Some(json(&states[7])));
}

#[test]
fn a_ledger_that_was_not_read_is_set_aside_and_not_overwritten() {
    let place = tempfile::tempdir().unwrap();
    two_slots(place.path());
    let others = states([small(50), small(51)]);
    // A program that could not read the directory when it was started.
    directory(place.path()).write(&others[1]).unwrap();
    assert_eq!(found(place.path()).kept.as_ref().map(json), Some(json(&others[1])));
    let aside = ["ledger.journal.0", "ledger.journal.0.set-aside-1", "ledger.journal.1.set-aside-1"];
    assert_eq!(names(place.path()), aside);
}

#[test]
fn one_program_has_a_directory() {
    let place = TempDir::new().unwrap();
    let lock = Lock::take(place.path()).unwrap();
    assert!(matches!(Lock::take(place.path()), Err(Error::Anothers)));
    drop(lock);
    assert!(Lock::take(place.path()).is_ok());
    assert!(matches!(Lock::take(&place.path().join("nothing")), Err(Error::System(_))));
    let lock = Lock::take(place.path()).unwrap();
    assert!(lock.is_in(place.path()));
    fs::remove_file(place.path().join("lock")).unwrap();
    assert!(!lock.is_in(place.path()));
    let other = Lock::take(place.path()).unwrap();
    assert!(other.is_in(place.path()) && !lock.is_in(place.path()));
}

#[test]
fn a_power_loss_takes_no_more_than_fifteen_seconds() {
    let place = TempDir::new().unwrap();
    let settings = Settings { directory: place.path().to_owned(), identity: identity() };
    for millis in [1_000_u64, 1_001, 4_000, 7_000, 8_000, 10_000, 14_999] {
        let mut file = StateFile::start(settings.clone()).unwrap();
        let (mut synced, mut longest) = (0, 0);
        for tick in 0..100 {
            let at = tick * millis;
            let now = Uptime::from_nanos(at * 1_000_000);
            if file.is_due(now) {
                file.synced_at = Some(now);
                longest = longest.max(at - synced);
                synced = at;
            }
            file.kept_at = Some(now);
        }
        assert!(longest <= 15_000, "{longest} ms with ticks of {millis} ms");
        assert!(
            longest + millis > 15_000,
            "no more often than it must be: {longest} ms with ticks of {millis} ms"
        );
    }
}

/// What a state with so many finished pods costs: bytes, and microseconds of copying and of writing it.
fn measure(pods: u64) -> (usize, u64, u64) {
    let mut kept = states([demo(100), demo(200)]).pop().unwrap();
    let (id, account) =
        kept.ledger.pods.iter().next().map(|(id, it)| (id.clone(), PodAccount::clone(it))).unwrap();
    for n in 0..pods {
        let id = PodId { uid: format!("{n:036}").into(), ..id.clone() };
        // Without money, so that the lines still add up.
        let ended = Some(Uptime::from_nanos(1));
        let (totals, containers) = (Totals::default(), [("main".into(), ContainerAccount::default())].into());
        let account = PodAccount { totals, containers, ended, ..account.clone() };
        kept.ledger.pods.insert(id, Arc::new(account));
    }
    let place = tempfile::tempdir().unwrap();
    let mut directory = directory(place.path());
    let (mut bytes, mut times) = (0, [0, 0]);
    for _ in 0..10 {
        let begun = clock::uptime();
        let copy = kept.clone();
        let copied = clock::uptime();
        bytes = directory.write(&copy).unwrap().len();
        times[0] += copied.since(begun).as_nanos() / 10_000;
        times[1] += clock::uptime().since(copied).as_nanos() / 10_000;
    }
    assert_eq!(found(place.path()).kept.as_ref().map(json), Some(json(&kept)));
    (bytes, times[0], times[1])
}

#[test]
fn ten_thousand_finished_pods_fit_into_what_is_read() {
    for pods in [110, 10_000] {
        let (bytes, copying, writing) = measure(pods);
        println!("{pods} pods: {bytes} bytes, copied in {copying} us, written in {writing} us");
        assert!(bytes < 8 << 20, "{bytes}");
    }
}
