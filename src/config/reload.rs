//! What reading the configuration again changes in a program that runs, and what has to wait for a start.
#![forbid(unsafe_code)]

use std::path::Path;

use super::load::{self, Loaded};
use super::param::{Change, Param};
use super::table::PARAMETERS;
use super::{Config, Note, Rejected};

/// What of a server in use stays as it is: its connections and its status belong to that server.
const BOUND: [&str; 3] = ["backend_hostname", "backend_port", "backend_data_directory"];

/// A configuration to go on with.
#[derive(Debug)]
pub struct Reloaded {
    /// The running one and what may change in it.
    pub config: Config,
    /// Warnings about the files.
    pub notes: Vec<Note>,
    /// Parameters with a new value, with the number of the node.
    pub changed: Vec<String>,
    /// Parameters whose new value has to wait.
    pub needs_restart: Vec<String>,
}

/// Reads the configuration again. A file that is gone is an error here: defaults would stop a service.
pub fn reload(running: &Config, path: &Path) -> Result<Reloaded, Rejected> {
    if let Err(error) = load::read_file(path) {
        return Err(load::unreadable(path, &error).into());
    }
    load::load(path).map(|loaded| merge(running, loaded))
}

fn merge(running: &Config, loaded: Loaded) -> Reloaded {
    let mut result = Reloaded {
        config: running.clone(),
        notes: loaded.notes,
        changed: Vec::new(),
        needs_restart: Vec::new(),
    };
    let used: Vec<usize> = running.backends().iter().map(|backend| backend.id).collect();
    for (param, id) in differing(running, &loaded.config) {
        let bound = BOUND.contains(&param.name) && id.is_some_and(|id| used.contains(&id));
        take(&mut result, param, id, &loaded.config, bound || param.change == Change::Init);
    }
    result
}

/// Parameters that two configurations differ in; for a node, or for all of them.
pub(super) fn differing(one: &Config, other: &Config) -> Vec<(&'static Param, Option<usize>)> {
    let mut found = Vec::new();
    for param in PARAMETERS {
        let (first, second) = ((param.slot)(one), (param.slot)(other));
        if first.get(None) != second.get(None) {
            found.push((param, None));
        }
        let mut ids = [first.ids(), second.ids()].concat();
        ids.sort_unstable();
        ids.dedup();
        let differ = ids.into_iter().filter(|id| own(one, param, *id) != own(other, param, *id));
        found.extend(differ.map(|id| (param, Some(id))));
    }
    found
}

/// The value that a node has for itself.
fn own(config: &Config, param: &Param, id: usize) -> Option<super::value::Value> {
    let slot = (param.slot)(config);
    slot.ids().contains(&id).then(|| slot.get(Some(id)))
}

fn take(result: &mut Reloaded, param: &Param, id: Option<usize>, new: &Config, waits: bool) {
    let name = param.name_of(id);
    if waits {
        return result.needs_restart.push(name);
    }
    let value = match id {
        Some(id) => own(new, param, id),
        None => Some((param.slot)(new).get(None)),
    };
    (param.slot_mut)(&mut result.config).set(id, value);
    result.changed.push(name);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn parse(text: &str) -> Loaded {
        load::parse_text(text, Path::new("p.conf"), &|_| Err(io::ErrorKind::NotFound.into())).unwrap()
    }

    const RUNNING: &str = "port = 5000\nlog_connections = off\nhealth_check_period = 5\n\
        backend_hostname0 = 'a'\nbackend_port0 = 5432\nbackend_weight0 = 1\n\
        backend_hostname1 = 'b'\nbackend_port1 = 5432\nhealth_check_period1 = 7\n";

    #[test]
    fn what_may_change_changes_and_the_rest_is_named() {
        let running = parse(RUNNING).config;
        let new = parse(
            "port = 6000\nlog_connections = on\nhealth_check_period = 6\n\
             backend_hostname0 = 'z'\nbackend_port0 = 5433\nbackend_weight0 = 3\nbackend_data_directory0 = '/d'\n\
             backend_hostname1 = 'b'\nbackend_port1 = 5432\n\
             backend_hostname2 = 'c'\nbackend_port2 = 5432\nssl = on\nmax_pool = 4\n",
        );
        let result = merge(&running, new);
        assert_eq!(
            result.needs_restart,
            ["port", "backend_hostname0", "backend_port0", "backend_data_directory0", "ssl"]
        );
        assert_eq!(
            result.changed,
            [
                "backend_hostname2",
                "backend_port2",
                "backend_weight0",
                "log_connections",
                "health_check_period",
                "health_check_period1"
            ]
        );
        let config = result.config;
        assert_eq!((config.port, config.log_connections, config.ssl), (5000, true, false));
        assert_eq!((*config.health_check_period.get(0), *config.health_check_period.get(1)), (6, 6));
        let backends = config.backends();
        assert_eq!(backends.len(), 3);
        assert_eq!((backends[0].hostname.as_str(), backends[0].port, backends[0].weight), ("a", 5432, 3.0));
        assert_eq!(backends[2].hostname, "c");
    }

    #[test]
    fn nothing_changes_without_a_change() {
        let running = parse(RUNNING).config;
        let result = merge(&running, parse(RUNNING));
        assert!(result.changed.is_empty() && result.needs_restart.is_empty());
        assert_eq!(result.config, running);
    }

    #[test]
    fn a_server_in_use_stays_when_its_lines_go() {
        let running = parse(RUNNING).config;
        let result =
            merge(&running, parse(&RUNNING.replace("backend_hostname1 = 'b'\nbackend_port1 = 5432\n", "")));
        assert_eq!(result.needs_restart, ["backend_hostname1", "backend_port1"]);
        assert_eq!(result.config.backends().len(), 2);
    }

    #[test]
    fn a_file_that_is_gone_or_wrong_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.conf");
        assert!(reload(&Config::default(), &path).is_err());
        std::fs::write(&path, "port = x\n").unwrap();
        assert!(reload(&Config::default(), &path).is_err());
        std::fs::write(&path, "log_statement = on\n").unwrap();
        let running = load::load(&path).unwrap().config;
        assert!(reload(&running, &path).is_ok_and(|result| result.changed.is_empty()));
    }
}
