//! What is said to the server that a node is made from: which functions it has, and how they are called.
#![forbid(unsafe_code)]

use crate::cluster::client::Row;
use crate::config::Backend;
use crate::sql::literal;

/// The function that runs the script of a stage.
pub(super) const STAGE: &str = "pgpool_recovery";
/// The function that runs the script which starts the node.
pub(super) const REMOTE_START: &str = "pgpool_remote_start";

pub(super) const NO_TIMEOUT: &str = "SET statement_timeout To 0";
pub(super) const CHECKPOINT: &str = "CHECKPOINT";
pub(super) const IS_STANDBY: &str = "SELECT pg_catalog.pg_is_in_recovery()";

/// The functions, whatever schema they are in. `recovery_user` is a superuser: a function that somebody else could
/// have put into a schema where all may create is not called.
pub(super) const FUNCTIONS: &str = "SELECT p.proname, pg_catalog.quote_ident(n.nspname), p.pronargs \
    FROM pg_catalog.pg_proc AS p \
    JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace \
    JOIN pg_catalog.pg_roles AS r ON r.oid = p.proowner \
    WHERE p.proname IN ('pgpool_recovery', 'pgpool_remote_start') \
    AND (r.rolsuper OR r.rolname = current_user)";

/// A function of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Function {
    /// Quoted.
    schema: String,
    arguments: usize,
}

/// The functions of the server, in the newest form that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Functions {
    stage: Option<Function>,
    remote_start: Option<Function>,
}

impl Functions {
    /// From the answer to `FUNCTIONS`.
    pub(super) fn of(rows: &[Row]) -> Functions {
        let newest = |name: &str, forms: &[usize]| {
            let function = |row: &Row| match row.as_slice() {
                [Some(found), Some(schema), Some(arguments)] if found == name => {
                    Some(Function { schema: schema.clone(), arguments: arguments.parse().ok()? })
                }
                _ => None,
            };
            let found = rows.iter().filter_map(function);
            found.filter(|f| forms.contains(&f.arguments)).max_by_key(|f| f.arguments)
        };
        Functions { stage: newest(STAGE, &[3, 4, 5, 6, 7]), remote_start: newest(REMOTE_START, &[2]) }
    }

    /// The first one that is missing.
    pub(super) fn missing(&self, with_stage: bool) -> Option<&'static str> {
        if with_stage && self.stage.is_none() {
            return Some(STAGE);
        }
        self.remote_start.is_none().then_some(REMOTE_START)
    }

    /// The call that runs the script of a stage.
    pub(super) fn stage(&self, command: &str, source: &Backend, target: &Backend) -> Option<String> {
        let all = [
            literal(command),
            literal(&target.hostname),
            literal(&target.data_directory),
            literal(&source.port.to_string()),
            target.id.to_string(),
            literal(&target.port.to_string()),
            literal(&source.hostname),
        ];
        let function = self.stage.as_ref()?;
        Some(call(function, STAGE, all.get(..function.arguments)?))
    }

    /// The call that runs the script which starts the node.
    pub(super) fn remote_start(&self, target: &Backend) -> Option<String> {
        let arguments = [literal(&target.hostname), literal(&target.data_directory)];
        Some(call(self.remote_start.as_ref()?, REMOTE_START, &arguments))
    }
}

fn call(function: &Function, name: &str, arguments: &[String]) -> String {
    format!("SELECT {}.{name}({})", function.schema, arguments.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(functions: &[(&str, &str, usize)]) -> Vec<Row> {
        let row = |(name, schema, arguments): &(&str, &str, usize)| {
            vec![Some((*name).to_owned()), Some((*schema).to_owned()), Some(arguments.to_string())]
        };
        functions.iter().map(row).collect()
    }

    fn backend(id: usize, hostname: &str, port: u16, data_directory: &str) -> Backend {
        let (hostname, data_directory) = (hostname.to_owned(), data_directory.to_owned());
        Backend {
            id,
            hostname,
            port,
            weight: 1.0,
            data_directory,
            application_name: String::new(),
            allow_to_failover: true,
            always_primary: false,
            tls: None,
        }
    }

    #[test]
    fn the_newest_form_that_the_server_has() {
        let (source, target) = (backend(0, "pr", 5432, "/p"), backend(2, "st", 5434, "/it's"));
        let cases = [
            (vec![3, 4, 5, 6, 7], "'s', 'st', '/it''s', '5432', 2, '5434', 'pr'"),
            (vec![6, 3, 5, 4], "'s', 'st', '/it''s', '5432', 2, '5434'"),
            (vec![3, 4, 5], "'s', 'st', '/it''s', '5432', 2"),
            (vec![3, 4], "'s', 'st', '/it''s', '5432'"),
            (vec![3], "'s', 'st', '/it''s'"),
            // A form that nobody knows yet does not hide those that are known.
            (vec![8, 3, 1], "'s', 'st', '/it''s'"),
        ];
        for (forms, arguments) in cases {
            let list: Vec<_> = forms.iter().map(|form| (STAGE, "\"My\"", *form)).collect();
            let call = Functions::of(&rows(&list)).stage("s", &source, &target);
            assert_eq!(call, Some(format!("SELECT \"My\".pgpool_recovery({arguments})")), "{forms:?}");
        }
    }

    #[test]
    fn the_call_that_starts_the_node() {
        let functions = Functions::of(&rows(&[(REMOTE_START, "public", 2)]));
        let call = functions.remote_start(&backend(1, "st", 5434, "C:\\x"));
        assert_eq!(call.as_deref(), Some("SELECT public.pgpool_remote_start('st', E'C:\\\\x')"));
        assert_eq!(functions.stage("s", &backend(0, "", 1, ""), &backend(1, "", 1, "")), None);
    }

    #[test]
    fn what_is_missing() {
        let cases = [
            (vec![], true, Some(STAGE)),
            (vec![], false, Some(REMOTE_START)),
            (vec![(STAGE, "public", 7)], true, Some(REMOTE_START)),
            (vec![(STAGE, "public", 2), (REMOTE_START, "public", 2)], true, Some(STAGE)),
            (vec![(STAGE, "public", 3), (REMOTE_START, "public", 2)], true, None),
            (vec![(REMOTE_START, "public", 2)], false, None),
        ];
        for (functions, with_stage, missing) in cases {
            assert_eq!(Functions::of(&rows(&functions)).missing(with_stage), missing, "{functions:?}");
        }
        assert_eq!(
            Functions::of(&[vec![None], vec![Some(STAGE.to_owned()), None, None]]),
            Functions::default()
        );
    }
}
