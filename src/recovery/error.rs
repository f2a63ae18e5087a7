//! Why a node could not be recovered, in pgpool-II's words where it has any: pcp_recovery_node prints them.
#![forbid(unsafe_code)]

use std::time::Duration;

use thiserror::Error;

use super::plan::Stage;
use crate::error::NodeId;

/// The message alone; `detail` and `hint` say the rest.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecoveryError {
    /// There is no such node.
    #[error("process recovery request failed")]
    NotValid(NodeId),
    /// The primary is what the others are made from.
    #[error("process recovery request failed")]
    Primary,
    /// In this clustering mode no node can be made from another.
    #[error("process recovery request failed")]
    Mode,
    /// It has a number, but no server.
    #[error("node recovery failed, node id: {0} is unused")]
    Unused(NodeId),
    /// It is in use.
    #[error("node recovery failed, node id: {0} is alive")]
    Alive(NodeId),
    /// `recovery_user` is empty.
    #[error("node recovery failed, recovery_user is not set")]
    NoUser,
    /// `backend_data_directory` of the node is empty.
    #[error("node recovery failed, backend_data_directory{0} is not set")]
    NoDataDirectory(NodeId),
    /// No node is there that it could be made from.
    #[error("node recovery failed, there is no primary node")]
    NoSource,
    /// The node that it is to be made from takes no connection.
    #[error("node recovery failed, unable to connect to main node: {node}")]
    Connect {
        /// That node.
        node: NodeId,
        /// What it or the network said.
        reason: String,
    },
    /// The node that it is to be made from lacks a function.
    #[error("node recovery failed, function {function} is not installed on node {node}")]
    NoFunction {
        /// The function.
        function: &'static str,
        /// Where it was looked for.
        node: NodeId,
        /// In which databases.
        databases: String,
    },
    /// `SET statement_timeout` was refused.
    #[error("executing recovery, SET STATEMENT_TIMEOUT failed at \"{}\"", .stage.name())]
    StatementTimeout {
        /// Before the script of this stage.
        stage: Stage,
        /// What the server said.
        reason: String,
    },
    /// CHECKPOINT failed.
    #[error("executing recovery, execute CHECKPOINT failed")]
    Checkpoint(String),
    /// The script of a stage failed.
    #[error("executing recovery, execution of command failed at \"{}\"", .stage.name())]
    Script {
        /// The stage.
        stage: Stage,
        /// The script, as it is configured.
        command: String,
        /// What the server said.
        reason: String,
    },
    /// Clients are still there, though the second stage must have none.
    #[error("node recovery failed, waiting connection closed in the other pgpools timeout")]
    ClientsStay {
        /// How many.
        clients: usize,
        /// `recovery_timeout`.
        limit: Duration,
    },
    /// Clients could not be held back.
    #[error("node recovery failed, failed to send start recovery packet")]
    Hold(String),
    /// pgpool_remote_start failed.
    #[error("executing remote start failed with error: \"{0}\"")]
    RemoteStart(String),
    /// The node does not come up.
    #[error("recovery is checking if postmaster is started")]
    NotStarted {
        /// Where, and as whom, it was asked.
        host: String,
        /// The database asked last.
        database: String,
        /// `recovery_user`.
        user: String,
        /// `recovery_timeout`.
        limit: Duration,
        /// What it or the network said last.
        reason: String,
    },
    /// The node came up as a primary of its own.
    #[error("node recovery failed, node {0} is no standby")]
    NoStandby(NodeId),
    /// The supervisor did not take the node into use.
    #[error("node recovery failed, node {node} is not attached")]
    Attach {
        /// The node.
        node: NodeId,
        /// Why.
        reason: String,
    },
}

impl RecoveryError {
    /// What exactly, and where; empty if the message says it all.
    pub fn detail(&self) -> String {
        match self {
            Self::NotValid(node) => format!("node id {node} is not valid"),
            Self::Primary => "primary server cannot be recovered by online recovery.".to_owned(),
            Self::Mode => {
                "recovery request is only allowed in replication and streaming replication modes.".to_owned()
            }
            Self::Connect { reason, .. }
            | Self::StatementTimeout { reason, .. }
            | Self::Checkpoint(reason)
            | Self::Hold(reason)
            | Self::Attach { reason, .. } => reason.clone(),
            Self::NoFunction { databases, .. } => {
                format!("It was looked for in {databases}, as one that a superuser owns.")
            }
            Self::Script { command, reason, .. } => format!("command:\"{command}\", {reason}"),
            Self::ClientsStay { clients, limit } => {
                format!("{clients} clients are connected after {} seconds", limit.as_secs())
            }
            Self::NotStarted { host, database, user, limit, reason } => format!(
                "postmaster on hostname:\"{host}\" database:\"{database}\" user:\"{user}\" failed to start in {} second, {reason}",
                limit.as_secs()
            ),
            Self::NoStandby(_) => {
                "It accepts writes of its own. In use, it would be a second primary.".to_owned()
            }
            Self::Unused(_)
            | Self::Alive(_)
            | Self::NoUser
            | Self::NoDataDirectory(_)
            | Self::NoSource
            | Self::RemoteStart(_) => String::new(),
        }
    }

    /// What to do about it; empty if there is nothing to be said.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Alive(_) => "Detach the node and stop its server first.",
            Self::NoUser => "Set recovery_user to a superuser of the backends, and recovery_password.",
            Self::NoDataDirectory(_) => "The scripts have to be told where the node's data is.",
            Self::NoSource => "Wait until there is a primary, or promote a node.",
            Self::Connect { .. } => {
                "Check recovery_user, recovery_password, recovery_database and the server's pg_hba.conf."
            }
            Self::NoFunction { .. } => {
                "CREATE EXTENSION pgpool_recovery in the database, or psql -f pgpool_recovery.sql (compat/sql)."
            }
            Self::Script { .. } | Self::RemoteStart(_) => {
                "The script is in the data directory of the node that the other is made from; what it printed is in the \
                 log of that server."
            }
            Self::ClientsStay { .. } => "Set client_idle_limit_in_recovery to less than recovery_timeout.",
            Self::NotStarted { .. } => {
                "Look at the log of the node's server; recovery_timeout is how long it may take."
            }
            Self::NoStandby(_) => {
                "Stop its server. The first stage has to leave a standby.signal in the data directory."
            }
            _ => "",
        }
    }
}
