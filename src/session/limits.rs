//! How many clients one user, or one database, may have at a time, over all workers.
//!
//! Nothing is counted up and down: the rows of the sessions are counted, so that a worker that dies leaves no wrong number.
//! Who comes in says so in its row, counts, says that it is in, and counts again. Of two that come at the same moment at
//! least one sees the other, so there are never more than there may be.
#![forbid(unsafe_code)]

use super::{Ctx, Session};
use crate::config::limit_in_list;
use crate::shm::{Admission, SessionRow, SessionStatus, Text};

impl Session {
    /// Whether it may come in; else what it is told.
    pub(super) fn admit(&mut self, ctx: &mut Ctx<'_>) -> Result<(), String> {
        let limits = self.limits(ctx);
        for admission in [Admission::Asks, Admission::In] {
            self.admission = admission;
            if limits.iter().any(|limit| limit.most > 0) {
                self.write_row(ctx, SessionStatus::Connecting);
                limits.iter().try_for_each(|limit| self.check(ctx, limit))?;
            }
        }
        Ok(())
    }

    fn limits(&self, ctx: &Ctx<'_>) -> [Limit; 2] {
        let (config, key) = (&ctx.shared.config, &self.key);
        let user = limit_in_list(&config.max_user_connections_list, &key.user);
        let user =
            in_force(user, "max_user_connections_list", config.max_user_connections, "max_user_connections");
        let database = limit_in_list(&config.max_db_connections_list, &key.database);
        let database =
            in_force(database, "max_db_connections_list", config.max_db_connections, "max_db_connections");
        [
            Limit {
                kind: "user",
                name: (&*key.user).into(),
                most: user.0,
                parameter: user.1,
                of: |row| row.user,
            },
            Limit {
                kind: "database",
                name: (&*key.database).into(),
                most: database.0,
                parameter: database.1,
                of: |row| row.database,
            },
        ]
    }

    fn check(&self, ctx: &Ctx<'_>, limit: &Limit) -> Result<(), String> {
        if limit.most == 0 {
            return Ok(());
        }
        let counts = |row: &SessionRow| {
            let goes_before = match row.admission {
                Admission::Out => false,
                Admission::Asks => row.number < self.number,
                Admission::In => row.number != self.number,
            };
            goes_before && (limit.of)(row) == limit.name
        };
        match ctx.shared.segment.count_sessions(counts) {
            others if others < limit.most => Ok(()),
            _ => Err(format!(
                "too many connections for {} \"{}\": {} is {}",
                limit.kind, limit.name, limit.parameter, limit.most
            )),
        }
    }
}

struct Limit {
    kind: &'static str,
    name: Text<64>,
    /// Where it stands.
    parameter: &'static str,
    /// 0: as many as there are places for.
    most: u64,
    of: fn(&SessionRow) -> Text<64>,
}

/// What a list has for one name counts before what is for all, each with the name of its parameter.
fn in_force(
    listed: Option<u64>,
    list: &'static str,
    for_all: i64,
    parameter: &'static str,
) -> (u64, &'static str) {
    listed.map_or((for_all.unsigned_abs(), parameter), |most| (most, list))
}
