//! Which tables a statement writes, for those who remember tables and not just that something was written.
#![forbid(unsafe_code)]

use super::RouteConfig;
use crate::config::Relationship;
use crate::sql::{Kind, Name, Statement};

/// What the sessions have written lately, all together.
pub trait Writes {
    /// Whether a table was written so short ago that a standby may not have it; `None`: whether any may.
    fn lately(&self, table: Option<&Name>) -> bool;
    /// The newest commit that has written a table.
    fn last_commit(&self, table: &Name) -> u64;
    /// The newest commit of all.
    fn newest_commit(&self) -> u64;
}

/// Nobody has written anything.
pub struct NothingWritten;

impl Writes for NothingWritten {
    fn lately(&self, _: Option<&Name>) -> bool {
        false
    }

    fn last_commit(&self, _: &Name) -> u64 {
        0
    }

    fn newest_commit(&self) -> u64 {
        0
    }
}

/// Tables and functions with the tables that are written along with them.
#[derive(Clone, Debug, Default)]
pub struct Relationships {
    items: Vec<(Name, bool, Name)>,
}

impl Relationships {
    /// Prepares `dml_adaptive_object_relationship_list`.
    pub fn new(items: &[Relationship]) -> Relationships {
        let prepare = |item: &Relationship| (name(&item.object), item.is_function, name(&item.dependent));
        Relationships { items: items.iter().map(prepare).collect() }
    }

    /// Whether it is known what a function writes.
    pub(super) fn knows(&self, function: &Name) -> bool {
        self.items.iter().any(|(object, is_function, _)| *is_function && same_table(object, function))
    }

    /// Whether it is known what is written along with a table.
    pub(super) fn knows_table(&self, table: &Name) -> bool {
        self.items.iter().any(|(object, is_function, _)| !is_function && same_table(object, table))
    }
}

/// The tables that a statement writes, and those that the configuration ties to them.
pub fn tables_written(statement: &Statement, config: &RouteConfig) -> Vec<Name> {
    let mut tables = statement.written.clone();
    if let Kind::Explain { inner, .. } | Kind::Prepare { inner, .. } | Kind::Declare { inner, .. } =
        &statement.kind
    {
        tables.extend(tables_written(inner, config));
    }
    let items = &config.relationships.items;
    let called = |object: &Name| statement.functions.iter().any(|function| same_table(object, function));
    for (object, is_function, dependent) in items {
        if *is_function && called(object) && !tables.contains(dependent) {
            tables.push(dependent.clone());
        }
    }
    // What is written along may have its own company.
    let mut at = 0;
    while let Some(table) = tables.get(at).cloned() {
        at += 1;
        for (object, is_function, dependent) in items {
            if !is_function && same_table(object, &table) && !tables.contains(dependent) {
                tables.push(dependent.clone());
            }
        }
    }
    tables
}

/// Whether two names may mean the same table: a search_path can give one without a schema any.
pub fn same_table(one: &Name, other: &Name) -> bool {
    one.name == other.name && (one.schema.is_none() || other.schema.is_none() || one.schema == other.schema)
}

fn name(text: &str) -> Name {
    let text = text.to_lowercase();
    match text.rsplit_once('.') {
        Some((schema, name)) => Name::new(Some(schema.trim()), name.trim()),
        None => Name::new(None, &text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::facts;

    #[test]
    fn tables_come_with_what_is_tied_to_them() {
        let list = "orders:totals,totals:reports,reports:orders,log_it():audit,s.put():s.kept";
        let relationships = Relationships::new(&crate::config::relationships(list).unwrap());
        let config = RouteConfig { relationships, ..RouteConfig::default() };
        let tables = |text: &str| {
            let names: Vec<String> =
                tables_written(facts(text).single().unwrap(), &config).iter().map(Name::to_string).collect();
            names.join(" ")
        };
        assert_eq!(tables("INSERT INTO orders VALUES (1)"), "orders totals reports");
        assert_eq!(tables("UPDATE public.totals SET x = 1"), "public.totals reports orders totals");
        assert_eq!(tables("DELETE FROM other"), "other");
        assert_eq!(tables("SELECT log_it(), put()"), "audit s.kept");
        assert_eq!(tables("EXPLAIN ANALYZE INSERT INTO other VALUES (1)"), "other");
        assert_eq!(tables("WITH c AS (DELETE FROM a RETURNING *) INSERT INTO b TABLE c"), "b a");
        assert_eq!(tables("DROP TABLE a, b"), "a b");
        assert_eq!(tables("SELECT 1"), "");
        assert!(config.relationships.knows(&Name::new(Some("x"), "log_it")));
        assert!(!config.relationships.knows(&Name::new(Some("x"), "put")));
    }
}
