//! `replication_mode`, `master_slave_mode` and `master_slave_sub_mode`, which pgpool-II before 4.2 had
//! where `backend_clustering_mode` is now.
#![forbid(unsafe_code)]

use super::Place;
use super::names::ModePart;
use super::value::{Kind, Value};
use super::words::ClusteringMode;

/// What the files say of them.
#[derive(Default)]
pub(super) struct OldMode {
    /// `replication_mode`
    pub(super) replication: Option<bool>,
    master_slave: Option<bool>,
    sub_mode: Option<ClusteringMode>,
    /// The last of them in the files.
    pub(super) place: Option<Place>,
}

impl OldMode {
    /// Takes the value of one of them.
    pub(super) fn take(&mut self, part: ModePart, text: &str) -> Result<(), String> {
        match (part, Kind::Bool(false).parse(text)) {
            (ModePart::Replication, Ok(Value::Bool(on))) => self.replication = Some(on),
            (ModePart::MasterSlave, Ok(Value::Bool(on))) => self.master_slave = Some(on),
            (ModePart::Replication | ModePart::MasterSlave, Err(error)) => return Err(error),
            (ModePart::SubMode, _) => self.sub_mode = Some(sub_mode(text)?),
            (_, Ok(_)) => {}
        }
        Ok(())
    }

    /// Whether one of the modes is on.
    pub(super) fn is_on(&self) -> bool {
        self.replication == Some(true) || self.master_slave == Some(true)
    }

    /// The clustering mode that they mean. Where none of them was on, those versions ran in raw mode.
    pub(super) fn becomes(&self) -> Result<ClusteringMode, String> {
        match (self.replication, self.master_slave) {
            (Some(true), Some(true)) => {
                Err("replication_mode and master_slave_mode cannot both be on".to_owned())
            }
            (Some(true), _) => Ok(ClusteringMode::NativeReplication),
            (_, Some(true)) => Ok(self.sub_mode.unwrap_or(ClusteringMode::StreamingReplication)),
            _ => Ok(ClusteringMode::Raw),
        }
    }
}

fn sub_mode(text: &str) -> Result<ClusteringMode, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "stream" => Ok(ClusteringMode::StreamingReplication),
        "logical" => Ok(ClusteringMode::LogicalReplication),
        "slony" => Ok(ClusteringMode::Slony),
        _ => Err(format!("\"{text}\" is not one of stream, logical, slony")),
    }
}
