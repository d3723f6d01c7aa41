//! Where money goes: the states, and the sums of each.

use crate::cost::money::{Amount, Cost, GpuTime};

/// Where the money of a GPU goes. Every unit of it is in exactly one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// The part of a holder's cost that did work.
    Used,
    /// The rest of a holder's cost while it does some work.
    Underused,
    /// The rest of a holder's cost while it does none.
    Idle,
    /// A holder's cost while its utilization could not be read.
    Unmeasured,
    /// Capacity that nobody holds and the scheduler could give away.
    Unallocated,
    /// Capacity that cannot be given away in the present partition.
    Stranded,
    /// Capacity held by somebody we cannot name.
    Unattributed,
    /// A GPU that cannot be used, whoever holds it.
    Unavailable,
}

/// Money and time by [`State`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    costs: [Cost; State::ALL.len()],
    times: [GpuTime; State::ALL.len()],
    priced: bool,
}

// === impl State ===

impl State {
    /// Every state, in the order of the documents.
    pub const ALL: [Self; 8] = [
        Self::Used,
        Self::Underused,
        Self::Idle,
        Self::Unmeasured,
        Self::Unallocated,
        Self::Stranded,
        Self::Unattributed,
        Self::Unavailable,
    ];

    /// The states of what somebody holds.
    pub const HELD: [Self; 5] =
        [Self::Used, Self::Underused, Self::Idle, Self::Unmeasured, Self::Unavailable];

    /// The states of what nobody holds, or nobody that we can name.
    pub const UNHELD: [Self; 4] = [Self::Unallocated, Self::Stranded, Self::Unattributed, Self::Unavailable];

    /// The state as a label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Underused => "underused",
            Self::Idle => "idle",
            Self::Unmeasured => "unmeasured",
            Self::Unallocated => "unallocated",
            Self::Stranded => "stranded",
            Self::Unattributed => "unattributed",
            Self::Unavailable => "unavailable",
        }
    }
}

// === impl Totals ===

impl Totals {
    /// Begins to count, in dollars too if there is a price, so that every state is there before the first charge.
    pub fn open(&mut self, priced: bool) {
        self.priced |= priced;
    }

    /// Adds a charge.
    pub fn post(&mut self, state: State, amount: Amount) {
        self.times[state as usize] += amount.time;
        if let Some(cost) = amount.cost {
            self.costs[state as usize] += cost;
            self.priced = true;
        }
    }

    /// The money in one state; `None` as long as nothing here ever had a price.
    #[must_use]
    pub fn cost(&self, state: State) -> Option<Cost> {
        self.priced.then(|| self.costs[state as usize])
    }

    /// The time in one state.
    #[must_use]
    pub fn time(&self, state: State) -> GpuTime {
        self.times[state as usize]
    }

    /// What is left when a part is taken away; nothing of a state of which the part has more.
    #[must_use]
    pub fn minus(&self, part: &Self) -> Self {
        let mut rest = self.clone();
        for state in State::ALL.map(|state| state as usize) {
            rest.costs[state] = self.costs[state] - part.costs[state];
            rest.times[state] = self.times[state] - part.times[state];
        }
        rest
    }

    /// Whether there is neither money nor time.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.costs.iter().all(|cost| *cost == Cost::ZERO)
            && self.times.iter().all(|time| *time == GpuTime::ZERO)
    }

    /// All the money; nothing as long as nothing here ever had a price.
    #[must_use]
    pub fn total_cost(&self) -> Cost {
        self.costs.iter().copied().sum()
    }

    /// All the time.
    #[must_use]
    pub fn total_time(&self) -> GpuTime {
        self.times.iter().copied().sum()
    }
}
