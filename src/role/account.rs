//! As whom the checks log in to a node, and how long that may take.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::auth::pool_passwd::{self, PoolPasswd, Secret};
use crate::cluster::client::Target;
use crate::config::{Backend, Config};
use crate::supervisor::ChildContext;

/// Time limit where the configuration has 0 (none): to ask a node must end some time.
pub(super) const LONGEST: Duration = Duration::from_secs(60);

/// The file pool_passwd as it is now.
pub(super) fn passwords(context: &ChildContext) -> PoolPasswd {
    let files = &context.files;
    // What is wrong with it, the workers say.
    pool_passwd::load(files.pool_passwd.as_deref(), &files.key).0
}

/// The password of a user: what a parameter says, else what pool_passwd has.
pub(super) fn secret(passwords: &PoolPasswd, user: &str, parameter: &str) -> Option<Secret> {
    passwords.secret(user, parameter)
}

/// A node, for a user of the configuration.
pub(super) fn target(backend: &Backend, user: String, database: &str) -> Target {
    Target {
        host: backend.hostname.clone(),
        port: backend.port,
        user,
        database: database.to_owned(),
        application_name: "pgbalancer",
        tls: backend.tls.clone(),
    }
}

/// `connect_timeout` of a node.
pub(super) fn connect_limit(config: &Config, backend: &Backend) -> Duration {
    match u64::try_from(*config.connect_timeout.get(backend.id)) {
        Ok(millis @ 1..) => Duration::from_millis(millis).min(LONGEST),
        _ => LONGEST,
    }
}
