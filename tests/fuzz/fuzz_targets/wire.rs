//! Any bytes from a client or a server: parsers refuse or understand, they never panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgbalancer::wire::{backend, frame, frontend, startup};

fuzz_target!(|bytes: &[u8]| {
    let _ = frame::header(bytes);
    let _ = frame::startup_length(bytes);
    let _ = startup::parse(bytes);
    let _ = frontend::query(bytes);
    let _ = frontend::parse(bytes);
    let _ = frontend::bind_head(bytes);
    let _ = frontend::describe(bytes);
    let _ = frontend::close(bytes);
    let _ = frontend::execute(bytes);
    let _ = frontend::password(bytes);
    let _ = frontend::sasl_initial(bytes);
    let _ = backend::ready(bytes);
    let _ = backend::command_tag(bytes);
    let _ = backend::parameter_status(bytes);
    let _ = backend::key_data(bytes);
    let _ = backend::authentication(bytes);
    let _ = backend::error(bytes);
    let _ = backend::data_row(bytes);
    let _ = backend::negotiate(bytes);
});
