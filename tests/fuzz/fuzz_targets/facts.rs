//! Any text as a statement: the grammar's verdict is read without a panic and without a deep stack.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = pgbalancer::sql::facts(text);
});
