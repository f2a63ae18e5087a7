//! Parameters as a client sees them: `PGPOOL SHOW` and `SHOW pool_status`. Secrets come out as `*****`.
#![forbid(unsafe_code)]

use super::Config;
use super::param::{Group, Nodes, Param};
use super::table::{self, PARAMETERS, of_group};
use super::value::Value;

/// What `PGPOOL SHOW` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Show {
    /// One value, in a column with the name of the parameter.
    One {
        /// Name of the column.
        name: String,
        /// The value.
        value: String,
    },
    /// A table.
    Rows(Vec<ShowRow>),
}

/// A row of that table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShowRow {
    /// The parameter.
    pub item: String,
    /// Its value.
    pub value: String,
    /// A line about it.
    pub description: &'static str,
}

/// Answers `PGPOOL SHOW name`: a parameter, a group, or `all`. None: nobody knows the name.
pub fn show(config: &Config, name: &str) -> Option<Show> {
    if name.eq_ignore_ascii_case("all") {
        return Some(Show::Rows(all(config)));
    }
    let group = PARAMETERS.iter().map(|param| param.group);
    let mut named =
        group.filter(|group| group.shown_as().is_some_and(|shown| shown.eq_ignore_ascii_case(name)));
    if let Some(group) = named.next() {
        return Some(Show::Rows(group_rows(config, group)));
    }
    let (param, id) = find(name)?;
    Some(match (param.spec.nodes, id) {
        (Nodes::Each(_) | Nodes::AllOrEach(_), None) => Show::Rows(param_rows(config, param)),
        (_, id) => Show::One { name: param.name_of(id), value: shown(config, param, id) },
    })
}

/// A parameter by name, old name, or name with the number of a node.
pub(super) fn find(name: &str) -> Option<(&'static Param, Option<usize>)> {
    let old = |param: &&Param| param.spec.old_names.iter().any(|old| old.eq_ignore_ascii_case(name));
    if let Some(param) = table::find(name).or_else(|| PARAMETERS.iter().find(old)) {
        return Some((param, None));
    }
    let base = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let id: usize = name.strip_prefix(base)?.parse().ok()?;
    let param = table::find(base)?;
    match param.spec.nodes {
        Nodes::Each(most) | Nodes::AllOrEach(most) if id < most => Some((param, Some(id))),
        _ => None,
    }
}

/// As pgpool-II: what nodes have comes first, then the rest.
fn all(config: &Config) -> Vec<ShowRow> {
    let groups = [Group::Backends, Group::WatchdogNodes, Group::Heartbeat, Group::HealthCheck];
    let mut rows: Vec<ShowRow> = groups.into_iter().flat_map(|group| group_rows(config, group)).collect();
    let rest = PARAMETERS.iter().filter(|param| param.spec.nodes == Nodes::One);
    rows.extend(rest.map(|param| row(config, param, None)));
    rows
}

/// The values for all nodes, then those of each node.
fn group_rows(config: &Config, group: Group) -> Vec<ShowRow> {
    let common = of_group(group).filter(|param| matches!(param.spec.nodes, Nodes::AllOrEach(_)));
    let mut rows: Vec<ShowRow> = common.map(|param| row(config, param, None)).collect();
    for id in ids_of_group(config, group) {
        let each = of_group(group).filter(|param| param.spec.nodes != Nodes::One);
        rows.extend(each.map(|param| row(config, param, Some(id))));
    }
    rows
}

fn param_rows(config: &Config, param: &Param) -> Vec<ShowRow> {
    let common = matches!(param.spec.nodes, Nodes::AllOrEach(_)).then(|| row(config, param, None));
    let each = ids_of_group(config, param.group).into_iter().map(|id| row(config, param, Some(id)));
    common.into_iter().chain(each).collect()
}

/// The nodes to show: the servers in use; elsewhere those with a value.
fn ids_of_group(config: &Config, group: Group) -> Vec<usize> {
    if matches!(group, Group::Backends | Group::HealthCheck) {
        return config.backends().iter().map(|backend| backend.id).collect();
    }
    let mut ids: Vec<usize> = of_group(group).flat_map(|param| (param.slot)(config).ids()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn row(config: &Config, param: &Param, id: Option<usize>) -> ShowRow {
    ShowRow { item: param.name_of(id), value: shown(config, param, id), description: param.about }
}

fn shown(config: &Config, param: &Param, id: Option<usize>) -> String {
    let value = (param.slot)(config).get(id);
    match param.spec.nodes {
        _ if param.spec.hidden => "*****".to_owned(),
        Nodes::One => param.spec.kind.show(&value),
        // As pgpool-II: without a unit where each node has a value.
        Nodes::Each(_) | Nodes::AllOrEach(_) => param.spec.kind.plain(&value),
    }
}

/// A parameter with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The name, with the number of the node if there is one.
    pub name: String,
    /// Its value, as `PGPOOL SHOW` has it.
    pub value: String,
    /// A line about it.
    pub description: &'static str,
    /// Its value without a setting.
    pub default: String,
}

/// All parameters, in the order of the sample file; of those that nodes have, what is set for the nodes in use.
pub fn described(config: &Config) -> Vec<Described> {
    let mut all = Vec::new();
    for param in PARAMETERS {
        if !matches!(param.spec.nodes, Nodes::Each(_)) {
            all.push(describe(config, param, None));
        }
        if param.spec.nodes != Nodes::One {
            let ids = ids_of_group(config, param.group).into_iter();
            all.extend(ids.map(|id| describe(config, param, Some(id))));
        }
    }
    all
}

/// One parameter by its name, or an old one. None: there is no such parameter, or each node has one of its own.
pub fn describe_one(config: &Config, name: &str) -> Option<Described> {
    let (param, id) = find(name)?;
    let has_value = id.is_some() || !matches!(param.spec.nodes, Nodes::Each(_));
    has_value.then(|| describe(config, param, id))
}

fn describe(config: &Config, param: &Param, id: Option<usize>) -> Described {
    let (default, kind) = (param.spec.kind.default_value(), &param.spec.kind);
    Described {
        name: param.name_of(id),
        value: shown(config, param, id),
        description: param.about,
        default: if param.spec.nodes == Nodes::One { kind.show(&default) } else { kind.plain(&default) },
    }
}

/// Answers `SHOW pool_status`. As pgpool-II: numbers without unit, 1 and 0 for on and off, the weights as
/// shares of the whole; the servers come last.
pub fn status(config: &Config) -> Vec<ShowRow> {
    let one = PARAMETERS.iter().filter(|param| !matches!(param.spec.nodes, Nodes::Each(_)));
    let mut rows: Vec<ShowRow> = one.map(|param| status_row(config, param, None)).collect();
    for group in [Group::HealthCheck, Group::WatchdogNodes, Group::Heartbeat, Group::Backends] {
        for id in ids_of_group(config, group) {
            // Of the values that all nodes may share, only those a node has for itself.
            let own = of_group(group).filter(|param| match param.spec.nodes {
                Nodes::One => false,
                Nodes::Each(_) => true,
                Nodes::AllOrEach(_) => (param.slot)(config).ids().contains(&id),
            });
            rows.extend(own.map(|param| status_row(config, param, Some(id))));
        }
    }
    rows
}

fn status_row(config: &Config, param: &Param, id: Option<usize>) -> ShowRow {
    let value = match (param.slot)(config).get(id) {
        _ if param.spec.hidden => "*****".to_owned(),
        Value::Bool(on) => u8::from(on).to_string(),
        Value::Float(weight) if param.name == "backend_weight" => share(config, weight),
        value => param.spec.kind.plain(&value),
    };
    ShowRow { item: param.name_of(id), value, description: param.about }
}

fn share(config: &Config, weight: f64) -> String {
    let sum: f64 = config.backends().iter().map(|backend| backend.weight).sum();
    format!("{:.6}", if sum > 0.0 { weight / sum } else { 0.0 })
}

/// Names and values that are not the default, for debugging.
pub(super) fn changed_from_default(config: &Config) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for param in PARAMETERS {
        let slot = (param.slot)(config);
        if slot.get(None) != param.spec.kind.default_value() {
            found.push((param.name_of(None), shown(config, param, None)));
        }
        found.extend(
            slot.ids().into_iter().map(|id| (param.name_of(Some(id)), shown(config, param, Some(id)))),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_text;
    use std::path::Path;

    fn config() -> Config {
        let text = "backend_hostname0 = 'a'\nbackend_port0 = 5432\nbackend_weight0 = 1.5\n\
            backend_flag0 = ALWAYS_PRIMARY\nbackend_hostname2 = 'c'\nbackend_port2 = 5432\nbackend_weight2 = 0.5\n\
            health_check_period2 = 7\nconnect_timeout = 1500\nwd_port1 = 9000\nhealth_check_password = 'x'\n";
        parse_text(text, Path::new("p.conf"), &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap().config
    }

    fn pairs(rows: Vec<ShowRow>) -> Vec<String> {
        rows.into_iter().map(|row| format!("{}={}", row.item, row.value)).collect()
    }

    fn rows(name: &str) -> Vec<String> {
        match show(&config(), name) {
            Some(Show::Rows(rows)) => pairs(rows),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_parameter() {
        for (asked, name, value) in [
            ("port", "port", "9999"),
            ("CHILD_LIFE_TIME", "child_life_time", "5min"),
            ("memqcache_total_size", "memqcache_total_size", "64MB"),
            ("client_idle_limit", "client_idle_limit", "0"),
            ("load_balance_mode", "load_balance_mode", "on"),
            ("reset_query_list", "reset_query_list", "ABORT;DISCARD ALL"),
            ("check_temp_table", "check_temp_table", "catalog"),
            ("log_file_mode", "log_file_mode", "0600"),
            ("pool_passwd", "pool_passwd", "*****"),
            ("logdir", "work_dir", "/tmp"),
            ("backend_hostname0", "backend_hostname0", "a"),
            ("backend_hostname7", "backend_hostname7", ""),
            ("connect_timeout9", "connect_timeout9", "1500"),
            ("health_check_period2", "health_check_period2", "7"),
        ] {
            let expected = Show::One { name: name.to_owned(), value: value.to_owned() };
            assert_eq!(show(&config(), asked), Some(expected));
        }
        for unknown in ["", "5", "port1", "other_pgpool", "backend_hostname200", "work_mem"] {
            assert_eq!(show(&config(), unknown), None, "{unknown}");
        }
    }

    #[test]
    fn groups_and_lists_of_nodes() {
        let backend = rows("BACKEND");
        assert_eq!(backend.len(), 14);
        assert_eq!(backend[5], "backend_flag0=ALLOW_TO_FAILOVER|ALWAYS_PRIMARY");
        assert_eq!(backend[6..8], ["backend_sslmode0=auto", "backend_hostname2=c"]);
        assert_eq!(rows("backend_hostname"), ["backend_hostname0=a", "backend_hostname2=c"]);
        assert_eq!(
            rows("connect_timeout"),
            ["connect_timeout=1500", "connect_timeout0=1500", "connect_timeout2=1500"]
        );
        let health = rows("health_check");
        assert_eq!(health.len(), 24);
        assert_eq!(
            (health[0].as_str(), health[3].as_str()),
            ("health_check_period=0", "health_check_password=*****")
        );
        assert_eq!(rows("watchdog"), ["hostname1=localhost", "pgpool_port1=0", "wd_port1=9000"]);
        assert!(rows("heartbeat").is_empty());
        let all = rows("all");
        let one = PARAMETERS.iter().filter(|param| param.spec.nodes == Nodes::One).count();
        assert_eq!(all.len(), 14 + 24 + 3 + one);
    }

    #[test]
    fn parameters_with_their_defaults() {
        let all = described(&config());
        let one = |name: &str| all.iter().find(|param| param.name == name).cloned();
        let port = one("port").unwrap();
        assert_eq!((port.value.as_str(), port.default.as_str()), ("9999", "9999"));
        assert_eq!(one("backend_weight2").map(|param| (param.value, param.default)).unwrap().0, "0.5");
        assert_eq!(one("connect_timeout").map(|param| param.default), Some("10000".to_owned()));
        assert_eq!(one("sr_check_password").map(|param| param.value), Some("*****".to_owned()));
        assert_eq!(describe_one(&config(), "logdir").map(|param| param.name), Some("work_dir".to_owned()));
        assert_eq!(
            describe_one(&config(), "backend_port2").map(|param| param.value),
            Some("5432".to_owned())
        );
        assert_eq!(describe_one(&config(), "backend_port"), None);
        assert_eq!(describe_one(&config(), "nosuch"), None);
    }

    #[test]
    fn pool_status() {
        let rows = pairs(status(&config()));
        for expected in [
            "port=9999",
            "child_life_time=300",
            "load_balance_mode=1",
            "sr_check_password=*****",
            "wd_port1=9000",
        ] {
            assert!(rows.iter().any(|row| row == expected), "{expected}");
        }
        assert_eq!(rows[rows.len() - 5], "backend_weight2=0.250000");
        assert_eq!(rows.iter().filter(|row| row.starts_with("health_check_period")).count(), 2);
    }
}
