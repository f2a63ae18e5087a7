//! Statements that the grammar knows, and near misses: the facts are found without a panic, and stay within bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../sql.rs"]
mod sql;

fuzz_target!(|bytes: &[u8]| {
    let _ = pgbalancer::sql::facts(&sql::make(bytes));
});
