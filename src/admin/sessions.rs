//! The report about clients' sessions, and the names by which an operator means one.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use super::processes::{busy_sessions, workers};
use super::{AdminError, Context, time_text};
use crate::error::NodeId;
use crate::shm::{Segment, SessionRow, SessionStatus};
use crate::sys::process::ProcessId;

/// One session, and never another one: its worker, its place there, and its number in the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionId {
    pub pid: ProcessId,
    pub place: u32,
    pub number: u64,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.pid, self.place, self.number)
    }
}

impl FromStr for SessionId {
    type Err = AdminError;

    fn from_str(text: &str) -> Result<SessionId, AdminError> {
        let read = || {
            let mut parts = text.splitn(3, '-');
            let id = SessionId {
                pid: parts.next()?.parse().ok()?,
                place: parts.next()?.parse().ok()?,
                number: parts.next()?.parse().ok()?,
            };
            // Of many ways to write a number one is the name.
            (id.to_string() == text).then_some(id)
        };
        read().ok_or_else(|| AdminError::NotASessionId(text.chars().take(100).collect()))
    }
}

/// A client that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionReport {
    #[serde(serialize_with = "as_text")]
    pub id: SessionId,
    /// Its worker process.
    pub pid: ProcessId,
    pub user: String,
    pub database: String,
    /// `application_name` as it came in.
    pub application: String,
    /// Address and port, or `[local]`.
    pub client: String,
    /// What it does: see [`state_text`].
    pub state: &'static str,
    /// Unix seconds.
    pub connected_at: u64,
    /// Where its reads go, if that is chosen for the whole session.
    pub node: Option<NodeId>,
}

fn as_text<S: Serializer>(id: &SessionId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// The clients of all workers that have said who they are.
pub fn sessions(context: &Context<'_>) -> Vec<SessionReport> {
    let segment = context.segment;
    let of_worker = |(index, pid): (usize, ProcessId)| {
        busy_sessions(segment, index).into_iter().map(move |(place, row)| report(pid, place, &row))
    };
    workers(segment).map(|(index, row)| (index, row.pid)).flat_map(of_worker).collect()
}

fn report(pid: ProcessId, place: u32, row: &SessionRow) -> SessionReport {
    let host = row.client_host.as_str();
    SessionReport {
        id: SessionId { pid, place, number: row.number },
        pid,
        user: row.user.to_string(),
        database: row.database.to_string(),
        application: row.application.to_string(),
        client: match row.client_port {
            0 => host.to_owned(),
            port if host.contains(':') => format!("[{host}]:{port}"),
            port => format!("{host}:{port}"),
        },
        state: state_text(row.status),
        connected_at: row.connected_at,
        node: row.balance_node(),
    }
}

/// What a session does, in a word.
pub fn state_text(status: SessionStatus) -> &'static str {
    match status {
        SessionStatus::WaitForConnection | SessionStatus::Connecting => "authentication",
        SessionStatus::Idle => "idle",
        SessionStatus::IdleInTransaction => "idle in transaction",
        SessionStatus::ExecuteCommand => "active",
    }
}

impl SessionReport {
    /// A row of `SHOW pool_sessions`.
    pub(super) fn values(self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.pid.to_string(),
            self.database,
            self.user,
            self.application,
            self.client,
            self.state.to_owned(),
            time_text(self.connected_at),
            self.node.map_or_else(String::new, |node| node.to_string()),
        ]
    }
}

/// Worker and row of a session, if it is there.
pub fn find_session(segment: &Segment, id: SessionId) -> Option<(usize, SessionRow)> {
    let (worker, _) = workers(segment).find(|(_, row)| row.pid == id.pid)?;
    let row = segment.session(worker, usize::try_from(id.place).ok()?);
    let is_it = row.number == id.number && row.status != SessionStatus::WaitForConnection;
    is_it.then_some((worker, row))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, config, context, segment};
    use super::*;
    use crate::shm::WorkerRow;

    #[test]
    fn an_id_is_written_in_one_way() {
        let id = SessionId { pid: 10, place: 2, number: 77 };
        assert_eq!("10-2-77".parse::<SessionId>(), Ok(id));
        assert_eq!(id.to_string(), "10-2-77");
        for wrong in ["", "10", "10-2", "10-2-", "10-2-77-1", "10-2-077", " 10-2-77", "10-+2-77", "a-b-c"] {
            let error = wrong.parse::<SessionId>().unwrap_err();
            assert_eq!(error, AdminError::NotASessionId(wrong.to_owned()));
        }
    }

    #[test]
    fn sessions_of_all_workers_are_told_and_found_by_their_ids() {
        let (segment, config) = (segment(2), config(""));
        for (index, pid) in [(0, 10), (1, 11)] {
            segment.set_worker(index, &WorkerRow { pid, ..WorkerRow::default() });
        }
        let mut row = SessionRow {
            status: SessionStatus::IdleInTransaction,
            user: "ann".into(),
            database: "db".into(),
            application: "app".into(),
            client_host: "::1".into(),
            client_port: 7,
            connected_at: NOW,
            number: segment.number_session(),
            ..SessionRow::default()
        };
        row.set_balance_node(Some(1));
        segment.set_session(1, 1, &row);
        let told = serde_json::to_value(sessions(&context(&segment, &config))).unwrap();
        let expected = serde_json::json!([{
            "id": "11-1-1", "pid": 11, "user": "ann", "database": "db", "application": "app", "client": "[::1]:7",
            "state": "idle in transaction", "connected_at": NOW, "node": 1,
        }]);
        assert_eq!(told, expected);
        let id = SessionId { pid: 11, place: 1, number: 1 };
        assert_eq!(find_session(&segment, id).map(|(worker, _)| worker), Some(1));
        for other in [
            SessionId { pid: 10, ..id },
            SessionId { place: 0, ..id },
            SessionId { place: 9, ..id },
            SessionId { number: 2, ..id },
        ] {
            assert_eq!(find_session(&segment, other), None, "{other}");
        }
        segment.set_session(1, 1, &SessionRow::default());
        assert_eq!(find_session(&segment, id), None);
    }
}
