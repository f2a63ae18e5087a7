//! Any text as a configuration file: it is read or refused with a line number, and nothing panics.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = pgbalancer::config::parse_text(text, Path::new("fuzz.conf"), &|_| Err(std::io::ErrorKind::NotFound.into()));
});
