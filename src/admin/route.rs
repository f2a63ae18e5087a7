//! Where a statement of a new session would go, as far as that can be told without the catalog.
#![forbid(unsafe_code)]

use std::cell::RefCell;

use serde::Serialize;

use super::Context;
use super::learned::NodeScore;
use crate::error::NodeId;
use crate::route::{
    self, Catalog, ClusterView, Relation, RouteConfig, SessionView, Target, Volatility, choose_balance_node,
    node_for_read,
};
use crate::sql::{self, Name};
use crate::sys::clock;

/// A statement, and whose it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct RouteQuestion<'a> {
    /// The statement.
    pub sql: &'a str,
    /// Who runs it; these three count for the lists of preferences.
    pub user: &'a str,
    /// Where.
    pub database: &'a str,
    /// With which application.
    pub application: &'a str,
}

/// Where it would go.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteReport {
    /// The node; for a read the one that this session has drawn. None: no node can serve it.
    pub node: Option<NodeId>,
    /// The part that the node plays.
    pub target: String,
    /// The rule, in a word.
    pub rule: String,
    /// The rule, in a sentence.
    pub reason: String,
    /// The nodes that could serve a read.
    pub candidates: Vec<NodeId>,
    /// What was learnt of those nodes, for such a statement; empty where nothing is learnt.
    pub scores: Vec<NodeScore>,
    /// What only the catalog knows and was taken to be so.
    pub assumed: Vec<String>,
}

/// Where the statement would go; `draw` in 0..1 chooses the node for reads.
pub fn route(context: &Context<'_>, question: &RouteQuestion<'_>, draw: f64) -> RouteReport {
    let config = RouteConfig::from(context.config);
    let cluster = ClusterView::of(context.segment, context.config);
    let preference = route::preference(&config, question.user, question.database, question.application);
    let (facts, catalog) = (sql::facts(question.sql), Assuming::default());
    let class = facts.fingerprint(question.sql.as_bytes()).into();
    let (mut scores, model) = (Vec::new(), route::model(context.segment).filter(|_| config.learns()));
    let (now, mut random) = (clock::monotonic_micros(), draw.to_bits());
    let balance = choose_balance_node(&cluster, &config, preference, draw, &mut |number, may| {
        let Some(model) = model else { return route::draw_by_weight(&cluster, number, may) };
        let candidates: Vec<_> = route::candidates(&cluster, &config, may).collect();
        scores = model.scores(&config.learning, &candidates, class, now);
        // Numbers that follow from the draw (Knuth's MMIX).
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            random
        };
        model.choose(&config.learning, &candidates, class, now, &mut next).map(|choice| choice.node)
    });
    let session = SessionView { balance_node: balance, ..SessionView::idle() };
    let text = question.sql.as_bytes();
    let explained = route::explain(&facts, text, &session, &cluster, &config, &catalog);
    let assumed = catalog.assumed.into_inner();
    let Ok(explained) = explained else {
        return RouteReport {
            node: None,
            target: String::new(),
            rule: "ask".to_owned(),
            reason: "only a session can tell, which knows how far the servers are".to_owned(),
            candidates: Vec::new(),
            scores: Vec::new(),
            assumed,
        };
    };
    let node = match &explained.route.target {
        Target::Balance => balance.map(|node| node_for_read(&cluster, &config, node).0),
        Target::Node(node) => Some(*node),
        Target::Primary | Target::Everywhere | Target::Prepared(_) => cluster.writer(),
    };
    RouteReport {
        node,
        target: explained.target(),
        rule: explained.route.reason.rule(),
        reason: explained.route.reason.to_string(),
        candidates: explained.candidates,
        scores: scores.into_iter().map(NodeScore::from).collect(),
        assumed,
    }
}

/// Says of everything that it is what most of its kind are, and remembers what was asked.
#[derive(Default)]
struct Assuming {
    assumed: RefCell<Vec<String>>,
}

/// PostgreSQL's own functions that are volatile, as far as statements of everyday use call them.
const VOLATILE: &[&str] = &[
    "clock_timestamp",
    "gen_random_uuid",
    "nextval",
    "random",
    "set_config",
    "setval",
    "timeofday",
    "txid_current",
    "pg_current_xact_id",
    "pg_notify",
    "pg_sleep",
];

impl Assuming {
    fn note(&self, text: String) {
        let mut assumed = self.assumed.borrow_mut();
        if !assumed.contains(&text) {
            assumed.push(text);
        }
    }
}

impl Catalog for Assuming {
    fn function(&self, function: &Name) -> Option<Volatility> {
        let is_volatile = VOLATILE.contains(&&*function.name) || function.name.starts_with("pg_advisory_");
        self.note(format!("function {function} is {}volatile", if is_volatile { "" } else { "not " }));
        Some(if is_volatile { Volatility::Builtin } else { Volatility::Harmless })
    }

    fn relation(&self, relation: &Name) -> Option<Relation> {
        let schema = relation.schema.as_deref().unwrap_or_default();
        let catalog = matches!(schema, "pg_catalog" | "information_schema")
            || schema.is_empty() && relation.name.starts_with("pg_");
        self.note(format!("{relation} is {}", if catalog { "of the catalog" } else { "an ordinary table" }));
        Some(Relation { catalog, ..Relation::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, context, segment};
    use super::*;

    fn of(conf: &str, sql: &str, user: &str, draw: f64) -> RouteReport {
        let (segment, config) = (segment(1), config(conf));
        let question = RouteQuestion { sql, user, ..RouteQuestion::default() };
        route(&context(&segment, &config), &question, draw)
    }

    #[test]
    fn reads_are_drawn_and_writes_go_to_the_primary() {
        assert_eq!(of("", "SELECT * FROM t", "", 0.1).node, Some(0));
        let read = of("", "SELECT count(*) FROM t", "", 0.9);
        assert_eq!((read.node, read.candidates.len()), (Some(1), 2));
        assert!(read.assumed.contains(&"t is an ordinary table".to_owned()), "{read:?}");
        for write in ["INSERT INTO t VALUES (1)", "SELECT nextval('s')", "SELECT 1 FOR UPDATE", "nonsense"] {
            let write = of("", write, "", 0.9);
            assert_eq!(write.node, Some(0), "{write:?}");
            assert!(!write.rule.is_empty() && !write.reason.is_empty(), "{write:?}");
        }
    }

    #[test]
    fn preferences_of_a_user_count() {
        let conf = "user_redirect_preference_list = 'ann:primary'";
        assert_eq!(of(conf, "SELECT 1", "ann", 0.9).node, Some(0));
        assert_eq!(of(conf, "SELECT 1", "bob", 0.9).node, Some(1));
    }
}
