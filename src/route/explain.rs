//! A decision with all that it rests on, for people: `PGPOOL EXPLAIN ROUTE`, and the rule table of the documents.
#![forbid(unsafe_code)]

use super::{
    Catalog, ClusterView, Decision, Question, Route, RouteConfig, SessionView, Target, Volatility, Write,
    decide,
};
use crate::error::NodeId;
use crate::sql::{Facts, Kind, Name, Statement};

/// Where a text goes, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The decision.
    pub route: Route,
    /// The nodes that could serve a read, best known first: those that are usable and have a weight.
    pub candidates: Vec<NodeId>,
    /// The relations that it names, and those of the views among them.
    pub relations: Vec<Name>,
    /// The functions that it calls, there as well.
    pub functions: Vec<(Name, Option<Volatility>)>,
}

/// Explains where the statements of `text` go, whose facts these are. The error is what only the catalog knows.
pub fn explain(
    facts: &Facts,
    text: &[u8],
    session: &SessionView<'_>,
    cluster: &ClusterView,
    config: &RouteConfig,
    catalog: &dyn Catalog,
) -> Result<Explanation, Vec<Question>> {
    let route = match decide(facts, text, session, cluster, config, catalog) {
        Decision::Go(route) => route,
        Decision::Ask(questions) => return Err(questions),
    };
    let candidates = cluster.nodes.iter().filter(|node| node.usable && node.weight > 0.0);
    let mut explanation = Explanation {
        route,
        candidates: candidates.map(|node| node.id).collect(),
        relations: Vec::new(),
        functions: Vec::new(),
    };
    for statement in &facts.statements {
        explanation.add(statement, catalog);
    }
    Ok(explanation)
}

impl Explanation {
    fn add(&mut self, statement: &Statement, catalog: &dyn Catalog) {
        for name in &statement.functions {
            if !self.functions.iter().any(|(known, _)| known == name) {
                self.functions.push((name.clone(), catalog.function(name)));
            }
        }
        for name in &statement.relations {
            if self.relations.contains(name) {
                continue;
            }
            self.relations.push(name.clone());
            let views = catalog.relation(name).and_then(|relation| relation.views);
            for inner in views.iter().flat_map(|facts| &facts.statements) {
                self.add(inner, catalog);
            }
        }
        if let Kind::Prepare { inner, .. } | Kind::Declare { inner, .. } | Kind::Explain { inner, .. } =
            &statement.kind
        {
            self.add(inner, catalog);
        }
    }

    /// What the statement counts as afterwards, in a word.
    pub fn write(&self) -> &'static str {
        match self.route.write {
            Write::No => "no",
            Write::State => "state of the session",
            Write::Known => "yes",
            Write::Opaque => "anything",
        }
    }

    /// The part that the node plays, in a word or two.
    pub fn target(&self) -> String {
        match &self.route.target {
            Target::Primary => "primary".to_owned(),
            Target::Balance => "load balance node".to_owned(),
            Target::Everywhere => "primary, the others before their next statement".to_owned(),
            Target::Node(node) => format!("node {node}"),
            Target::Prepared(name) => format!("where {name} was prepared"),
        }
    }

    /// The names of the relations.
    pub fn relations_text(&self) -> String {
        self.relations.iter().map(Name::to_string).collect::<Vec<_>>().join(", ")
    }

    /// The functions with what is known of them.
    pub fn functions_text(&self) -> String {
        let one = |(name, volatility): &(Name, Option<Volatility>)| match volatility {
            Some(Volatility::Harmless | Volatility::Reads) => format!("{name} (not volatile)"),
            Some(Volatility::Builtin | Volatility::Volatile) => format!("{name} (volatile)"),
            None => format!("{name} (not asked)"),
        };
        self.functions.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}
