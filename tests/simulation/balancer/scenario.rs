//! What the nodes and the clients do: scenarios by which a balancer is judged, and others.

/// Seconds in microseconds.
pub(super) const SECOND: u64 = 1_000_000;

/// Something happens to a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    /// Everything takes so many times longer than it should.
    Slowness(f64),
    /// It answers each statement at once with an error, or does so no more.
    Fails(bool),
    /// It may not be chosen: it is down, or too far behind.
    Away,
    /// It was down and may be chosen again.
    Back,
    /// It was too far behind and may be chosen again.
    Caught,
}

/// A kind of statement.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    /// Mean time on a node, in microseconds; it is exponential.
    pub(super) mean: u64,
    /// Part of the statements.
    pub(super) part: f64,
}

/// Who asks.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Clients {
    /// Statements arrive at random, each is given a node.
    Statements,
    /// Sessions arrive at random, each is given a node for its so many statements.
    Sessions(u32),
    /// So many clients: each waits for its answer and thinks for a while.
    Closed(u32),
}

/// What is asked of ours, beside the best of the others.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Target {
    /// The slowest 5 % and 1 % are within 3 %.
    Equal,
    /// The slowest 1 % are no slower, and ten times faster than with weighted random.
    Unequal,
    /// Fewer than 2 % of the statements fail.
    Failing,
    /// The slowest 1 % of the first kind are a fifth faster.
    Mixed,
    /// Nothing; it is only shown.
    None,
}

#[derive(Clone)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) slowness: Vec<f64>,
    pub(super) weights: Vec<f64>,
    pub(super) slots: usize,
    /// The slots are processors that all statements of a node share.
    pub(super) is_shared: bool,
    pub(super) kinds: Vec<Kind>,
    /// Work that arrives, in parts of what all nodes could do if none were slow.
    pub(super) load: f64,
    pub(super) clients: Clients,
    /// Each worker knows only what it has done itself.
    pub(super) own_models: bool,
    /// When what happens to which node.
    pub(super) changes: Vec<(u64, usize, Change)>,
    /// When it ends; statements that begin before `from` do not count.
    pub(super) until: u64,
    pub(super) from: u64,
    /// A node that has recovered at that time and must have its share again.
    pub(super) recovers: Option<(usize, u64)>,
    pub(super) target: Target,
}

/// Mean time between two statements of a session, and of a client that waits for its answer.
pub(super) const THINK: u64 = 10_000;

fn equal(name: &'static str, load: f64) -> Scenario {
    Scenario {
        name,
        slowness: vec![1.0; 3],
        weights: vec![1.0; 3],
        slots: 8,
        is_shared: false,
        kinds: vec![Kind { mean: 10_000, part: 1.0 }],
        load,
        clients: Clients::Statements,
        own_models: false,
        changes: Vec::new(),
        until: 30 * SECOND,
        from: 3 * SECOND,
        recovers: None,
        target: Target::Equal,
    }
}

/// A node with a fifth of the speed of the others.
fn one_slow(name: &'static str) -> Scenario {
    Scenario { slowness: vec![1.0, 5.0, 1.0], target: Target::Unequal, ..equal(name, 0.6) }
}

/// Lookups, and one statement in twenty that takes a hundred times as long.
fn mixed(name: &'static str, load: f64) -> Scenario {
    let kinds = vec![Kind { mean: 1_000, part: 0.95 }, Kind { mean: 100_000, part: 0.05 }];
    Scenario { kinds, target: Target::Mixed, ..equal(name, load) }
}

const BEGIN: u64 = 10 * SECOND;
const END: u64 = 20 * SECOND;

/// Those by which a balancer is judged.
pub(super) fn judged() -> Vec<Scenario> {
    vec![
        equal("1a equal nodes, load 25 %", 0.25),
        equal("1b equal nodes, load 65 %", 0.65),
        one_slow("2 a node 5× slower"),
        Scenario {
            changes: vec![(BEGIN, 0, Change::Slowness(10.0)), (END, 0, Change::Slowness(1.0))],
            recovers: Some((0, END)),
            target: Target::Unequal,
            ..equal("3 a node 10× slower for 10 s", 0.6)
        },
        Scenario {
            weights: vec![6.0, 1.0, 1.0],
            target: Target::Unequal,
            ..equal("4 wrong weights 6 : 1 : 1", 0.6)
        },
        Scenario {
            changes: vec![(BEGIN, 2, Change::Fails(true)), (END, 2, Change::Fails(false))],
            recovers: Some((2, END)),
            target: Target::Failing,
            ..equal("5 a node fails fast for 10 s", 0.6)
        },
        Scenario { from: 0, until: 6 * SECOND, ..one_slow("6 cold start, a node 5× slower") },
        Scenario {
            changes: vec![(BEGIN, 2, Change::Away), (END, 2, Change::Caught)],
            recovers: Some((2, END)),
            ..equal("7 a standby lags for 10 s", 0.55)
        },
        Scenario { clients: Clients::Sessions(50), ..one_slow("8 by session, a node 5× slower") },
        Scenario { own_models: true, ..one_slow("9 own models, a node 5× slower") },
        mixed("10 mixed statements, load 70 %", 0.7),
        Scenario {
            changes: vec![
                (BEGIN, 2, Change::Away),
                (END, 2, Change::Back),
                (END, 2, Change::Slowness(3.0)),
                (END + 2 * SECOND, 2, Change::Slowness(1.0)),
            ],
            recovers: Some((2, END)),
            ..equal("11 a node comes back cold", 0.55)
        },
    ]
}

/// Others, which show whether the judged ones flatter it.
pub(super) fn others() -> Vec<Scenario> {
    let stands_still = |second: u64| {
        let at = second * SECOND;
        [(at, 1, Change::Slowness(1e9)), (at + SECOND / 2, 1, Change::Slowness(1.0))]
    };
    let others = [
        Scenario {
            clients: Clients::Closed(40),
            ..one_slow("40 clients in a closed loop, a node 5× slower")
        },
        equal("equal nodes, load 85 %", 0.85),
        Scenario { slowness: vec![1.0, 1.3, 1.0], ..equal("a node 1.3× slower, load 65 %", 0.65) },
        Scenario {
            slowness: vec![1.0, 2.0, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0],
            weights: vec![1.0; 8],
            slots: 4,
            ..equal("8 nodes of 4 slots, one 2× and one 3× slower, load 70 %", 0.7)
        },
        Scenario { slots: 2, ..mixed("mixed statements, 2 slots a node, load 70 %", 0.7) },
        Scenario { is_shared: true, ..equal("shared processors, equal nodes, load 65 %", 0.65) },
        Scenario { is_shared: true, ..one_slow("shared processors, a node 5× slower") },
        Scenario { is_shared: true, ..mixed("shared processors, mixed statements, load 70 %", 0.7) },
        Scenario {
            is_shared: true,
            changes: (10..20).flat_map(stands_still).collect(),
            recovers: Some((1, END)),
            ..equal("shared processors, a node stands still half of each second for 10 s", 0.5)
        },
    ];
    others.into_iter().map(|other| Scenario { target: Target::None, ..other }).collect()
}
