//! Ports nobody listens on, below the range the kernel takes for outgoing connections.
//!
//! Each process goes through the range from a place of its own, so that processes that start together do not meet.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) fn free() -> u16 {
    let start = std::process::id().wrapping_mul(379);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + start.wrapping_add(step) % COUNT) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}
