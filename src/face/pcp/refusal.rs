//! Errors as the clients print them: pgpool-II's severities and words.
#![forbid(unsafe_code)]

use std::fmt;

use super::request::Request;
use crate::admin::AdminError;
use crate::shm::NodeStatus;
use crate::sys::process::ProcessId;
use crate::wire::backend::{self, Notice};

/// Longest text of an error. pgpool-II cuts at 255 bytes.
const LONGEST_TEXT: usize = 2000;

/// Why a client does not get what it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The connection ends with it.
    pub is_fatal: bool,
    /// The error.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do; the clients do not show it, the log does.
    pub hint: Option<String>,
}

impl Refusal {
    pub(super) fn error(message: impl Into<String>, detail: impl Into<String>) -> Refusal {
        Refusal { detail: Some(detail.into()), ..Refusal::bare(message) }
    }

    pub(super) fn fatal(message: impl Into<String>, detail: impl Into<String>) -> Refusal {
        Refusal { is_fatal: true, ..Refusal::error(message, detail) }
    }

    fn bare(message: impl Into<String>) -> Refusal {
        Refusal { is_fatal: false, message: message.into(), detail: None, hint: None }
    }

    /// pgpool-II takes any text for the number 0.
    pub(super) fn not_a_number(what: &str, body: &[u8]) -> Refusal {
        let text =
            String::from_utf8_lossy(body.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
        Refusal::error("invalid PCP request", format!("\"{}\" is not a {what}", text.escape_debug()))
    }

    /// Wrong name and wrong password are told alike.
    pub(super) fn not_known(user: &[u8]) -> Refusal {
        let user = String::from_utf8_lossy(user).into_owned();
        let message = format!("authentication failed for user \"{}\"", user.escape_debug());
        Refusal::fatal(message, "username and/or password does not match")
    }

    /// There are more connections than there is room for.
    pub fn crowded() -> Refusal {
        Refusal::fatal("PCP connection closed", "there are too many PCP connections")
    }

    /// The client took too long.
    pub fn late() -> Refusal {
        Refusal::fatal("PCP connection closed", "client did not log in in time, or left a request half sent")
    }

    /// What the core has against a request; `own` is the process that says so.
    pub fn of(request: &Request, error: &AdminError, own: ProcessId) -> Refusal {
        match request {
            Request::NodeInfo { .. } => match error {
                AdminError::UnknownNode { number, .. } => {
                    Refusal::error("informing node info failed", format!("invalid node ID : {number}"))
                }
                other => Refusal::bare(other.to_string()),
            },
            Request::HealthStats { .. } => match error {
                AdminError::UnknownNode { number, .. } => Refusal::error(
                    "informing health check stats info failed",
                    format!("invalid node ID {number}"),
                ),
                other => Refusal::bare(other.to_string()),
            },
            Request::Attach { .. } => match error {
                AdminError::UnknownNode { number, end } => {
                    Refusal::bare(format!("invalid failback request, {}", out_of_range(*number, *end)))
                }
                other => Refusal::error("could not process attach request", other.to_string()),
            },
            Request::Detach { .. } => of_detach(error, own),
            Request::Promote { switchover, .. } => of_promote(error, *switchover, own),
            Request::Recover { .. } => of_recover(error),
            _ => of_others(error),
        }
    }

    /// Appends the packet that says so.
    pub fn put(&self, out: &mut Vec<u8>) {
        let message = plain(&self.message);
        let detail = self.detail.as_deref().map(plain);
        let notice = Notice {
            severity: self.severity(),
            code: "XX000",
            message: &message,
            detail: detail.as_deref(),
            hint: self.hint.as_deref(),
        };
        backend::put_error(out, &notice);
    }

    fn severity(&self) -> &'static str {
        if self.is_fatal { "FATAL" } else { "ERROR" }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity(), self.message)?;
        self.detail.as_ref().map_or(Ok(()), |detail| write!(f, " ({detail})"))
    }
}

/// A text that the clients print as it is. Theirs take the first letter of a text for the mark of another field if it
/// is S, M or D (`process_error_response` in pcp.c): a blank before it keeps them from that.
fn plain(text: &str) -> String {
    let blank = if text.starts_with(['S', 'M', 'D']) { " " } else { "" };
    let text = text.get(..text.floor_char_boundary(LONGEST_TEXT)).unwrap_or_default();
    format!("{blank}{text}")
}

fn out_of_range(number: i64, end: usize) -> String {
    let last = end.saturating_sub(1);
    format!("node id: {number} is out of range. node id must be between [0 and {last}]")
}

/// pgpool-II's numbers; quarantine is a kind of down there.
fn status_number(status: NodeStatus) -> u8 {
    match status {
        NodeStatus::Unused => 0,
        NodeStatus::Waiting => 1,
        NodeStatus::Up => 2,
        NodeStatus::Down | NodeStatus::Quarantine => 3,
    }
}

fn of_detach(error: &AdminError, own: ProcessId) -> Refusal {
    Refusal::bare(match error {
        AdminError::UnknownNode { number, end } => {
            format!("invalid degenerate backend request, {}", out_of_range(*number, *end))
        }
        AdminError::NotInUse { node, status } => format!(
            "invalid degenerate backend request, node id : {node} status: [{}] is not valid for failover",
            status_number(*status)
        ),
        AdminError::FailoverForbidden { node } => format!(
            "degenerate backend request for node_id: {node} from pid [{own}] is canceled because failover is \
             disallowed on the node"
        ),
        other => return Refusal::error("could not process detach request", other.to_string()),
    })
}

fn of_promote(error: &AdminError, switchover: bool, own: ProcessId) -> Refusal {
    match error {
        AdminError::UnknownNode { number, .. } => {
            Refusal::error("could not process promote request", format!("node id {number} is not valid"))
        }
        AdminError::NotStreaming { node } => Refusal::fatal(
            "invalid pgpool mode for process promote request",
            format!("not in streaming replication mode, can't promote node id {node}"),
        ),
        AdminError::AlreadyPrimary { node } => Refusal::fatal(
            "invalid promote request",
            format!("specified node is already primary node, can't promote node id {node}"),
        ),
        // A switchover begins with the words of a detach there.
        AdminError::NotInUse { .. } if switchover => of_detach(error, own),
        AdminError::NotInUse { node, status } => Refusal::bare(format!(
            "invalid promote backend request, node id : {node} status: [{}] not valid",
            status_number(*status)
        )),
        other => Refusal::error("could not process promote request", other.to_string()),
    }
}

fn of_recover(error: &AdminError) -> Refusal {
    match error {
        AdminError::UnknownNode { number, .. } => {
            Refusal::error("process recovery request failed", format!("node id {number} is not valid"))
        }
        AdminError::Recovery(error) => {
            let set = |text: String| (!text.is_empty()).then_some(text);
            let (detail, hint) = (set(error.detail()), set(error.hint().to_owned()));
            Refusal { is_fatal: false, message: error.to_string(), detail, hint }
        }
        AdminError::RecoveryUnderWay => Refusal {
            is_fatal: true,
            ..Refusal::bare("pgpool-II is already processing another recovery request.")
        },
        other => Refusal::error("process recovery request failed", other.to_string()),
    }
}

fn of_others(error: &AdminError) -> Refusal {
    match error {
        AdminError::UnknownProcess(pid) => {
            Refusal::error("informing process info failed", format!("invalid process ID : {pid}"))
        }
        AdminError::NoWatchdog => {
            Refusal::error("PCP: informing watchdog info failed", "watchdog is not enabled")
        }
        AdminError::NoCollector => {
            Refusal::error("PCP: log rotation failed", "logging_collector is not enabled")
        }
        AdminError::NoCache => {
            Refusal::error("PCP: invalidating query cache failed", "query cache is not enabled")
        }
        other => Refusal::bare(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::RecoveryError;

    const OWN: ProcessId = 77;

    fn said(request: &Request, error: AdminError) -> String {
        Refusal::of(request, &error, OWN).to_string()
    }

    /// All texts were seen with Debian's pgpool-II, but for the last number of a range, which is 128 there.
    #[test]
    fn pgpool_s_words() {
        let unknown = || AdminError::UnknownNode { number: 9, end: 2 };
        let down = || AdminError::NotInUse { node: 1, status: NodeStatus::Down };
        let detach = Request::Detach { node: 9, gracefully: false };
        let promote = |switchover| Request::Promote { node: 9, switchover, gracefully: false };
        let recover = Request::Recover { node: 9 };
        for (request, error, text) in [
            (
                Request::NodeInfo { node: Some(9) },
                unknown(),
                "ERROR: informing node info failed (invalid node ID : 9)",
            ),
            (
                Request::HealthStats { node: 9 },
                unknown(),
                "ERROR: informing health check stats info failed (invalid node ID 9)",
            ),
            (
                Request::Attach { node: 9 },
                unknown(),
                "ERROR: invalid failback request, node id: 9 is out of range. node id must be between [0 and 1]",
            ),
            (
                detach.clone(),
                unknown(),
                "ERROR: invalid degenerate backend request, node id: 9 is out of range. node id must be between [0 and 1]",
            ),
            (
                detach.clone(),
                down(),
                "ERROR: invalid degenerate backend request, node id : 1 status: [3] is not valid for failover",
            ),
            (
                detach,
                AdminError::FailoverForbidden { node: 1 },
                "ERROR: degenerate backend request for node_id: 1 from pid [77] is canceled because failover is \
                 disallowed on the node",
            ),
            (promote(false), unknown(), "ERROR: could not process promote request (node id 9 is not valid)"),
            (
                promote(false),
                AdminError::NotStreaming { node: 1 },
                "FATAL: invalid pgpool mode for process promote request (not in streaming replication mode, can't \
                 promote node id 1)",
            ),
            (
                promote(true),
                AdminError::AlreadyPrimary { node: 0 },
                "FATAL: invalid promote request (specified node is already primary node, can't promote node id 0)",
            ),
            (
                promote(false),
                down(),
                "ERROR: invalid promote backend request, node id : 1 status: [3] not valid",
            ),
            (
                promote(true),
                down(),
                "ERROR: invalid degenerate backend request, node id : 1 status: [3] is not valid for failover",
            ),
            (recover.clone(), unknown(), "ERROR: process recovery request failed (node id 9 is not valid)"),
            (
                recover.clone(),
                AdminError::Recovery(RecoveryError::Primary),
                "ERROR: process recovery request failed (primary server cannot be recovered by online recovery.)",
            ),
            (
                recover.clone(),
                AdminError::Recovery(RecoveryError::Mode),
                "ERROR: process recovery request failed (recovery request is only allowed in replication and \
                 streaming replication modes.)",
            ),
            (
                recover,
                AdminError::Recovery(RecoveryError::Alive(1)),
                "ERROR: node recovery failed, node id: 1 is alive",
            ),
            (
                Request::ProcessInfo { pid: Some(1) },
                AdminError::UnknownProcess(1),
                "ERROR: informing process info failed (invalid process ID : 1)",
            ),
            (
                Request::WatchdogInfo,
                AdminError::NoWatchdog,
                "ERROR: PCP: informing watchdog info failed (watchdog is not enabled)",
            ),
        ] {
            assert_eq!(said(&request, error), text);
        }
    }

    #[test]
    fn texts_that_the_clients_would_misread_begin_with_a_blank_and_long_ones_are_cut() {
        assert_eq!(plain("Mode of the server"), " Mode of the server");
        assert_eq!(plain("node 1"), "node 1");
        assert_eq!(plain(&"é".repeat(2000)).len(), LONGEST_TEXT);
        let mut out = Vec::new();
        Refusal::error("a", "b").put(&mut out);
        assert_eq!(out, b"E\0\0\0\x20SERROR\0VERROR\0CXX000\0Ma\0Db\0\0");
    }
}
