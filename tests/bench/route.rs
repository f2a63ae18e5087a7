//! What it costs to decide where a statement goes, in nanoseconds: medians of many rounds, each statement in turn.
//!
//! `cargo bench --bench route`; `scripts/bench --parts routing` measures the same in the whole program.
#![allow(clippy::print_stdout, reason = "what it has measured is its output")]

use std::hint::black_box;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use pgbalancer::cluster::relcache::RelCache;
use pgbalancer::cluster::view::{ClusterView, NodeView};
use pgbalancer::route::learn::{Candidate, Class, Model, Outcome, Settings, Why};
use pgbalancer::route::{
    Catalog, Decision, Question, RouteConfig, SessionView, choose_balance_node, decide, draw_by_weight,
    node_for_read,
};
use pgbalancer::shm::{Segment, Sizes};
use pgbalancer::sql::{Cache, facts, fingerprint};

const ROUNDS: usize = 300;
const TURNS: u32 = 200;

const JOIN: &str = "
    SELECT o.id, o.placed_at, c.name, c.email, sum(i.quantity * i.price) AS total,
           count(DISTINCT i.product_id) AS products, max(s.shipped_at) AS shipped
    FROM orders o
    JOIN customers c ON c.id = o.customer_id
    JOIN order_items i ON i.order_id = o.id
    JOIN products p ON p.id = i.product_id
    LEFT JOIN shipments s ON s.order_id = o.id AND s.state <> 'lost'
    LEFT JOIN addresses a ON a.id = o.address_id
    LEFT JOIN countries k ON k.code = a.country
    WHERE o.placed_at >= now() - interval '30 days'
      AND c.state = 'active'
      AND p.category IN (SELECT id FROM categories WHERE lower(name) LIKE 'garden%')
      AND NOT EXISTS (SELECT 1 FROM refunds r WHERE r.order_id = o.id AND r.amount > 0)
      AND (k.zone = 'EU' OR k.code = 'CH')
      AND coalesce(o.note, '') NOT LIKE '%test%'
    GROUP BY o.id, o.placed_at, c.name, c.email
    HAVING sum(i.quantity * i.price) > 100
    ORDER BY total DESC, o.placed_at
    LIMIT 50 OFFSET 100";

/// Median over the rounds of what one turn takes.
fn measure(mut turn: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            (0..TURNS).for_each(|_| turn());
            begin.elapsed() / TURNS
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}

fn main() {
    let node = |id, is_primary| NodeView {
        id,
        usable: true,
        orderly: false,
        weight: 1.0,
        is_primary,
        lag_bytes: Some(0),
        lag_micros: Some(0),
    };
    let cluster = ClusterView {
        nodes: vec![node(0, true), node(1, false), node(2, false)],
        primary: Some(0),
        main: Some(0),
        ..ClusterView::default()
    };
    let config = RouteConfig { delay_threshold: 1000, ..RouteConfig::default() };
    let segment = Segment::create(Sizes { nodes: 3, ..Sizes::default() }).expect("shared memory");
    let mut relations = RelCache::new(1000, Duration::ZERO, segment, false);
    let now = Instant::now();
    let mut cache = Cache::new(1000);
    println!("| statement | parsed for the first time, ns | repeated: looked up and routed, ns |");
    println!("|---|---|---|");
    let statements = [
        ("SELECT 1", "SELECT 1"),
        ("pgbench -S", "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;"),
        ("UPDATE of TPC-B", "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = 4711;"),
        ("a join of 20 lines", JOIN),
    ];
    for (name, text) in statements {
        let session = SessionView { balance_node: Some(1), ..SessionView::idle() };
        // What the catalog says is known after the first time.
        loop {
            let decision = {
                let catalog = relations.catalog("bench", now);
                decide(&facts(text), text.as_bytes(), &session, &cluster, &config, &catalog as &dyn Catalog)
            };
            let Decision::Ask(questions) = decision else { break };
            for question in questions {
                let answer: &[u8] = if matches!(question, Question::Function(_)) { b"0" } else { b"|" };
                let epoch = relations.epoch("bench");
                relations.put("bench", &question, answer, epoch, now);
            }
        }
        let parsed = measure(|| drop(black_box(facts(black_box(text)))));
        let routed = measure(|| {
            let found = cache.get(black_box(text.as_bytes()));
            let catalog = relations.catalog("bench", now);
            let decision = decide(&found, text.as_bytes(), &session, &cluster, &config, &catalog);
            black_box((&decision, node_for_read(&cluster, &config, 1)));
        });
        println!("| {name} | {} | {} |", parsed.as_nanos(), routed.as_nanos());
    }
    let drawn = measure(|| {
        black_box(choose_balance_node(&cluster, &config, None, black_box(0.7), &mut |number, may| {
            draw_by_weight(&cluster, number, may)
        }));
    });
    println!("| (drawing a node) | | {} |", drawn.as_nanos());
    learner();
    for text in [statements[1].1, JOIN] {
        let taken = measure(|| {
            black_box(fingerprint(black_box(text.as_bytes())));
        });
        println!("| (class of a text of {} bytes) | | {} |", text.len(), taken.as_nanos());
    }
}

/// The adaptive choice, with 200 classes and some statements running, and what a statement costs for the model.
fn learner() {
    for nodes in [3, 8] {
        let words: Vec<AtomicU64> = (0..Model::words_needed(4, nodes)).map(|_| AtomicU64::new(0)).collect();
        let model = Model::new(&words, 4, nodes).expect("as many words as it asked for");
        let (settings, mut now, mut bits) = (Settings::default(), 1_000_000, 1_u64);
        let mut random = || {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bits ^ (bits >> 29)
        };
        let candidates: Vec<Candidate> = (0..nodes).map(|node| Candidate { node, weight: 1.0 }).collect();
        let class =
            |number: u64| Class { key: (number % 200 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15), size: 0 };
        for number in 0..20_000 {
            now += 50;
            let choice = model.choose(&settings, &candidates, class(number), now, &mut random);
            let node = choice.expect("there are candidates").node;
            let ticket = model.begin(&settings, 0, node, class(number), Why::Chosen, now);
            if number % 1000 != 0 {
                model.end(&settings, 0, ticket, 500 + number * 37 % 1000, Outcome::Ok, now);
            }
        }
        let mut number = 0;
        let chosen = measure(|| {
            (number, now) = (number + 1, now + 13);
            black_box(model.choose(&settings, &candidates, class(number), now, &mut random));
        });
        println!("| (adaptive choice among {nodes} nodes) | | {} |", chosen.as_nanos());
        let learned = measure(|| {
            (number, now) = (number + 1, now + 13);
            let ticket = model.begin(&settings, 0, number as usize % nodes, class(number), Why::Chosen, now);
            model.end(&settings, 0, ticket, 700, Outcome::Ok, now);
        });
        println!("| (what a statement teaches, {nodes} nodes) | | {} |", learned.as_nanos());
    }
}
