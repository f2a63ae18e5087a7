//! `pgpool_status`: which nodes were in use when the program ran last. The text only; the supervisor reads and writes.
//!
//! One line a node, by its number: `up`, `down` or `unused` (src/main/pgpool_main.c of pgpool-II, `read_status_file`).
//! Versions before 3.4 wrote 128 integers of four bytes in the machine's order: 0 unused, 1 waiting, 2 up, 3 down.
#![forbid(unsafe_code)]

use crate::error::{MAX_NODES, NodeId};
use crate::log::Level;
use crate::shm::NodeStatus;

/// The file's name, in `work_dir`.
pub const NAME: &str = "pgpool_status";

/// The longest file that means something.
pub const MAX_BYTES: u64 = (MAX_NODES * 16) as u64;

const WORD: usize = 4;

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Nodes that were down; the others wait for their first connection. One that was not used then is configured
    /// now, or nobody asks.
    pub down: Vec<NodeId>,
    /// For the log.
    pub lines: Vec<(Level, String)>,
}

/// Reads a file's content. One in which no node is up is of no use: it was written by nobody who served clients.
pub fn read(bytes: &[u8]) -> Remembered {
    let mut remembered = Remembered::default();
    let words = if bytes.contains(&0) { binary(bytes) } else { text(bytes) };
    let mut is_any_up = false;
    for (id, word) in words.into_iter().take(MAX_NODES).enumerate() {
        match word.as_str() {
            "up" => is_any_up = true,
            "down" => {
                let line = format!("reading status file: {id} th backend is set to down status");
                remembered.lines.push((Level::Log, line));
                remembered.down.push(id);
            }
            "unused" => {}
            other => {
                let line =
                    format!("invalid data in status file, ignoring: status of backend {id} is \"{other}\"");
                remembered.lines.push((Level::Warning, line));
            }
        }
    }
    if !is_any_up && !remembered.down.is_empty() {
        remembered.down.clear();
        let line = "status file says of no backend that it is up: it is ignored";
        remembered.lines.push((Level::Log, line.to_owned()));
    }
    remembered
}

fn text(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).lines().map(|line| line.trim().to_ascii_lowercase()).collect()
}

fn binary(bytes: &[u8]) -> Vec<String> {
    let word = |bytes: &[u8]| {
        let number = <[u8; WORD]>::try_from(bytes).map_or(-1, i32::from_ne_bytes);
        match number {
            0 => "unused".to_owned(),
            1 | 2 => "up".to_owned(),
            3 => "down".to_owned(),
            other => other.to_string(),
        }
    };
    bytes.chunks(WORD).map(word).collect()
}

/// A file's content for these nodes, in order of their numbers.
pub fn write(nodes: impl IntoIterator<Item = (NodeId, NodeStatus)>) -> String {
    let mut text = String::new();
    let mut next = 0;
    for (id, status) in nodes {
        (next..id).for_each(|_| text.push_str("unused\n"));
        next = id + 1;
        text.push_str(match status {
            NodeStatus::Up | NodeStatus::Waiting => "up\n",
            NodeStatus::Down | NodeStatus::Quarantine => "down\n",
            NodeStatus::Unused => "unused\n",
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        use NodeStatus::{Down, Quarantine, Unused, Up, Waiting};
        let text = write([(0, Up), (1, Waiting), (3, Down), (4, Unused), (5, Quarantine)]);
        assert_eq!(text, "up\nup\nunused\ndown\nunused\ndown\n");
        assert_eq!(read(text.as_bytes()).down, [3, 5]);
        assert_eq!(write([]), "");
    }

    #[test]
    fn texts_of_all_kinds() {
        let cases: [(&str, &[NodeId], usize); 8] = [
            ("up\ndown\nup\n", &[1], 1),
            ("DOWN\nUp\nunused", &[0], 1),
            ("down\r\n up \r\n", &[0], 1),
            ("down\ndown\n", &[], 3),
            ("unused\nunused\n", &[], 0),
            ("garbage\nup\ndown\n", &[2], 2),
            ("", &[], 0),
            ("up", &[], 0),
        ];
        for (text, down, lines) in cases {
            let remembered = read(text.as_bytes());
            assert_eq!((remembered.down.as_slice(), remembered.lines.len()), (down, lines), "{text:?}");
        }
    }

    #[test]
    fn the_old_form() {
        let mut bytes = Vec::new();
        for number in [2, 3, 1, 0].into_iter().chain([0; 124]) {
            bytes.extend(i32::to_ne_bytes(number));
        }
        assert_eq!(read(&bytes).down, [1]);
        let wrong: Vec<u8> = [3, 9, 2].into_iter().flat_map(i32::to_ne_bytes).chain([0, 0]).collect();
        let remembered = read(&wrong);
        assert_eq!((remembered.down.as_slice(), remembered.lines.len()), (&[0][..], 3));
    }

    #[test]
    fn a_file_that_never_ends_is_cut() {
        let text = "down\n".repeat(MAX_NODES + 5) + "up\n";
        assert!(read(text.as_bytes()).down.is_empty(), "what is said of nodes that cannot be does not count");
    }

    #[test]
    fn any_bytes() {
        proptest::proptest!(|(bytes in proptest::collection::vec(0u8..=255, 0..600))| { read(&bytes); });
    }
}
