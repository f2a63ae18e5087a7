//! From the name in a file to a parameter: numbers of nodes, names of older versions, and for a name
//! that nobody knows the nearest one that is known.
#![forbid(unsafe_code)]

use super::param::{Nodes, Param};
use super::table::{self, PARAMETERS};

/// What an old name that has no single new one becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Was about this member of the watchdog: now the value of its number.
    Own(&'static str),
    /// Was about the n-th of the other members: now the value of that member's number.
    Other(&'static str),
    /// Now a part of `backend_clustering_mode`.
    Mode(ModePart),
    /// Has no effect any more; the text says why.
    Gone(&'static str),
}

/// Old parameters that together are `backend_clustering_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModePart {
    /// `replication_mode`
    Replication,
    /// `master_slave_mode`
    MasterSlave,
    /// `master_slave_sub_mode`
    SubMode,
}

const PARALLEL: &str = "the parallel mode does not exist";

/// Names of older versions; those that only changed their spelling stand in the table of parameters.
const OLD: &[(&str, Fate)] = &[
    ("wd_hostname", Fate::Own("hostname")),
    ("wd_port", Fate::Own("wd_port")),
    ("wd_heartbeat_port", Fate::Own("heartbeat_port")),
    ("other_pgpool_hostname", Fate::Other("hostname")),
    ("other_pgpool_port", Fate::Other("pgpool_port")),
    ("other_wd_port", Fate::Other("wd_port")),
    ("heartbeat_destination", Fate::Other("heartbeat_hostname")),
    ("heartbeat_destination_port", Fate::Other("heartbeat_port")),
    ("replication_mode", Fate::Mode(ModePart::Replication)),
    ("master_slave_mode", Fate::Mode(ModePart::MasterSlave)),
    ("master_slave_sub_mode", Fate::Mode(ModePart::SubMode)),
    ("allow_inet_domain_socket", Fate::Gone("listen_addresses alone says where clients connect")),
    ("backend_socket_dir", Fate::Gone("backend_hostnameN may be the directory of the socket")),
    ("debug_level", Fate::Gone("log_min_messages says how much is logged")),
    ("enable_query_cache", Fate::Gone("that cache does not exist: see memory_cache_enabled")),
    ("num_reserved_children", Fate::Gone("reserved_connections does its work")),
    ("parallel_mode", Fate::Gone(PARALLEL)),
    ("pcp_timeout", Fate::Gone("pcp connections have no such limit")),
    ("pgpool2_hostname", Fate::Gone(PARALLEL)),
    ("print_timestamp", Fate::Gone("log_line_prefix says how lines begin")),
    ("print_user", Fate::Gone("log_line_prefix says how lines begin")),
    ("replication_strict", Fate::Gone("replicas are always written in order")),
    ("replication_timeout", Fate::Gone("the servers find deadlocks themselves")),
    ("system_db_dbname", Fate::Gone(PARALLEL)),
    ("system_db_hostname", Fate::Gone(PARALLEL)),
    ("system_db_password", Fate::Gone(PARALLEL)),
    ("system_db_port", Fate::Gone(PARALLEL)),
    ("system_db_schema", Fate::Gone(PARALLEL)),
    ("system_db_user", Fate::Gone(PARALLEL)),
];

/// Names of older versions that are not just another spelling, and what becomes of them.
pub(super) fn old_names() -> impl Iterator<Item = (&'static str, String)> {
    OLD.iter().map(|(name, fate)| match fate {
        Fate::Own(new) => (*name, format!("`{new}N` of this member")),
        Fate::Other(new) => (*name, format!("`{new}N` of that member; old numbers leave this member out")),
        Fate::Mode(_) => (*name, "`backend_clustering_mode`".to_owned()),
        Fate::Gone(reason) => (*name, format!("no effect: {reason}")),
    })
}

/// What a name in a file means.
pub(super) enum Meaning {
    /// A parameter, perhaps of one node, and what is to be said about the name.
    Param(&'static Param, Option<usize>, Option<String>),
    /// A part of the clustering mode.
    Mode(ModePart),
    /// Nothing any more: the text says why.
    Gone(&'static str),
    /// A name that nobody knows.
    Unknown(String),
    /// A mistake.
    Wrong(String),
}

fn fate_of(base: &str) -> Option<Fate> {
    OLD.iter().find(|(old, _)| old.eq_ignore_ascii_case(base)).map(|(_, fate)| *fate)
}

/// Whether the name is an older one of a member of the watchdog: then this member's number is 0, or told.
pub(super) fn is_old_member(name: &str) -> bool {
    let (base, id) = split_number(name);
    match fate_of(base) {
        Some(Fate::Own(_)) => id.is_none(),
        Some(Fate::Other(_)) => true,
        Some(Fate::Mode(_) | Fate::Gone(_)) | None => false,
    }
}

/// Whether the name is today's for the host of a member.
pub(super) fn is_numbered_member(name: &str) -> bool {
    let (base, id) = split_number(name);
    id.is_some() && base.eq_ignore_ascii_case("hostname")
}

/// How the names of one configuration are to be read.
#[derive(Debug)]
pub(super) struct Naming {
    /// The number of this member of the watchdog.
    own: usize,
    /// The devices belong to the destinations, whose numbers leave this member out.
    old_heartbeat: bool,
}

impl Naming {
    /// `names` are all of the configuration.
    pub(super) fn new<'a>(mut names: impl Iterator<Item = &'a str>, own: usize) -> Naming {
        Naming { own, old_heartbeat: names.any(|name| starts_with(name, "heartbeat_destination")) }
    }

    /// What `name` means.
    pub(super) fn meaning(&self, name: &str) -> Meaning {
        match name.get(DEVICE.len()..).and_then(|number| number.parse::<usize>().ok()) {
            Some(number) if self.old_heartbeat && starts_with(name, DEVICE) && number >= self.own => {
                old_meaning(name, Fate::Other(DEVICE), Some(Ok(number)), self.own)
            }
            _ => meaning(name, self.own),
        }
    }
}

const DEVICE: &str = "heartbeat_device";

fn starts_with(name: &str, start: &str) -> bool {
    name.get(..start.len()).is_some_and(|part| part.eq_ignore_ascii_case(start))
}

/// Finds out what `name` means. `own` is the number of this member of the watchdog.
fn meaning(name: &str, own: usize) -> Meaning {
    if let Some(param) = renamed(|old| old == name) {
        return told(name, param, None);
    }
    let (base, id) = split_number(name);
    if let Some(found) = table::find(base).and_then(|param| with_number(name, param, id, own)) {
        return found;
    }
    if let Some(fate) = fate_of(base) {
        return old_meaning(name, fate, id, own);
    }
    match renamed(|old| old.eq_ignore_ascii_case(name)) {
        Some(param) => told(name, param, None),
        None => Meaning::Unknown(unknown(name, base)),
    }
}

fn renamed(same: impl Fn(&str) -> bool) -> Option<&'static Param> {
    PARAMETERS.iter().find(|param| param.spec.old_names.iter().any(|old| same(old)))
}

/// The number at the end of a name.
fn split_number(name: &str) -> (&str, Option<Result<usize, ()>>) {
    let base = name.trim_end_matches(|c: char| c.is_ascii_digit());
    match name.strip_prefix(base) {
        None | Some("") => (name, None),
        Some(digits) => (base, Some(digits.parse().map_err(|_| ()))),
    }
}

/// The meaning of a known name with or without a number. None: the name is not this parameter's.
fn with_number(
    name: &str,
    param: &'static Param,
    id: Option<Result<usize, ()>>,
    own: usize,
) -> Option<Meaning> {
    match (param.spec.nodes, id) {
        (Nodes::One | Nodes::AllOrEach(_), None) => Some(Meaning::Param(param, None, None)),
        (Nodes::One, Some(_)) => None,
        (Nodes::Each(_), None) => Some(match fate_of(param.name) {
            Some(fate) => old_meaning(name, fate, None, own),
            None => Meaning::Wrong(format!("{0} needs a number, as in {0}0", param.name)),
        }),
        (Nodes::Each(most) | Nodes::AllOrEach(most), Some(id)) => Some(match id {
            Ok(id) if id < most => Meaning::Param(param, Some(id), None),
            _ => Meaning::Wrong(format!("{name}: the number must lie between 0 and {}", most - 1)),
        }),
    }
}

fn old_meaning(name: &str, fate: Fate, id: Option<Result<usize, ()>>, own: usize) -> Meaning {
    let (new, id) = match (fate, id) {
        (Fate::Gone(reason), _) => return Meaning::Gone(reason),
        (Fate::Mode(part), None) => return Meaning::Mode(part),
        (Fate::Own(new), None) => (new, own),
        (Fate::Other(new), Some(Ok(id))) => (new, if id < own { id } else { id.saturating_add(1) }),
        (Fate::Other(_), None) => return Meaning::Wrong(format!("{name} needs a number, as in {name}0")),
        (Fate::Mode(_) | Fate::Own(_), Some(_)) | (Fate::Other(_), Some(Err(()))) => {
            return Meaning::Unknown(unknown(name, name));
        }
    };
    match table::find(new) {
        Some(param) if matches!(param.spec.nodes, Nodes::Each(most) if id < most) => {
            told(name, param, Some(id))
        }
        _ => Meaning::Wrong(format!("{name}: there cannot be so many")),
    }
}

/// What is said of a name without effect.
pub(super) fn gone(name: &str, reason: &str) -> String {
    format!("{name} has no effect any more: {reason}")
}

fn told(name: &str, param: &'static Param, id: Option<usize>) -> Meaning {
    let note = format!("{name} is an old name: taken as {}", param.name_of(id));
    Meaning::Param(param, id, Some(note))
}

fn unknown(name: &str, base: &str) -> String {
    match nearest(base) {
        Some(known) => format!("unknown parameter {name} is ignored: is {known} meant?"),
        None => format!("unknown parameter {name} is ignored"),
    }
}

/// The known name with the fewest changes, if it takes but few.
fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    // Names are short: what is longer is no slip of the pen.
    if name.len() > 64 {
        return None;
    }
    let most = (name.len() / 4).max(1);
    let distances = PARAMETERS.iter().map(|param| (distance(&name, param.name), param.name));
    distances.filter(|(distance, _)| *distance <= most).min().map(|(_, name)| name)
}

/// How many letters to insert, drop or change to come from one name to the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, a) in from.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, b) in to.bytes().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(name: &str, own: usize) -> String {
        match meaning(name, own) {
            Meaning::Param(param, id, None) => param.name_of(id),
            Meaning::Param(_, _, Some(text)) | Meaning::Unknown(text) | Meaning::Wrong(text) => text,
            Meaning::Gone(reason) => gone(name, reason),
            Meaning::Mode(part) => format!("{part:?}"),
        }
    }

    #[test]
    fn meanings() {
        for (name, expected) in [
            ("port", "port"),
            ("PORT", "port"),
            ("backend_port12", "backend_port12"),
            ("backend_port", "backend_port needs a number, as in backend_port0"),
            ("backend_port128", "backend_port128: the number must lie between 0 and 127"),
            ("heartbeat_port255", "heartbeat_port255"),
            ("health_check_period", "health_check_period"),
            ("health_check_period3", "health_check_period3"),
            ("wd_port3", "wd_port3"),
            ("wd_port", "wd_port is an old name: taken as wd_port1"),
            ("wd_hostname", "wd_hostname is an old name: taken as hostname1"),
            ("wd_heartbeat_port", "wd_heartbeat_port is an old name: taken as heartbeat_port1"),
            ("other_pgpool_hostname0", "other_pgpool_hostname0 is an old name: taken as hostname0"),
            ("other_pgpool_hostname1", "other_pgpool_hostname1 is an old name: taken as hostname2"),
            (
                "heartbeat_destination_port1",
                "heartbeat_destination_port1 is an old name: taken as heartbeat_port2",
            ),
            ("other_wd_port", "other_wd_port needs a number, as in other_wd_port0"),
            ("other_wd_port127", "other_wd_port127: there cannot be so many"),
            ("delegate_IP", "delegate_IP is an old name: taken as delegate_ip"),
            ("delegate_ip", "delegate_ip"),
            ("Logdir", "Logdir is an old name: taken as work_dir"),
            ("socket_dir", "socket_dir is an old name: taken as unix_socket_directories"),
            ("replication_mode", "Replication"),
            ("debug_level", "debug_level has no effect any more: log_min_messages says how much is logged"),
            ("Parallel_mode", "Parallel_mode has no effect any more: the parallel mode does not exist"),
            ("listen_adresses", "unknown parameter listen_adresses is ignored: is listen_addresses meant?"),
            ("backend_hostnam0", "unknown parameter backend_hostnam0 is ignored: is backend_hostname meant?"),
            ("port1", "unknown parameter port1 is ignored: is port meant?"),
            ("work_mem", "unknown parameter work_mem is ignored"),
        ] {
            assert_eq!(tell(name, 1), expected);
        }
    }

    #[test]
    fn a_renamed_parameter_is_not_a_slip() {
        for (old, _) in OLD.iter().filter(|(old, _)| *old != "wd_port") {
            assert!(table::find(old).is_none(), "{old} is both old and new");
        }
    }
}
