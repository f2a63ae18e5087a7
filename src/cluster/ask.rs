//! Asks one node what it is and how far it has come.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::client::{Client, ClientError, Row};
use super::probe::{Answer, Lsn, Replica, Upstream, parse_lsn, parse_timeline};
use crate::sys::clock;

const ROLE: &str = "SELECT pg_catalog.pg_is_in_recovery()";
const WRITTEN: &str = "SELECT pg_catalog.pg_current_wal_lsn()";
const TIMELINE: &str = "SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn())";
const REPLAYED: &str = "SELECT pg_catalog.pg_last_wal_replay_lsn()";
const REPLICAS: &str = "SELECT application_name, state, sync_state, \
    (pg_catalog.date_part('epoch', replay_lag) * 1000000)::pg_catalog.int8 FROM pg_catalog.pg_stat_replication";
const UPSTREAM: &str =
    "SELECT sender_host, sender_port FROM pg_catalog.pg_stat_wal_receiver WHERE status = 'streaming'";

/// The functions that tell positions have these names since PostgreSQL 10; before, only roles are known.
const OLDEST: u32 = 10;
/// pg_stat_wal_receiver tells host and port of the sender since this version.
const TELLS_SENDER: u32 = 11;

/// Puts all questions within `limit`.
pub fn ask(client: &mut Client, limit: Duration) -> Result<Answer, ClientError> {
    let (asked_at, deadline) = (clock::monotonic_micros(), Instant::now() + limit);
    let mut rows = |query| client.rows(query, deadline.saturating_duration_since(Instant::now()));
    let in_recovery = match single(&rows(ROLE)?) {
        Some("t") => true,
        Some("f") => false,
        _ => return Err(ClientError::Answer(ROLE)),
    };
    if client.major_version() < OLDEST {
        return Ok(Answer { in_recovery, asked_at, ..Answer::default() });
    }
    let tells_sender = client.major_version() >= TELLS_SENDER;
    let mut rows = |query| permitted(client.rows(query, deadline.saturating_duration_since(Instant::now())));
    if in_recovery {
        let lsn = lsn(&rows(REPLAYED)?);
        let upstream = if tells_sender { upstream(&rows(UPSTREAM)?) } else { None };
        return Ok(Answer { in_recovery, asked_at, lsn, upstream, ..Answer::default() });
    }
    Ok(Answer {
        in_recovery,
        asked_at,
        lsn: lsn(&rows(WRITTEN)?),
        timeline: single(&rows(TIMELINE)?).and_then(parse_timeline),
        replicas: rows(REPLICAS)?.iter().map(replica).collect(),
        upstream: None,
    })
}

/// A node that refuses a question (its services may lack the function, or the user the right) still has a role.
fn permitted(rows: Result<Vec<Row>, ClientError>) -> Result<Vec<Row>, ClientError> {
    match rows {
        Err(error) if error.leaves_connection() => {
            crate::say!(Debug1, "replication check: {error}");
            Ok(Vec::new())
        }
        other => other,
    }
}

fn single(rows: &[Row]) -> Option<&str> {
    rows.first()?.first()?.as_deref()
}

fn lsn(rows: &[Row]) -> Option<Lsn> {
    parse_lsn(single(rows)?)
}

/// Both are null for a user who may not see them.
fn upstream(rows: &[Row]) -> Option<Upstream> {
    let [Some(host), Some(port)] = rows.first()?.as_slice() else { return None };
    Some(Upstream { host: host.clone(), port: port.parse().ok()? })
}

fn replica(row: &Row) -> Replica {
    let text = |column: usize| row.get(column).cloned().flatten();
    Replica {
        application_name: text(0).unwrap_or_default(),
        state: text(1).unwrap_or_default(),
        sync_state: text(2).unwrap_or_default(),
        lag_micros: text(3)
            .and_then(|micros| micros.parse::<i64>().ok())
            .map(|micros| micros.max(0).unsigned_abs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[Option<&str>]) -> Row {
        values.iter().map(|value| value.map(str::to_owned)).collect()
    }

    #[test]
    fn rows_of_pg_stat_replication() {
        let full = replica(&row(&[Some("server1"), Some("streaming"), Some("async"), Some("1500")]));
        assert_eq!((full.application_name.as_str(), full.lag_micros), ("server1", Some(1500)));
        let unprivileged = replica(&row(&[Some("server1"), None, None, None]));
        assert_eq!((unprivileged.state.as_str(), unprivileged.lag_micros), ("", None));
        assert_eq!(replica(&row(&[])), Replica::default());
        assert_eq!(replica(&row(&[None, None, None, Some("-3")])).lag_micros, Some(0));
    }

    #[test]
    fn rows_of_pg_stat_wal_receiver() {
        let seen = upstream(&[row(&[Some("db1"), Some("5432")])]);
        assert_eq!(seen, Some(Upstream { host: "db1".to_owned(), port: 5432 }));
        for rows in [vec![], vec![row(&[None, None])], vec![row(&[Some("db1"), Some("x")])], vec![row(&[])]] {
            assert_eq!(upstream(&rows), None);
        }
    }

    #[test]
    fn positions_that_are_not_there() {
        assert_eq!(lsn(&[]), None);
        assert_eq!(lsn(&[row(&[None])]), None);
        assert_eq!(lsn(&[row(&[Some("0/10")])]), Some(16));
    }
}
