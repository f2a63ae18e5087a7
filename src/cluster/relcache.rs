//! What the catalog says about functions and relations, remembered for a while.
//!
//! One cache a worker, keyed by database and name as written. It asks nobody: on a miss the session runs
//! [`question_sql`] on a node and puts the [`answer`]. Answers hold for every search_path, because a name
//! without a schema is asked for in all schemas and the stricter answer wins.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use lru::LruCache;

use crate::sql::Name;

/// Something that only the catalog of a database knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// Is a function of that name volatile?
    Function(Name),
    /// Is a relation of that name unlogged?
    Relation(Name),
}

/// What is known of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is so.
    Yes,
    /// It is not so.
    No,
    /// The catalog must be asked.
    Ask,
}

/// The catalog of the session's database, as far as it is known here.
pub trait Catalog {
    /// Whether `function` is volatile.
    fn volatility(&self, function: &Name) -> Known;
    /// Whether `relation` is unlogged.
    fn unlogged(&self, relation: &Name) -> Known;
}

/// Answers by database and question.
pub struct RelCache {
    // Only databases that a backend let a session into, so clients cannot make this grow.
    databases: HashMap<Box<str>, Database, RandomState>,
    size: usize,
    expire: Option<Duration>,
}

struct Database {
    functions: LruCache<Name, Entry, RandomState>,
    relations: LruCache<Name, Entry, RandomState>,
}

struct Entry {
    yes: bool,
    at: Instant,
}

impl RelCache {
    /// At most `size` answers for each kind of question and database, each good for `expire`; a zero `expire`
    /// means for ever (`relcache_expire = 0`).
    pub fn new(size: usize, expire: Duration) -> RelCache {
        RelCache {
            databases: HashMap::default(),
            size: size.max(1),
            expire: (!expire.is_zero()).then_some(expire),
        }
    }

    /// What is known of `question` in `database`.
    pub fn get(&mut self, database: &str, question: &Question, now: Instant) -> Known {
        let catalog = self.catalog(database, now);
        match question {
            Question::Function(name) => catalog.volatility(name),
            Question::Relation(name) => catalog.unlogged(name),
        }
    }

    /// The cache as the catalog of one database, for one decision.
    pub fn catalog(&mut self, database: &str, now: Instant) -> CachedCatalog<'_> {
        let expire = self.expire;
        CachedCatalog { database: self.databases.get_mut(database).map(RefCell::new), expire, now }
    }

    /// Remembers an answer.
    pub fn put(&mut self, database: &str, question: Question, yes: bool, now: Instant) {
        let known = self.databases.entry(Box::from(database)).or_insert_with(|| Database {
            functions: LruCache::unbounded_with_hasher(RandomState::default()),
            relations: LruCache::unbounded_with_hasher(RandomState::default()),
        });
        let (entries, name) = match question {
            Question::Function(name) => (&mut known.functions, name),
            Question::Relation(name) => (&mut known.relations, name),
        };
        entries.put(name, Entry { yes, at: now });
        if entries.len() > self.size {
            entries.pop_lru();
        }
    }

    /// Forgets all of a database: after DDL, and when it is dropped.
    pub fn clear_database(&mut self, database: &str) {
        self.databases.remove(database);
    }
}

/// What [`RelCache`] knows of one database; see [`RelCache::catalog`].
pub struct CachedCatalog<'a> {
    // A look-up moves the entry to the front, behind the `&self` of `Catalog`.
    database: Option<RefCell<&'a mut Database>>,
    expire: Option<Duration>,
    now: Instant,
}

impl CachedCatalog<'_> {
    fn known(&self, entry: Option<&Entry>) -> Known {
        match entry {
            Some(entry) if self.expire.is_none_or(|e| self.now.saturating_duration_since(entry.at) < e) => {
                if entry.yes {
                    Known::Yes
                } else {
                    Known::No
                }
            }
            _ => Known::Ask,
        }
    }
}

impl Catalog for CachedCatalog<'_> {
    fn volatility(&self, function: &Name) -> Known {
        let Some(database) = &self.database else { return Known::Ask };
        self.known(database.borrow_mut().functions.get(function))
    }

    fn unlogged(&self, relation: &Name) -> Known {
        let Some(database) = &self.database else { return Known::Ask };
        self.known(database.borrow_mut().relations.get(relation))
    }
}

/// The query that answers `question`: one row of one column, 1 or 0, whatever the search_path is.
///
/// A function that does not exist counts as volatile: it may be created before the answer expires, and the
/// primary is right for either kind. Not so in `pg_catalog`, where an older server lacks what the grammar
/// makes of `EXTRACT`, and not if a type has that name (`date(x)` is then a cast).
pub fn question_sql(question: &Question) -> String {
    match question {
        Question::Function(name) => {
            let functions = format!(
                "SELECT 1 FROM pg_catalog.pg_proc WHERE proname OPERATOR(pg_catalog.=) {}{}",
                quote(&name.name),
                in_schema("pronamespace", name),
            );
            let missing = if name.schema.as_deref() == Some("pg_catalog") {
                String::new()
            } else {
                format!(
                    " OR NOT (EXISTS ({functions}) OR EXISTS (SELECT 1 FROM pg_catalog.pg_type \
                     WHERE typname OPERATOR(pg_catalog.=) {}{}))",
                    quote(&name.name),
                    in_schema("typnamespace", name),
                )
            };
            format!(
                "SELECT CASE WHEN EXISTS ({functions} AND provolatile OPERATOR(pg_catalog.=) 'v'){missing} \
                 THEN 1 ELSE 0 END"
            )
        }
        Question::Relation(name) => format!(
            "SELECT CASE WHEN EXISTS (SELECT 1 FROM pg_catalog.pg_class WHERE relname OPERATOR(pg_catalog.=) {}{} \
             AND relpersistence OPERATOR(pg_catalog.=) 'u') THEN 1 ELSE 0 END",
            quote(&name.name),
            in_schema("relnamespace", name),
        ),
    }
}

/// The answer in the value that the query gave. What is not understood counts as yes: the primary is then used.
pub fn answer(_question: &Question, value: &[u8]) -> bool {
    value != b"0"
}

fn in_schema(column: &str, name: &Name) -> String {
    name.schema.as_deref().map_or_else(String::new, |schema| {
        format!(
            " AND {column} OPERATOR(pg_catalog.=) (SELECT oid FROM pg_catalog.pg_namespace \
             WHERE nspname OPERATOR(pg_catalog.=) {})",
            quote(schema)
        )
    })
}

/// A literal that reads the same under both settings of standard_conforming_strings.
fn quote(text: &str) -> String {
    let escaped = text.replace('\'', "''");
    if escaped.contains('\\') {
        format!("E'{}'", escaped.replace('\\', "\\\\"))
    } else {
        format!("'{escaped}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str) -> Question {
        Question::Function(Name::new(None, name))
    }

    #[test]
    fn answers_expire_and_are_kept_apart_by_database_and_kind() {
        let start = Instant::now();
        let mut cache = RelCache::new(10, Duration::from_secs(60));
        cache.put("a", function("f"), true, start);
        cache.put("a", function("g"), false, start);
        assert_eq!(cache.get("a", &function("f"), start), Known::Yes);
        assert_eq!(cache.get("a", &function("g"), start), Known::No);
        assert_eq!(cache.get("b", &function("f"), start), Known::Ask);
        assert_eq!(cache.get("a", &Question::Relation(Name::new(None, "f")), start), Known::Ask);
        assert_eq!(
            cache.get("a", &Question::Function(Name::new(Some("s"), "f")), start),
            Known::Ask,
            "a schema makes another question"
        );
        assert_eq!(cache.get("a", &function("f"), start + Duration::from_secs(59)), Known::Yes);
        assert_eq!(cache.get("a", &function("f"), start + Duration::from_secs(60)), Known::Ask);
    }

    #[test]
    fn without_expiry_answers_hold_until_their_database_is_cleared() {
        let start = Instant::now();
        let mut cache = RelCache::new(10, Duration::ZERO);
        cache.put("a", function("f"), true, start);
        cache.put("b", function("f"), true, start);
        assert_eq!(cache.get("a", &function("f"), start + Duration::from_secs(1 << 30)), Known::Yes);
        cache.clear_database("a");
        assert_eq!(cache.get("a", &function("f"), start), Known::Ask);
        assert_eq!(cache.get("b", &function("f"), start), Known::Yes);
    }

    #[test]
    fn the_longest_unused_goes_first() {
        let start = Instant::now();
        let mut cache = RelCache::new(2, Duration::ZERO);
        cache.put("a", function("f"), true, start);
        cache.put("a", function("g"), true, start);
        cache.get("a", &function("f"), start);
        cache.put("a", function("h"), true, start);
        cache.put("a", Question::Relation(Name::new(None, "r")), true, start);
        assert_eq!(cache.get("a", &function("g"), start), Known::Ask);
        assert_eq!(cache.get("a", &function("f"), start), Known::Yes);
    }

    #[test]
    fn names_cannot_break_out_of_the_question() {
        assert_eq!(quote("plain"), "'plain'");
        assert_eq!(quote("o'clock"), "'o''clock'");
        assert_eq!(quote(r"a\'b"), r"E'a\\''b'");
        for nasty in ["x'; DROP TABLE t; --", r"\'; DROP TABLE t; --", "\u{e9}'\\"] {
            for schema in [None, Some(nasty)] {
                for question in [
                    Question::Function(Name::new(schema, nasty)),
                    Question::Relation(Name::new(schema, nasty)),
                ] {
                    let sql = question_sql(&question);
                    let facts = crate::sql::facts(&sql);
                    let one = facts.single().unwrap_or_else(|| panic!("not one statement: {sql}"));
                    assert_eq!(one.kind, crate::sql::Kind::Select);
                    assert!(one.functions.is_empty());
                    assert!(one.relations.iter().all(|r| r.schema.as_deref() == Some("pg_catalog")));
                }
            }
        }
    }

    #[test]
    fn only_what_may_still_be_created_counts_when_missing() {
        let asks_for_missing =
            |schema| question_sql(&Question::Function(Name::new(schema, "f"))).contains("NOT");
        assert!(asks_for_missing(None) && asks_for_missing(Some("s")));
        assert!(!asks_for_missing(Some("pg_catalog")));
    }

    #[test]
    fn a_strange_answer_sends_to_the_primary() {
        assert!(!answer(&function("f"), b"0"));
        for value in [b"1".as_slice(), b"", b"x"] {
            assert!(answer(&function("f"), value));
        }
    }
}
