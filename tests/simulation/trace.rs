//! What has happened, as text on demand, and as a number that is the same for two runs of one seed.

use super::network::{Arrival, End, Peer};
use super::schedule::{Micros, SECOND};

/// The trace of a run.
pub(super) struct Trace {
    is_on: bool,
    hash: u64,
}

impl Trace {
    pub(super) fn new(is_on: bool) -> Trace {
        Trace { is_on, hash: 0xcbf2_9ce4_8422_2325 }
    }

    /// Of everything that has arrived anywhere, and when.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    fn mix(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    /// Something that is worth a line.
    pub(super) fn note(&mut self, now: Micros, text: impl FnOnce() -> String) {
        if self.is_on {
            eprintln!("{:4}.{:06} {}", now / SECOND, now % SECOND, text());
        }
    }

    /// Something has arrived.
    pub(super) fn arrival(&mut self, now: Micros, connection: usize, peer: Peer, to: End, arrival: &Arrival) {
        self.mix(now);
        self.mix(connection as u64);
        if let Arrival::Bytes(bytes) = arrival {
            self.mix(bytes.len() as u64);
        }
        self.note(now, || {
            let what = match arrival {
                Arrival::Bytes(bytes) => shown(bytes),
                other => format!("{other:?}"),
            };
            format!("  [{connection} {peer:?}] to {to:?}: {what}")
        });
    }
}

fn shown(bytes: &[u8]) -> String {
    let text: String = bytes
        .iter()
        .take(160)
        .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { *byte as char } else { '.' })
        .collect();
    format!("{} bytes {text}", bytes.len())
}
