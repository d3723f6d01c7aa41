//! What happens on each GPU in a day.

use std::ops::Range;

use gpu_cost_exporter::observation::{DeviceId, DeviceTarget, Fraction, FractionOf, Ppm};

use super::book::{PERCENT, WHOLE, Who};
use super::node::{
    AFTER, BEFORE, CLAIMED, CUT, Day, Did, Events, GIB, Shape, claimed, key, mig, mig_uuid, replica, slot,
    target, whole,
};
use super::story::Chance;

/// The story of each GPU, in their order.
pub(super) const STORIES: [fn(&mut Day, &mut Chance); 8] =
    [exclusive, time_sliced, mps, cut, annotated, given_out_by_claims, reserved, broken];

/// GPU 0: whole, pods come and go.
fn exclusive(day: &mut Day, chance: &mut Chance) {
    let Events { kubelet_90, gap, riddle, withdrawn, .. } = day.events.clone();
    // While the kubelet is away a pod ends, which the API server tells. After a minute nobody knows who came after it.
    come_and_go(day, chance, 0..kubelet_90 - 20);
    let ends = day.pod("vision", "ends-unlisted");
    day.stay(&ends, kubelet_90 - 20..kubelet_90 + 4, vec![whole(0)]);
    day.alone(chance, 0, kubelet_90 - 20..kubelet_90 + 4, &ends);
    day.book.left(0, kubelet_90 + 4..kubelet_90 + 10, "unallocated", WHOLE);
    come_and_go(day, chance, kubelet_90 + 10..gap - 30);
    // While the daemon is away one pod goes and another comes: when, nobody knows.
    let (goes, comes) = (day.pod("nlp", "goes"), day.pod("search", "comes"));
    day.stay(&goes, gap - 30..gap + 1, vec![whole(0)]);
    day.alone(chance, 0, gap - 30..gap, &goes);
    day.book.left(0, gap..gap + 1, "unattributed", WHOLE);
    day.stay(&comes, gap + 1..gap + 31, vec![whole(0)]);
    day.alone(chance, 0, gap + 1..gap + 31, &comes);
    come_and_go(day, chance, gap + 31..riddle.start - 6);
    // Somebody holds an id that nobody can read, while this is the only GPU that is free.
    let holder = day.pod("platform", "riddle");
    let id = DeviceId { target: DeviceTarget::Unreadable("42".into()), replica: None };
    day.stay(&holder, riddle.clone(), vec![id]);
    day.book.left(0, riddle.start - 6..riddle.start, "unallocated", WHOLE);
    day.book.left(0, riddle.clone(), "unattributed", WHOLE);
    come_and_go(day, chance, riddle.end..withdrawn.start);
    day.book.left(0, withdrawn.clone(), "unavailable", WHOLE);
    let all = day.all();
    come_and_go(day, chance, withdrawn.end..all.end);
}

fn come_and_go(day: &mut Day, chance: &mut Chance, at: Range<usize>) {
    for span in day.spans(chance, at, 3..250) {
        if chance.one_in(4) {
            day.book.left(0, span, "unallocated", WHOLE);
        } else {
            let who = day.pod(["nlp", "vision", "search"][chance.of(0..3)], "job");
            day.stay(&who, span.clone(), vec![whole(0)]);
            day.alone(chance, 0, span, &who);
        }
    }
}

/// GPU 1: four slots that take turns. One pod is always there, one is always there and nobody describes it.
fn time_sliced(day: &mut Day, chance: &mut Chance) {
    let slots = |n: i128| WHOLE / 4 * n;
    let steady = day.pod("search", "reranker");
    let unknown = Who { uid: String::new(), team: "", environment: "", ..day.pod("legacy", "undescribed") };
    let all = day.all();
    day.stay(&steady, all.start..all.end + 1, vec![replica(1, 0)]);
    day.stay(&unknown, all.start..all.end + 1, vec![replica(1, 2)]);
    for span in day.spans(chance, all, 5..150) {
        let guest = day.pod("vision", "ocr");
        let held = chance.of(0..3);
        let ids: Vec<DeviceId> = [1, 3].into_iter().take(held).map(|slot| replica(1, slot)).collect();
        let mut sharers = vec![(&steady, slots(1)), (&unknown, slots(1))];
        if held > 0 {
            day.stay(&guest, span.clone(), ids);
            sharers.push((&guest, slots(i128::try_from(held).unwrap())));
        }
        day.sampled(chance, 1, span, &sharers);
    }
}

/// GPU 2: three slots, in the evening side by side; whose processes they are nobody can tell.
fn mps(day: &mut Day, chance: &mut Chance) {
    let slots = |n: i128| WHOLE / 3 * n;
    let steady = day.pod("nlp", "tokenizer");
    let all = day.all();
    day.stay(&steady, all.start..all.end + 1, vec![replica(2, 1)]);
    for span in day.spans(chance, all, 5..150) {
        let guest = day.pod("platform", "ci");
        let held = chance.of(0..3);
        let ids: Vec<DeviceId> = [0, 2].into_iter().take(held).map(|slot| replica(2, slot)).collect();
        let mut sharers = vec![(&steady, slots(1))];
        if held > 0 {
            day.stay(&guest, span.clone(), ids);
            sharers.push((&guest, slots(i128::try_from(held).unwrap())));
        }
        day.unsampled(chance, 2, span, &sharers);
    }
}

/// GPU 3: MIG devices of 3, 2 and 1 of 7 slices. Two pods take turns on the second; what the third does cannot be read
/// until it is made anew, larger in memory, which strands the seventh slice.
fn cut(day: &mut Day, chance: &mut Chance) {
    let slices = |n: i128| WHOLE / 7 * n;
    let all = day.all();
    let embedder = day.pod("search", "embedder");
    let steady = day.pod("nlp", "summarizer");
    day.stay(&embedder, all.start..all.end + 1, vec![mig(BEFORE[0].0, None)]);
    day.stay(&steady, all.start..all.end + 1, vec![mig(BEFORE[1].0, Some(0))]);
    let made_anew = day.events.cut;
    for (part, readable) in [(all.start..made_anew, false), (made_anew..all.end, true)] {
        for span in day.spans(chance, part, 5..200) {
            let percents = [chance.percent(100), chance.percent(60), chance.percent(40)];
            let of = |slices: i128, percent: u32| slices * i128::from(percent) / 100;
            let work = of(slices(3), percents[0]);
            day.book.held(CUT, span.clone(), &embedder, slices(3), Some(work));
            // Each has half of two slices; a process' percentage is of the MIG device.
            let guest = day.pod("vision", "tagger");
            let turns: Vec<(&Who, u32)> = if chance.one_in(2) {
                day.stay(&guest, span.clone(), vec![mig(BEFORE[1].0, Some(1))]);
                vec![(&steady, percents[1]), (&guest, percents[2])]
            } else {
                day.book.left(CUT, span.clone(), "unallocated", slices(1));
                vec![(&steady, percents[1])]
            };
            let mut processes = Vec::new();
            for (who, percent) in turns {
                processes.push((Some(key(who)), Some(mig_uuid(BEFORE[1].0)), percent));
                day.book.held(CUT, span.clone(), who, slices(1), Some(of(slices(2), percent)));
            }
            let both = processes.iter().map(|(_, _, percent)| percent).sum();
            let small = chance.percent(100);
            // It must be free when it is made anew.
            if chance.one_in(2) && span.end != made_anew {
                let who = day.pod("platform", "small");
                let profile = if readable { AFTER[2].0 } else { BEFORE[2].0 };
                day.stay(&who, span.clone(), vec![mig(profile, None)]);
                let work = readable.then(|| of(slices(1), small));
                day.book.held(CUT, span.clone(), &who, slices(1), work);
            } else {
                day.book.left(CUT, span.clone(), "unallocated", slices(1));
            }
            let rest = if readable { "stranded" } else { "unallocated" };
            day.book.left(CUT, span.clone(), rest, slices(1));
            let instances = [Some(percents[0]), Some(both), readable.then_some(small)];
            day.did(CUT, span, &Did { percent: None, processes: Some(processes), instances });
        }
    }
}

/// A part of a GPU as a scheduler writes it into an annotation.
fn part(gpu: usize, percent: Option<u32>, gib: Option<u64>) -> Fraction {
    let DeviceTarget::Gpu(uuid) = target(gpu) else { unreachable!() };
    Fraction {
        of: FractionOf::Gpu(uuid),
        compute: percent.map(Ppm::from_percent),
        memory: gib.map(|gib| gib * GIB),
    }
}

/// GPU 4: cores by annotation, then more cores than there are, then memory because somebody names no cores.
fn annotated(day: &mut Day, chance: &mut Chance) {
    let all = day.all();
    let (more, memory) = (all.end * 2 / 5, all.end * 3 / 5);
    let annotate = |day: &mut Day, who: &Who, at: Range<usize>, part: Fraction| {
        // The kubelet's id names another GPU.
        day.stay(who, at, vec![slot("GPU-0-7")]).fractions = vec![part];
    };
    let steady = day.pod("nlp", "hami");
    annotate(day, &steady, all.start..more, part(4, Some(30), Some(8)));
    for span in day.spans(chance, all.start..more, 5..150) {
        let guest = day.pod("vision", "hami");
        let percent = [20, 45, 70][chance.of(0..3)];
        if chance.one_in(2) {
            annotate(day, &guest, span.clone(), part(4, Some(percent), None));
            day.sampled(chance, 4, span, &[(&steady, 30 * PERCENT), (&guest, i128::from(percent) * PERCENT)]);
        } else {
            day.sampled(chance, 4, span, &[(&steady, 30 * PERCENT)]);
        }
    }
    let greedy = [day.pod("nlp", "greedy"), day.pod("search", "greedy")];
    for who in &greedy {
        annotate(day, who, more..memory, part(4, Some(75), None));
    }
    for span in day.spans(chance, more..memory, 5..150) {
        day.sampled(chance, 4, span, &[(&greedy[0], WHOLE / 2), (&greedy[1], WHOLE / 2)]);
    }
    let (both, without) = (day.pod("nlp", "both"), day.pod("search", "without-cores"));
    annotate(day, &both, memory..all.end + 1, part(4, Some(90), Some(20)));
    annotate(day, &without, memory..all.end + 1, part(4, None, Some(40)));
    for span in day.spans(chance, memory..all.end, 5..150) {
        let guest = day.pod("vision", "small-memory");
        let mut sharers = vec![(&both, WHOLE / 4), (&without, WHOLE / 2)];
        if chance.one_in(2) {
            annotate(day, &guest, span.clone(), part(4, Some(50), Some(10)));
            sharers.push((&guest, WHOLE / 8));
        }
        day.sampled(chance, 4, span, &sharers);
    }
}

/// GPU 5: one claim for several pods, then claims for parts of its memory, then one claim and a monitor that pays nothing.
fn given_out_by_claims(day: &mut Day, chance: &mut Chance) {
    let all = day.all();
    let (parts, alone) = (all.end / 3, all.end * 2 / 3);
    // A claim is of one namespace, whose pods may be of several teams.
    let user = |day: &Day, team, name: &str| Who { namespace: "search", ..day.pod(team, name) };
    let users = [user(day, "search", "shares"), user(day, "vision", "shares-too")];
    for who in &users {
        day.stay(who, all.start..parts, vec![claimed("shared", None)]);
    }
    for span in day.spans(chance, all.start..parts, 5..150) {
        let third = user(day, "nlp", "joins");
        if chance.one_in(2) {
            day.stay(&third, span.clone(), vec![claimed("shared", None)]);
            let part = WHOLE / 3;
            day.unsampled(chance, CLAIMED, span, &[(&users[0], part), (&users[1], part), (&third, part)]);
        } else {
            day.unsampled(chance, CLAIMED, span, &[(&users[0], WHOLE / 2), (&users[1], WHOLE / 2)]);
        }
    }
    // 20 of 80 GiB for one pod, 40 of 80 GiB for two.
    let consumers = ["nlp", "search", "vision"].map(|team| user(day, team, &format!("consumes-for-{team}")));
    day.stay(&consumers[0], parts..alone, vec![claimed("small", Some("s-1"))]);
    day.stay(&consumers[1], parts..alone, vec![claimed("big", Some("s-2"))]);
    day.stay(&consumers[2], parts..alone, vec![claimed("big", Some("s-2"))]);
    for span in day.spans(chance, parts..alone, 5..150) {
        let sharers: Vec<(&Who, i128)> = consumers.iter().map(|who| (who, WHOLE / 4)).collect();
        day.unsampled(chance, CLAIMED, span, &sharers);
    }
    let (worker, monitor) = (user(day, "nlp", "worker"), user(day, "platform", "monitor"));
    day.stay(&worker, alone..all.end + 1, vec![claimed("alone", None)]);
    day.stay(&monitor, alone..all.end + 1, vec![claimed("monitor", None)]);
    day.alone(chance, CLAIMED, alone..all.end, &worker);
}

/// GPU 6: reserved for a group of pods, then divided by units of memory.
fn reserved(day: &mut Day, chance: &mut Chance) {
    let all = day.all();
    let half = all.end / 2;
    let reservation = day.pod("platform", "gpu-reservation");
    day.stay(&reservation, all.start..half, vec![whole(6)]).reserves = Some("group-1");
    let member = |percent| Fraction {
        of: FractionOf::Group("group-1".into()),
        compute: Some(Ppm::from_percent(percent)),
        memory: None,
    };
    let steady = day.pod("nlp", "member");
    day.stay(&steady, all.start..half, Vec::new()).fractions = vec![member(50)];
    for span in day.spans(chance, all.start..half, 5..150) {
        let guest = day.pod("vision", "member");
        let mut sharers = vec![(&steady, WHOLE / 2)];
        if chance.one_in(2) {
            day.stay(&guest, span.clone(), Vec::new()).fractions = vec![member(25)];
            sharers.push((&guest, WHOLE / 4));
        }
        day.sampled(chance, 6, span, &sharers);
    }
    let units = |count: u64| (0..count).map(|n| slot(&format!("GPU-0-_-{n}"))).collect::<Vec<_>>();
    let memory = |gib: u64| Fraction { of: FractionOf::Index(6), compute: None, memory: Some(gib * GIB) };
    let steady = day.pod("search", "gpushare");
    day.stay(&steady, half..all.end + 1, units(2)).fractions = vec![memory(20)];
    for span in day.spans(chance, half..all.end, 5..150) {
        let guest = day.pod("nlp", "gpushare");
        let mut sharers = vec![(&steady, WHOLE / 4)];
        if chance.one_in(2) {
            day.stay(&guest, span.clone(), units(4)).fractions = vec![memory(40)];
            sharers.push((&guest, WHOLE / 2));
        }
        day.sampled(chance, 6, span, &sharers);
    }
}

/// GPU 7: falls off the bus, is not listed for a while, comes back; cannot be measured for a while; is named by two pods
/// for a minute. Its pod is relabelled, and made anew under its name.
fn broken(day: &mut Day, chance: &mut Chance) {
    let end = day.all().end;
    let Events { gap, sleep, noon, .. } = day.events;
    let trainer = day.pod("nlp", "trainer");
    let relabelled = Who { environment: "staging", ..trainer.clone() };
    let anew = Who { uid: "uid-trainer-anew".into(), ..relabelled.clone() };
    let second = day.pod("vision", "second");
    let hours = [3, 5, 7, 9].map(|hour: usize| hour * 360 + chance.of(10..300));
    let [lost, dark, relabel, renewed] = hours;
    let handover = sleep + 1 + chance.of(400..700);
    for (who, at) in [
        (&trainer, 0..relabel),
        (&relabelled, relabel..renewed),
        (&anew, renewed..handover + 6),
        (&second, handover..end + 1),
    ] {
        day.stay(who, at, vec![whole(7)]);
    }
    // What it did in the ten seconds before it broke nobody can say any more.
    let missing = lost + chance.of(10..60);
    let back = missing + chance.of(3..30);
    day.shapes[7][lost..missing].fill(Shape::Lost);
    day.shapes[7][missing..back].fill(Shape::Missing);
    day.alone(chance, 7, 0..lost - 1, &trainer);
    day.book.held(7, lost - 1..lost, &trainer, WHOLE, None);
    day.book.broken(7, lost..back, &trainer);
    day.alone(chance, 7, back..dark, &trainer);
    day.book.held(7, dark..dark + 30, &trainer, WHOLE, None);
    day.alone(chance, 7, dark + 30..relabel, &trainer);
    day.alone(chance, 7, relabel..renewed, &relabelled);
    assert!(renewed < gap && noon < handover, "the trainer is there at noon");
    day.alone(chance, 7, renewed..handover, &anew);
    // The newer of the two has it.
    day.alone(chance, 7, handover..end, &second);
}
