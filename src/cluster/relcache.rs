//! What the catalog says about functions and relations, remembered for a while.
//!
//! A cache a worker, keyed by database and name as written, before a table in shared memory that the workers fill
//! for each other (`enable_shared_relcache`). It asks nobody: on a miss the session runs [`question_sql`] on a node
//! and puts the answer. Answers hold for every search_path, because a name without a schema is asked for in all
//! schemas and the stricter answer wins. DDL that passes through any worker outdates the database's answers in all.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use lru::LruCache;
use sha2::{Digest, Sha256};

use crate::error::NodeId;
use crate::shm::{CatalogKey, Segment};
use crate::sql::{Facts, Name, ParseOutcome, facts, literal};

/// Something that only a database knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// What kind of function has that name?
    Function(Name),
    /// What kind of relation has that name?
    Relation(Name),
    /// Which temporary relations has this session? Never remembered here: it is a matter of the session.
    Temporary,
    /// How far has the primary written? Neither is this remembered here, nor the next.
    Written,
    /// How far has this node replayed?
    Replayed(NodeId),
    /// Is this node a standby?
    InRecovery(NodeId),
}

/// What the functions of a name may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volatility {
    /// None is volatile, and all are PostgreSQL's own.
    Harmless,
    /// None is volatile, but one is not PostgreSQL's: it may read any table.
    Reads,
    /// A volatile one of PostgreSQL itself: it writes no table and creates nothing that outlives the statement.
    Builtin,
    /// Another volatile one, or there is no function of that name: it may do anything.
    Volatile,
}

/// What the relations of a name are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Relation {
    /// One is unlogged, or has an unlogged partition or child.
    pub unlogged: bool,
    /// One stands in `pg_catalog` or `information_schema`.
    pub catalog: bool,
    /// One is a sequence, of which a standby knows a value that is up to 32 ahead.
    pub sequence: bool,
    /// To write one may write other tables, or the same rows under other names: it has triggers, cascades or rules, is a
    /// part of a partitioned table or has parts, or is a view.
    pub spreads: bool,
    /// The definitions of those that are views.
    pub views: Option<Rc<Facts>>,
}

/// The catalog of the session's database, as far as it is known here; `None`: it must be asked.
pub trait Catalog {
    /// What `function` may do.
    fn function(&self, function: &Name) -> Option<Volatility>;
    /// What `relation` is.
    fn relation(&self, relation: &Name) -> Option<Relation>;
}

/// Answers by database and question.
pub struct RelCache {
    // Only databases that a backend let a session into, so clients cannot make this grow.
    databases: Vec<Database>,
    places: HashMap<Box<str>, usize, RandomState>,
    /// The one that was asked for last.
    last: usize,
    size: usize,
    expire: Option<Duration>,
    /// Says when the answers of a database are outdated.
    segment: Segment,
    /// What other workers have asked is taken from there, and left there for them.
    shared: bool,
}

struct Database {
    name: Box<str>,
    /// Where its epoch stands.
    place: usize,
    /// The state of the catalog that the answers are of.
    epoch: u64,
    functions: Answers<Volatility>,
    relations: Answers<Relation>,
}

type Answers<T> = LruCache<Name, Entry<T>, RandomState>;

struct Entry<T> {
    known: T,
    at: Instant,
}

impl RelCache {
    /// At most `size` answers for each kind of question and database, each good for `expire`; a zero `expire`
    /// means for ever (`relcache_expire = 0`). `shared`: other workers' answers count as well.
    pub fn new(size: usize, expire: Duration, segment: Segment, shared: bool) -> RelCache {
        RelCache {
            databases: Vec::new(),
            places: HashMap::default(),
            last: 0,
            size: size.max(1),
            expire: (!expire.is_zero()).then_some(expire),
            segment,
            shared,
        }
    }

    /// An empty one for a session that knows more than others: it shares nothing.
    pub fn aside(&self) -> RelCache {
        RelCache::new(self.size, self.expire.unwrap_or_default(), self.segment, false)
    }

    /// The cache as the catalog of one database, for one decision.
    pub fn catalog<'a>(&'a mut self, database: &'a str, now: Instant) -> CachedCatalog<'a> {
        if self.databases.get(self.last).is_none_or(|last| *last.name != *database) {
            self.last = self.open(database);
        }
        let segment = &self.segment;
        let known = self.databases.get_mut(self.last).map(|known| {
            let epoch = segment.catalog_epoch(known.place);
            if known.epoch != epoch {
                known.forget(epoch);
            }
            RefCell::new(known)
        });
        let (size, expire) = (self.size, self.expire);
        let shared = self.shared.then_some(&self.segment);
        CachedCatalog { name: database, known, size, expire, shared, now }
    }

    /// A number that changes when the answers of a database are outdated. An answer is of the state at which it was
    /// asked for.
    pub fn epoch(&self, database: &str) -> u64 {
        self.segment.catalog_epoch(Segment::catalog_place(database))
    }

    fn open(&mut self, database: &str) -> usize {
        if let Some(known) = self.places.get(database) {
            return *known;
        }
        let (place, epoch) = (Segment::catalog_place(database), self.epoch(database));
        self.databases.push(Database::new(database, place, epoch));
        let at = self.databases.len() - 1;
        self.places.insert(Box::from(database), at);
        at
    }

    /// Remembers the value that [`question_sql`] gave at `epoch`, unless that is over.
    pub fn put(&mut self, database: &str, question: &Question, value: &[u8], epoch: u64, now: Instant) {
        let catalog = self.catalog(database, now);
        if catalog.known.as_ref().is_some_and(|known| known.borrow().epoch == epoch) {
            catalog.keep(question, value, now);
            catalog.share(question, value, epoch);
        }
    }

    /// Outdates the answers of a database in all workers: after DDL.
    pub fn outdate(&self, database: &str) {
        self.segment.outdate_catalog(database);
    }
}

impl Database {
    fn new(name: &str, place: usize, epoch: u64) -> Database {
        let functions = LruCache::unbounded_with_hasher(RandomState::default());
        let relations = LruCache::unbounded_with_hasher(RandomState::default());
        Database { name: Box::from(name), place, epoch, functions, relations }
    }

    fn forget(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.functions.clear();
        self.relations.clear();
    }
}

/// What [`RelCache`] knows of one database; see [`RelCache::catalog`].
pub struct CachedCatalog<'a> {
    name: &'a str,
    // A look-up moves the entry to the front, behind the `&self` of `Catalog`.
    known: Option<RefCell<&'a mut Database>>,
    size: usize,
    expire: Option<Duration>,
    shared: Option<&'a Segment>,
    now: Instant,
}

impl CachedCatalog<'_> {
    fn fresh<T: Clone>(&self, entry: Option<&Entry<T>>) -> Option<T> {
        let is_fresh =
            |at: Instant| self.expire.is_none_or(|expire| self.now.saturating_duration_since(at) < expire);
        entry.filter(|entry| is_fresh(entry.at)).map(|entry| entry.known.clone())
    }

    fn keep(&self, question: &Question, value: &[u8], at: Instant) {
        let Some(known) = &self.known else { return };
        let mut known = known.borrow_mut();
        match question {
            Question::Function(name) => {
                insert(&mut known.functions, name, Entry { known: volatility(value), at }, self.size);
            }
            Question::Relation(name) => {
                insert(&mut known.relations, name, Entry { known: relation(value), at }, self.size);
            }
            Question::Temporary | Question::Written | Question::Replayed(_) | Question::InRecovery(_) => {}
        }
    }

    fn share(&self, question: &Question, value: &[u8], epoch: u64) {
        if let (Some(segment), Some(key)) = (self.shared, key(self.name, question))
            && let Ok(value) = std::str::from_utf8(value)
        {
            segment.share_answer(key, epoch, value);
        }
    }

    /// Takes over what another worker has asked; whether there was something.
    fn inherit(&self, question: &Question) -> bool {
        let (Some(segment), Some(known)) = (self.shared, &self.known) else { return false };
        let epoch = known.borrow().epoch;
        let Some((value, age)) = key(self.name, question).and_then(|key| segment.shared_answer(key, epoch))
        else {
            return false;
        };
        if self.expire.is_some_and(|expire| age >= expire) {
            return false;
        }
        self.keep(question, value.as_bytes(), self.now.checked_sub(age).unwrap_or(self.now));
        true
    }
}

fn insert<T>(answers: &mut Answers<T>, name: &Name, entry: Entry<T>, size: usize) {
    answers.put(name.clone(), entry);
    if answers.len() > size {
        answers.pop_lru();
    }
}

impl Catalog for CachedCatalog<'_> {
    fn function(&self, function: &Name) -> Option<Volatility> {
        let find = || self.fresh(self.known.as_ref()?.borrow_mut().functions.get(function));
        find().or_else(|| self.inherit(&Question::Function(function.clone())).then(find).flatten())
    }

    fn relation(&self, relation: &Name) -> Option<Relation> {
        let find = || self.fresh(self.known.as_ref()?.borrow_mut().relations.get(relation));
        find().or_else(|| self.inherit(&Question::Relation(relation.clone())).then(find).flatten())
    }
}

/// What a shared answer is found by: too long for anybody to find a second question with the same one.
fn key(database: &str, question: &Question) -> Option<CatalogKey> {
    let (kind, name) = match question {
        Question::Function(name) => (b'f', name),
        Question::Relation(name) => (b'r', name),
        Question::Temporary | Question::Written | Question::Replayed(_) | Question::InRecovery(_) => {
            return None;
        }
    };
    let schema = name.schema.as_deref();
    let mut hash = Sha256::new();
    for part in [database, schema.unwrap_or_default(), &name.name] {
        hash.update(part.len().to_ne_bytes());
        hash.update(part);
    }
    hash.update([kind, u8::from(schema.is_some())]);
    let mut words = hash.finalize().into_iter().collect::<Vec<u8>>();
    words.truncate(16);
    Some(CatalogKey(u128::from_ne_bytes(words.try_into().ok()?)))
}

/// The query that answers `question`: one row of one column, whatever the search_path is.
///
/// A function that does not exist counts as volatile: it may be created before the answer expires, and the
/// primary is right for either kind. Not so in `pg_catalog`, where an older server lacks what the grammar
/// makes of `EXTRACT`, and not if a type has that name (`date(x)` is then a cast).
pub fn question_sql(question: &Question) -> String {
    match question {
        Question::Function(name) => function_sql(name),
        Question::Relation(name) => relation_sql(name),
        Question::Temporary => TEMPORARY_SQL.to_owned(),
        Question::Written => "SELECT pg_catalog.pg_current_wal_insert_lsn()".to_owned(),
        Question::Replayed(_) => "SELECT pg_catalog.pg_last_wal_replay_lsn()".to_owned(),
        Question::InRecovery(_) => "SELECT pg_catalog.pg_is_in_recovery()".to_owned(),
    }
}

/// 2: one that may do anything; 1: a volatile one of PostgreSQL; 3: one that reads; 0: none of these.
fn function_sql(name: &Name) -> String {
    let functions = format!(
        "SELECT 1 FROM pg_catalog.pg_proc WHERE proname OPERATOR(pg_catalog.=) {}{}",
        literal(&name.name),
        in_schema("pronamespace", name),
    );
    let missing = if name.schema.as_deref() == Some("pg_catalog") {
        String::new()
    } else {
        format!(
            " OR NOT (EXISTS ({functions}) OR EXISTS (SELECT 1 FROM pg_catalog.pg_type \
             WHERE typname OPERATOR(pg_catalog.=) {}{}))",
            literal(&name.name),
            in_schema("typnamespace", name),
        )
    };
    let volatile = format!("{functions} AND provolatile OPERATOR(pg_catalog.=) 'v'");
    format!(
        "SELECT CASE WHEN EXISTS ({volatile} AND pronamespace OPERATOR(pg_catalog.<>) {PG_CATALOG}){missing} THEN 2 \
         WHEN EXISTS ({volatile}) THEN 1 \
         WHEN EXISTS ({functions} AND provolatile OPERATOR(pg_catalog.=) 's' \
         AND pronamespace OPERATOR(pg_catalog.<>) {PG_CATALOG}) THEN 3 ELSE 0 END"
    )
}

/// Letters for what there is, a bar, and the definitions of the views, each of which ends with a semicolon.
fn relation_sql(name: &Name) -> String {
    // Its temporary relations are a matter of each session.
    let columns = "oid, relkind, relpersistence, relnamespace, relhasrules";
    let all = format!(
        "WITH RECURSIVE found AS (SELECT {columns} FROM pg_catalog.pg_class WHERE relname OPERATOR(pg_catalog.=) {}{} \
         AND relpersistence OPERATOR(pg_catalog.<>) 't' UNION SELECT c.oid, c.relkind, c.relpersistence, c.relnamespace, c.relhasrules \
         FROM found JOIN pg_catalog.pg_inherits ON inhparent OPERATOR(pg_catalog.=) found.oid \
         JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) inhrelid)",
        literal(&name.name),
        in_schema("relnamespace", name),
    );
    let ours = format!(
        "(relnamespace OPERATOR(pg_catalog.=) {PG_CATALOG} OR relnamespace OPERATOR(pg_catalog.=) (SELECT oid \
         FROM pg_catalog.pg_namespace WHERE nspname OPERATOR(pg_catalog.=) 'information_schema'))"
    );
    let spreads = "relhasrules OR EXISTS (SELECT 1 FROM pg_catalog.pg_inherits WHERE inhrelid OPERATOR(pg_catalog.=) found.oid \
                   OR inhparent OPERATOR(pg_catalog.=) found.oid) OR EXISTS (SELECT 1 FROM pg_catalog.pg_trigger \
                   JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) tgfoid WHERE tgrelid OPERATOR(pg_catalog.=) found.oid \
                   AND NOT (tgisinternal AND proname OPERATOR(pg_catalog.=) ANY (ARRAY['RI_FKey_check_ins', 'RI_FKey_check_upd', \
                   'RI_FKey_noaction_del', 'RI_FKey_noaction_upd', 'RI_FKey_restrict_del', 'RI_FKey_restrict_upd'])))";
    let letter = |letter: char, condition: &str| {
        format!("CASE WHEN EXISTS (SELECT 1 FROM found WHERE {condition}) THEN '{letter}' END")
    };
    format!(
        "{all} SELECT pg_catalog.concat({}, {}, {}, {}, '|', (SELECT pg_catalog.string_agg(pg_catalog.pg_get_viewdef(oid), ' ') \
         FROM found WHERE relkind OPERATOR(pg_catalog.=) 'v' AND NOT {ours}))",
        letter('u', "relpersistence OPERATOR(pg_catalog.=) 'u'"),
        letter('c', &ours),
        letter('s', "relkind OPERATOR(pg_catalog.=) 'S'"),
        letter('w', spreads),
    )
}

/// The names in hexadecimal, since they may hold anything, of relations, types and functions. A table of which a
/// temporary one inherits is one as well.
const TEMPORARY_SQL: &str = "WITH RECURSIVE found AS (SELECT oid FROM pg_catalog.pg_class \
    WHERE relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema() UNION SELECT inhparent FROM found \
    JOIN pg_catalog.pg_inherits ON inhrelid OPERATOR(pg_catalog.=) found.oid) SELECT pg_catalog.concat(' ', \
    (SELECT pg_catalog.string_agg(pg_catalog.encode(pg_catalog.convert_to(relname::pg_catalog.text, 'UTF8'), 'hex'), ' ') \
    FROM (SELECT relname FROM found JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) found.oid UNION SELECT typname \
    FROM pg_catalog.pg_type WHERE typnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema() AND typelem \
    OPERATOR(pg_catalog.=) 0 UNION SELECT proname FROM pg_catalog.pg_proc WHERE pronamespace OPERATOR(pg_catalog.=) \
    pg_catalog.pg_my_temp_schema()) AS names))";

/// Of the schema of that name, in every database.
const PG_CATALOG: u32 = 11;

/// What is not understood counts as the worst: the primary is then used.
fn volatility(value: &[u8]) -> Volatility {
    match value {
        b"0" => Volatility::Harmless,
        b"1" => Volatility::Builtin,
        b"3" => Volatility::Reads,
        _ => Volatility::Volatile,
    }
}

fn relation(value: &[u8]) -> Relation {
    let unknown = Relation { unlogged: true, spreads: true, ..Relation::default() };
    let Some((letters, views)) = std::str::from_utf8(value).ok().and_then(|text| text.split_once('|')) else {
        return unknown;
    };
    let views = facts(views);
    Relation {
        unlogged: letters.contains('u'),
        catalog: letters.contains('c'),
        sequence: letters.contains('s'),
        spreads: letters.contains('w'),
        views: (views.parse != ParseOutcome::Empty).then(|| Rc::new(views)),
    }
}

/// The names in the answer to [`Question::Temporary`]; `None` if it is not understood.
pub fn temporary(value: &[u8]) -> Option<Vec<Name>> {
    let text = std::str::from_utf8(value).ok()?;
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |digits: &[u8]| match digits {
        [high, low] => Some((digit(*high)? << 4) | digit(*low)?),
        _ => None,
    };
    let name = |hex: &str| {
        let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
        Some(Name::new(None, &String::from_utf8(bytes?).ok()?))
    };
    text.split_ascii_whitespace().map(name).collect()
}

fn in_schema(column: &str, name: &Name) -> String {
    name.schema.as_deref().map_or_else(String::new, |schema| {
        format!(
            " AND {column} OPERATOR(pg_catalog.=) (SELECT oid FROM pg_catalog.pg_namespace \
             WHERE nspname OPERATOR(pg_catalog.=) {})",
            literal(schema)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::Sizes;

    fn segment() -> Segment {
        Segment::create(Sizes { answers: 64, ..Sizes::default() }).unwrap()
    }

    fn cache(size: usize, expire: u64) -> RelCache {
        RelCache::new(size, Duration::from_secs(expire), segment(), false)
    }

    fn function(name: &str) -> Question {
        Question::Function(Name::new(None, name))
    }

    fn relation(name: &str) -> Question {
        Question::Relation(Name::new(None, name))
    }

    fn put(cache: &mut RelCache, database: &str, question: &Question, value: &str, now: Instant) {
        let epoch = cache.epoch(database);
        cache.put(database, question, value.as_bytes(), epoch, now);
    }

    fn get(cache: &mut RelCache, database: &str, name: &str, now: Instant) -> Option<Volatility> {
        cache.catalog(database, now).function(&Name::new(None, name))
    }

    #[test]
    fn answers_expire_and_are_kept_apart_by_database_and_kind() {
        let start = Instant::now();
        let mut cache = cache(10, 60);
        put(&mut cache, "a", &function("f"), "2", start);
        put(&mut cache, "a", &function("g"), "0", start);
        put(&mut cache, "a", &function("h"), "1", start);
        assert_eq!(get(&mut cache, "a", "f", start), Some(Volatility::Volatile));
        assert_eq!(get(&mut cache, "a", "g", start), Some(Volatility::Harmless));
        assert_eq!(get(&mut cache, "a", "h", start), Some(Volatility::Builtin));
        assert_eq!(get(&mut cache, "b", "f", start), None);
        assert_eq!(cache.catalog("a", start).relation(&Name::new(None, "f")), None);
        let qualified = Name::new(Some("s"), "f");
        assert_eq!(cache.catalog("a", start).function(&qualified), None, "a schema makes another question");
        let later = |seconds| start + Duration::from_secs(seconds);
        assert!(get(&mut cache, "a", "f", later(59)).is_some());
        assert_eq!(get(&mut cache, "a", "f", later(60)), None);
    }

    #[test]
    fn without_expiry_answers_hold_until_their_database_changes() {
        let start = Instant::now();
        let mut cache = cache(10, 0);
        put(&mut cache, "a", &function("f"), "2", start);
        put(&mut cache, "b", &function("f"), "2", start);
        assert!(get(&mut cache, "a", "f", start + Duration::from_secs(1 << 30)).is_some());
        let before = cache.epoch("a");
        cache.outdate("a");
        assert_eq!(get(&mut cache, "a", "f", start), None);
        assert!(get(&mut cache, "b", "f", start).is_some());
        cache.put("a", &function("f"), b"0", before, start);
        assert_eq!(get(&mut cache, "a", "f", start), None, "asked before the change, answered behind it");
    }

    #[test]
    fn the_longest_unused_goes_first() {
        let start = Instant::now();
        let mut cache = cache(2, 0);
        put(&mut cache, "a", &function("f"), "2", start);
        put(&mut cache, "a", &function("g"), "2", start);
        get(&mut cache, "a", "f", start);
        put(&mut cache, "a", &function("h"), "2", start);
        put(&mut cache, "a", &relation("r"), "|", start);
        assert_eq!(get(&mut cache, "a", "g", start), None);
        assert!(get(&mut cache, "a", "f", start).is_some());
    }

    #[test]
    fn workers_take_answers_from_each_other_while_they_hold() {
        let (start, segment) = (Instant::now(), segment());
        let worker = |shared, expire| RelCache::new(10, Duration::from_secs(expire), segment, shared);
        let (mut one, mut two, mut alone) = (worker(true, 0), worker(true, 0), worker(false, 0));
        put(&mut one, "a", &function("f"), "1", start);
        put(&mut one, "a", &relation("v"), "u|SELECT x FROM t;", start);
        put(&mut one, "a", &relation("long"), &format!("|SELECT {};", "1,".repeat(4000)), start);
        let name = |name| Name::new(None, name);
        assert_eq!(get(&mut two, "a", "f", start), Some(Volatility::Builtin));
        let view = two.catalog("a", start).relation(&name("v")).unwrap();
        assert!(view.unlogged && view.views.unwrap().statements[0].relations == [name("t")]);
        assert!(one.catalog("a", start).relation(&name("long")).is_some());
        assert_eq!(two.catalog("a", start).relation(&name("long")), None, "too long to be shared");
        assert_eq!(two.catalog("a", start).relation(&name("f")), None);
        assert_eq!(two.catalog("b", start).function(&name("f")), None);
        assert_eq!(two.catalog("a", start).function(&Name::new(Some(""), "f")), None);
        assert_eq!(get(&mut alone, "a", "f", start), None);
        alone.outdate("a");
        for worker in [&mut one, &mut two] {
            assert_eq!(get(worker, "a", "f", start), None, "what one has changed is outdated for all");
        }
    }

    #[test]
    fn relations_as_the_catalog_describes_them() {
        let read = |value: &str| super::relation(value.as_bytes());
        assert_eq!(read("|"), Relation::default());
        assert_eq!(read("c|"), Relation { catalog: true, ..Relation::default() });
        assert_eq!(read("us|"), Relation { unlogged: true, sequence: true, ..Relation::default() });
        assert_eq!(read("w|"), Relation { spreads: true, ..Relation::default() });
        let views = read("| SELECT f(x) FROM t; SELECT 1 FROM u;").views.unwrap();
        assert_eq!(views.statements.len(), 2);
        assert_eq!(read("| SELECT from from;").views.unwrap().parse, ParseOutcome::Failed);
        assert!(read("").unlogged && super::relation(b"\xff").unlogged);
    }

    #[test]
    fn temporary_relations_by_any_name() {
        assert_eq!(temporary(b" "), Some(Vec::new()));
        assert_eq!(temporary(b" 6120 c3a4"), Some(vec![Name::new(None, "a "), Name::new(None, "\u{e4}")]));
        for wrong in [&b"x"[..], b"6", b"ff", b"+1", b"\xff"] {
            assert_eq!(temporary(wrong), None);
        }
    }

    #[test]
    fn names_cannot_break_out_of_the_question() {
        for nasty in ["x'; DROP TABLE t; --", r"\'; DROP TABLE t; --", "\u{e9}'\\"] {
            for schema in [None, Some(nasty)] {
                for question in [
                    Question::Function(Name::new(schema, nasty)),
                    Question::Relation(Name::new(schema, nasty)),
                    Question::Temporary,
                ] {
                    let sql = question_sql(&question);
                    let facts = crate::sql::facts(&sql);
                    let one = facts.single().unwrap_or_else(|| panic!("not one statement: {sql}"));
                    assert_eq!(one.kind, crate::sql::Kind::Select);
                    let ours = |name: &Name| name.schema.as_deref() == Some("pg_catalog");
                    assert!(one.functions.iter().all(ours) && one.relations.iter().all(ours), "{sql}");
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
        for value in [b"2".as_slice(), b"", b"x"] {
            assert_eq!(volatility(value), Volatility::Volatile);
        }
    }
}
