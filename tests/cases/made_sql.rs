//! Statements made at random by a grammar: what is found out about them is bounded, soon, and the same each time.
//!
//! `MADE_SQL_SECONDS=600` goes on for so long. The fuzz target `grammar` makes the same statements.

use std::time::{Duration, Instant};

use pgbalancer::sql::{Facts, Kind, ParseOutcome, Statement, facts};

#[path = "../fuzz/sql.rs"]
mod sql;

/// xorshift64*, as in the program.
struct Random(u64);

impl Random {
    fn bytes(&mut self) -> Vec<u8> {
        let mut next = || {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
        };
        let count = 1 + next() % 40;
        (0..count).flat_map(|_| next().to_ne_bytes()).collect()
    }
}

/// Names that are kept of a statement and of those within.
fn names(statement: &Statement) -> usize {
    let own = statement.relations.len()
        + statement.functions.len()
        + statement.written.len()
        + statement.drops.len();
    own + match &statement.kind {
        Kind::Prepare { inner, .. } | Kind::Declare { inner, .. } | Kind::Explain { inner, .. } => {
            names(inner)
        }
        _ => 0,
    }
}

fn check(text: &str) -> Facts {
    let began = Instant::now();
    let found = facts(text);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?} for {text}", began.elapsed());
    for statement in &found.statements {
        // Twice what is followed, since what is written is named twice, and what a list of DROP holds.
        assert!(names(statement) <= 2100 + text.matches(',').count(), "{} names in {text}", names(statement));
    }
    assert!(found == facts(text), "not the same twice: {text}");
    found
}

#[test]
fn any_made_statement_is_classified_within_bounds() {
    let seconds = std::env::var("MADE_SQL_SECONDS").ok().and_then(|text| text.parse().ok());
    let (mut random, began) = (Random(42), Instant::now());
    let (mut made, mut understood, mut reads) = (0_u64, 0_u64, 0_u64);
    loop {
        let found = check(&sql::make(&random.bytes()));
        made += 1;
        understood += u64::from(found.parse == ParseOutcome::Ok);
        reads += u64::from(found.statements.iter().any(|statement| statement.kind == Kind::Select));
        match seconds {
            Some(seconds) if began.elapsed() < Duration::from_secs(seconds) => {}
            None if made < 20_000 => {}
            _ => break,
        }
    }
    eprintln!("{made} texts, {understood} understood, {reads} with a read");
    assert!(
        understood > made / 4 && reads > made / 10,
        "{made} texts, {understood} understood, {reads} with a read"
    );
}
