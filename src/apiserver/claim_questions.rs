//! When to ask for which claim.
//!
//! A claim is asked for when a pod of this node begins to name it. What was allocated to it stays as long as a pod uses
//! it, so it is not asked for again until another pod names it. Only while nothing is allocated, or there is no such
//! claim, it is asked for now and then, and soon when a pod that names it has changed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Error;
use super::claim_names::{Named, Namers};
use super::claims::ClaimState;
use super::watching::backoff;
use crate::observation::{ClaimKey, Span, Uptime};

/// How many claims are asked for at once.
const ASKED_MAX: usize = 4;

/// How soon a claim is asked for again when a pod has changed: a pod may change in no time.
const PAUSE: Duration = Duration::from_secs(1);

/// The claims that pods of this node name, as far as they were told.
#[derive(Debug, Default)]
pub(super) struct Claims {
    known: BTreeMap<ClaimKey, Known>,
    /// How many questions are not answered yet, and how many were ever asked.
    open: usize,
    asked: u64,
    /// How often the API server did not answer in a row, and until when it is left in peace.
    failures: u32,
    peace: Uptime,
}

/// A question for a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) key: ClaimKey,
    /// Tells it from another one for a claim of the same name.
    number: u64,
}

#[derive(Debug)]
struct Known {
    namers: Namers,
    /// `None` until it was told.
    state: Option<ClaimState>,
    next: Next,
    /// How often it was asked for in vain since a pod changed.
    in_vain: u32,
}

/// When to ask for a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    At(Uptime),
    /// Whether to ask again when the answer has come, because a pod has changed since it was asked.
    Asked {
        number: u64,
        is_outdated: bool,
    },
    /// When another pod names it.
    Settled,
}

// === impl Claims ===

impl Claims {
    /// The claims that were told, sorted.
    pub(super) fn states(&self) -> impl Iterator<Item = (&ClaimKey, &ClaimState)> {
        self.known.iter().filter_map(|(key, known)| Some((key, known.state.as_ref()?)))
    }

    /// Whether nobody names a claim.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Takes these claims for all that are named.
    pub(super) fn set_named(&mut self, named: &Named, now: Uptime) {
        self.known.retain(|key, _| named.contains_key(key));
        for (key, namers) in named {
            match self.known.get_mut(key) {
                Some(known) => known.set_namers(namers, now),
                None => drop(self.known.insert(key.clone(), Known::new(namers.clone(), now))),
            }
        }
    }

    /// The open questions will not be answered any more.
    pub(super) fn forget_questions(&mut self, now: Uptime) {
        self.open = 0;
        for known in self.known.values_mut().filter(|known| matches!(known.next, Next::Asked { .. })) {
            known.next = Next::At(now);
        }
    }

    /// What to ask now, which counts as asked from here on.
    pub(super) fn next_question(&mut self, now: Uptime) -> Option<Question> {
        if self.open >= ASKED_MAX || now < self.peace {
            return None;
        }
        let is_due = |known: &Known| matches!(known.next, Next::At(due) if due <= now);
        let (key, known) = self.known.iter_mut().find(|(_, known)| is_due(known))?;
        let number = self.asked;
        known.next = Next::Asked { number, is_outdated: false };
        self.open += 1;
        self.asked += 1;
        Some(Question { key: key.clone(), number })
    }

    /// How long there is nothing to ask; `None` where only news can change that.
    pub(super) fn pause(&self, now: Uptime) -> Option<Duration> {
        let due = |known: &Known| match known.next {
            Next::At(due) => Some(due),
            Next::Asked { .. } | Next::Settled => None,
        };
        let first = self.known.values().filter_map(due).min()?;
        (self.open < ASKED_MAX).then(|| Duration::from_nanos(first.max(self.peace).since(now).as_nanos()))
    }

    /// Takes in an answer, and gives back what is wrong with it. That there is no such claim is not wrong: we may be
    /// told late that its pod is gone.
    pub(super) fn take_in(
        &mut self,
        question: &Question,
        answer: Result<ClaimState, Error>,
        now: Uptime,
    ) -> Result<(), Error> {
        self.open = self.open.saturating_sub(1);
        let known = self.known.get_mut(&question.key).filter(|known| known.is_asked(question.number));
        let (answer, failure) = match answer {
            Ok(state) => (Some(state), Ok(())),
            Err(error) if error.is_not_found() => (None, Ok(())),
            Err(error @ Error::Answer { .. }) => (None, Err(error)),
            Err(error) => {
                if let Some(known) = known {
                    known.next = Next::At(now);
                }
                self.leave_in_peace(now);
                return Err(error);
            }
        };
        self.failures = 0;
        if let Some(known) = known {
            known.take_in(answer, now);
        }
        failure
    }

    /// Asks for no claim for a while. Questions that were open together fail together, which counts once.
    fn leave_in_peace(&mut self, now: Uptime) {
        if now >= self.peace {
            self.failures = self.failures.saturating_add(1);
            self.peace = later(now, backoff(self.failures));
        }
    }
}

// === impl Known ===

impl Known {
    fn new(namers: Namers, now: Uptime) -> Self {
        Self { namers, state: None, next: Next::At(now), in_vain: 0 }
    }

    fn is_asked(&self, number: u64) -> bool {
        matches!(self.next, Next::Asked { number: asked, .. } if asked == number)
    }

    fn set_namers(&mut self, namers: &Namers, now: Uptime) {
        let is_other_pod = !self.namers.keys().eq(namers.keys());
        let has_changed = self.namers != *namers;
        let is_allocated = self.state.as_ref().is_some_and(|state| state.is_allocated);
        if is_other_pod || has_changed && !is_allocated {
            self.in_vain = 0;
            self.next = match self.next {
                Next::Asked { number, .. } => Next::Asked { number, is_outdated: true },
                Next::At(due) => Next::At(due.min(later(now, PAUSE))),
                Next::Settled => Next::At(now),
            };
        }
        self.namers.clone_from(namers);
    }

    /// `None` where there is no such claim: then what was known of it stays, as its pod is still there.
    fn take_in(&mut self, answer: Option<ClaimState>, now: Uptime) {
        let is_allocated = answer.as_ref().is_some_and(|state| state.is_allocated);
        let is_outdated = matches!(self.next, Next::Asked { is_outdated: true, .. });
        self.state = answer.or_else(|| self.state.take());
        self.next = if is_outdated {
            Next::At(later(now, PAUSE))
        } else if is_allocated {
            Next::Settled
        } else {
            self.in_vain = self.in_vain.saturating_add(1);
            Next::At(later(now, backoff(self.in_vain)))
        };
    }
}

fn later(now: Uptime, wait: Duration) -> Uptime {
    now.after(Span::from_nanos(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOCATED: ClaimState = ClaimState { is_allocated: true, devices: Vec::new() };
    const PENDING: ClaimState = ClaimState { is_allocated: false, devices: Vec::new() };

    fn at(millis: u64) -> Uptime {
        Uptime::from_nanos(0).after(Span::from_millis(millis))
    }

    /// Claims written `name=uid:version,uid:version`.
    fn named(claims: &str) -> Named {
        let claim = |claim: &str| {
            let (name, pods) = claim.split_once('=').unwrap();
            let pods = pods.split(',').map(|pod| pod.split_once(':').unwrap());
            let key = ClaimKey { namespace: "ml".into(), name: name.into() };
            (key, pods.map(|(uid, version)| (uid.into(), version.into())).collect())
        };
        claims.split_whitespace().map(claim).collect()
    }

    /// All that is to be asked now.
    fn ask(claims: &mut Claims, now: Uptime) -> Vec<Question> {
        std::iter::from_fn(|| claims.next_question(now)).collect()
    }

    /// The one thing that is to be asked now.
    #[track_caller]
    fn ask_one(claims: &mut Claims, now: Uptime) -> Question {
        let mut questions = ask(claims, now);
        assert_eq!(questions.len(), 1, "{questions:?}");
        questions.remove(0)
    }

    fn refusal(code: u16) -> Error {
        Error::Refused { asked: "read a resource claim", code, text: String::new() }
    }

    #[test]
    fn a_few_are_asked_for_at_once_and_each_once() {
        let mut claims = Claims::default();
        claims.set_named(&named("a=1:1 b=1:1 c=2:1,3:1 d=4:1 e=5:1"), at(0));
        let first = ask(&mut claims, at(0));
        assert_eq!((first.len(), claims.pause(at(0))), (ASKED_MAX, None));
        claims.take_in(&first[0], Ok(ALLOCATED), at(1)).unwrap();
        let last = ask_one(&mut claims, at(1));
        assert_eq!(&*last.key.name, "e");
        for question in first[1..].iter().chain([&last]) {
            claims.take_in(question, Ok(ALLOCATED), at(2)).unwrap();
        }
        assert_eq!((ask(&mut claims, at(9_999_999)), claims.pause(at(2))), (Vec::new(), None));
        assert_eq!(claims.states().count(), 5);
    }

    #[test]
    fn what_is_not_allocated_is_asked_for_ever_more_seldom() {
        let mut claims = Claims::default();
        claims.set_named(&named("a=1:1"), at(0));
        let mut now = at(0);
        let mut waits = Vec::new();
        for answer in [Ok(PENDING), Err(refusal(404)), Ok(PENDING), Err(refusal(404))] {
            let question = ask_one(&mut claims, now);
            claims.take_in(&question, answer, now).unwrap();
            let pause = claims.pause(now).unwrap();
            waits.push(pause);
            now = later(now, pause);
        }
        let most = [1, 2, 4, 8].map(Duration::from_secs);
        assert!(waits.iter().zip(most).all(|(wait, most)| *wait <= most && *wait >= most / 2), "{waits:?}");
        // A change of the pod is worth a question, but not every change.
        for version in 2..9 {
            claims.set_named(&named(&format!("a=1:{version}")), now);
        }
        let question = ask_one(&mut claims, later(now, PAUSE));
        claims.take_in(&question, Ok(ALLOCATED), now).unwrap();
        claims.set_named(&named("a=1:10"), now);
        assert_eq!(claims.pause(now), None, "what is allocated stays");
        claims.set_named(&named("a=1:10,2:1"), now);
        ask_one(&mut claims, now);
    }

    #[test]
    fn an_answer_that_another_pod_has_overtaken_is_asked_for_again() {
        let mut claims = Claims::default();
        claims.set_named(&named("a=1:1"), at(0));
        let question = ask_one(&mut claims, at(0));
        claims.set_named(&named("a=2:1"), at(1));
        claims.take_in(&question, Ok(ALLOCATED), at(2)).unwrap();
        assert_eq!(claims.pause(at(2)), Some(PAUSE));
        let late = ask_one(&mut claims, at(1_002));
        // Nobody names it any more, then somebody does again: the old answer is not about the new claim.
        claims.set_named(&named(""), at(1_003));
        claims.set_named(&named("a=3:1"), at(1_004));
        let fresh = ask_one(&mut claims, at(1_004));
        claims.take_in(&late, Ok(ALLOCATED), at(1_005)).unwrap();
        assert_eq!(claims.states().count(), 0);
        claims.take_in(&fresh, Ok(ALLOCATED), at(1_006)).unwrap();
        assert_eq!(claims.states().count(), 1);
    }

    #[test]
    fn who_does_not_answer_is_left_in_peace() {
        let mut claims = Claims::default();
        claims.set_named(&named("a=1:1 b=1:1 c=1:1"), at(0));
        let questions = ask(&mut claims, at(0));
        for question in &questions {
            claims.take_in(question, Err(refusal(403)), at(10)).unwrap_err();
        }
        assert_eq!(claims.failures, 1, "what fails together counts once");
        let pause = claims.pause(at(10)).unwrap();
        assert!(pause >= Duration::from_millis(500) && ask(&mut claims, at(11)).is_empty(), "{pause:?}");
        let now = later(at(10), pause);
        let questions = ask(&mut claims, now);
        assert_eq!(questions.len(), 3);
        claims.take_in(&questions[0], Ok(ALLOCATED), now).unwrap();
        // Whoever asked is gone, and another asks anew.
        claims.forget_questions(now);
        assert_eq!(ask(&mut claims, now).len(), 2);
    }
}
