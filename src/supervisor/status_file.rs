//! The status file on the disk: read at the start, written when a node goes out of use or comes back.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::start::Launch;
use crate::cluster::status_file::{self, MAX_BYTES, NAME, Remembered};
use crate::config::Config;
use crate::error::NodeId;
use crate::log::emit;
use crate::shm::NodeStatus;
use crate::sys::file;

/// Where it stands.
pub(super) struct StatusFile {
    path: PathBuf,
}

impl StatusFile {
    /// In `work_dir`; a relative one counts from the configuration's directory.
    pub(super) fn new(config: &Config, launch: &Launch) -> StatusFile {
        let directory = launch.config_path.parent().unwrap_or(Path::new("/"));
        StatusFile { path: directory.join(&config.work_dir).join(NAME) }
    }

    /// The nodes that were down when the program ran last, unless that is to be forgotten.
    pub(super) fn remember(&self, discard: bool) -> Vec<NodeId> {
        let path = self.path.display();
        match self.read(discard) {
            Ok(Some(bytes)) => {
                let Remembered { down, lines } = status_file::read(&bytes);
                lines.iter().for_each(|(level, line)| emit(*level, format_args!("{line}")));
                return down;
            }
            Ok(None) => crate::say!(Log, "Backend status file {path} discarded"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                crate::say!(Log, "Backend status file {path} does not exist");
            }
            Err(error) => crate::say!(Warning, "could not read backend status file {path}: {error}"),
        }
        Vec::new()
    }

    fn read(&self, discard: bool) -> io::Result<Option<Vec<u8>>> {
        if discard {
            return std::fs::remove_file(&self.path).map(|()| None);
        }
        let mut bytes = Vec::new();
        File::open(&self.path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Writes it anew. What cannot be written is missed at the next start only.
    pub(super) fn write(&self, nodes: impl IntoIterator<Item = (NodeId, NodeStatus)>) {
        let text = status_file::write(nodes);
        if let Err(error) = file::replace_safely(&self.path, text.as_bytes(), 0o644) {
            crate::say!(Warning, "could not write backend status file {}: {error}", self.path.display());
        }
    }
}
