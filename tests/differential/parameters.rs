//! The same configuration file in Debian's pgpool-II and in ours: what `PGPOOL SHOW ALL` and `SHOW POOL_STATUS` say of it, and what
//! `PGPOOL SET` and `RESET` answer. Descriptions are our own words everywhere. The rows of single parameters
//! come in the order of our table; theirs in that of the length of the names.

use std::path::PathBuf;

use regex::Regex;

use super::PGPOOL;
use crate::harness::balancer::{Conf, Program};
use crate::harness::client::Client;
use crate::harness::{Balancer, shared};

/// Every kind of value away from its default: switches, words, lists, numbers with a unit and without, single nodes.
const CHANGED: &[(&str, &str)] = &[
    ("num_init_children", "4"),
    ("max_pool", "7"),
    ("child_life_time", "90"),
    ("child_max_connections", "1000"),
    ("connection_life_time", "1h"),
    ("client_idle_limit", "2d"),
    ("reset_query_list", "'ABORT; DISCARD ALL; SELECT 1'"),
    ("reserved_connections", "1"),
    ("authentication_timeout", "45s"),
    ("log_line_prefix", "'%t: pid %p: '"),
    ("log_error_verbosity", "terse"),
    ("client_min_messages", "warning"),
    ("log_min_messages", "info"),
    ("log_connections", "true"),
    ("log_statement", "1"),
    ("log_standby_delay", "none"),
    ("syslog_facility", "'LOCAL3'"),
    ("syslog_ident", "'balancer'"),
    ("log_rotation_age", "90min"),
    ("log_rotation_size", "2048"),
    ("log_filename", "'x.log'"),
    ("load_balance_mode", "off"),
    ("read_only_function_list", "'get_.*, show_.*'"),
    ("write_function_list", "'nextval,setval'"),
    ("primary_routing_query_pattern_list", "'SELECT now.*;UPDATE t'"),
    ("database_redirect_preference_list", "'postgres:primary'"),
    ("app_name_redirect_preference_list", "'psql:standby(0.5)'"),
    ("disable_load_balance_on_write", "always"),
    ("statement_level_load_balance", "on"),
    ("sr_check_period", "7"),
    ("sr_check_password", "'secret'"),
    ("delay_threshold", "10000000"),
    ("prefer_lower_delay_standby", "on"),
    ("health_check_period", "0"),
    ("health_check_timeout", "11"),
    ("health_check_user", "'checker'"),
    ("health_check_max_retries1", "5"),
    ("health_check_password1", "'secret'"),
    ("connect_timeout", "3000"),
    ("failover_command", "'/bin/true %d %h'"),
    ("failover_on_backend_shutdown", "off"),
    ("search_primary_node_timeout", "1min"),
    ("auto_failback_interval", "2min"),
    ("recovery_user", "'rec'"),
    ("recovery_timeout", "10s"),
    ("wd_priority", "3"),
    ("wd_interval", "4"),
    ("wd_lifecheck_user", "'watcher'"),
    ("wd_monitoring_interfaces_list", "'any'"),
    ("hostname1", "'other'"),
    ("wd_port1", "9000"),
    ("pgpool_port1", "9999"),
    ("heartbeat_hostname1", "'other'"),
    ("heartbeat_port1", "9694"),
    ("memqcache_total_size", "128MB"),
    ("memqcache_expire", "90"),
    ("memqcache_maxcache", "100kB"),
    ("cache_safe_memqcache_table_list", "'a,b'"),
    ("relcache_size", "300"),
    ("relcache_query_target", "load_balance_node"),
    ("backend_weight1", "2.5"),
    ("backend_data_directory1", "'/data/one'"),
    ("backend_application_name1", "'one'"),
    ("backend_flag0", "'DISALLOW_TO_FAILOVER'"),
    ("backend_flag2", "'ALWAYS_PRIMARY|DISALLOW_TO_FAILOVER'"),
];

/// Rows of theirs whose value is another in ours: the start of the name, theirs, ours, why.
const OTHER: &[(&str, &str, &str, &str)] = &[
    ("health_check_user", "nobody", "", "the default of version 4.6 and later"),
    ("wd_lifecheck_user", "nobody", "", "the default of version 4.6 and later"),
    ("failover_on_backend_shutdown", "on", "off", "the default of the manual"),
    ("log_file_mode", "384", "0600", "a mode is read in octal, and in octal in the file"),
    ("wd_authkey", "", "*****", "a secret"),
    ("backend_weight1", "2", "2.5", "theirs shows no fraction"),
    ("read_only_function_list", "get_.*, show_.*", "get_.*,show_.*", BLANKS),
    ("reset_query_list", "ABORT; DISCARD ALL; SELECT 1", "ABORT;DISCARD ALL;SELECT 1", BLANKS),
    ("replication_mode", "off", NOWHERE, "an old name: part of backend_clustering_mode"),
];

/// The same of `SHOW POOL_STATUS`.
const OTHER_STATUS: &[(&str, &str, &str, &str)] = &[
    ("health_check_user", "nobody", "", "the default of version 4.6 and later"),
    ("wd_lifecheck_user", "nobody", "", "the default of version 4.6 and later"),
    ("failover_on_backend_shutdown", "1", "0", "the default of the manual"),
    ("pool_passwd", "pool_passwd", "*****", "hidden in PGPOOL SHOW as well"),
    ("backend_clustering_mode", "1", "streaming_replication", WORD),
    ("log_error_verbosity", "1", "default", WORD),
    ("log_error_verbosity", "0", "terse", WORD),
    ("client_min_messages", "18", "notice", WORD),
    ("client_min_messages", "19", "warning", WORD),
    ("log_min_messages", "19", "warning", WORD),
    ("log_min_messages", "17", "info", WORD),
    ("log_standby_delay", "2", "if_over_threshold", WORD),
    ("log_standby_delay", "3", "none", WORD),
    ("disable_load_balance_on_write", "2", "transaction", WORD),
    ("disable_load_balance_on_write", "4", "always", WORD),
    ("check_temp_table", "1", "catalog", WORD),
    ("relcache_query_target", "1", "primary", WORD),
    ("relcache_query_target", "2", "load_balance_node", WORD),
    ("wd_lifecheck_method", "2", "heartbeat", WORD),
    ("memqcache_method", "1", "shmem", WORD),
    ("dml_adaptive_object_relationship_list", "(null)", "", "an empty list is empty"),
    ("database_redirect_preference_list", "(null)", "", "an empty list is empty"),
    ("app_name_redirect_preference_list", "(null)", "", "an empty list is empty"),
    ("read_only_function_list", "get_.*, show_.*", "get_.*,show_.*", BLANKS),
    ("reset_query_list", "ABORT; DISCARD ALL; SELECT 1", "ABORT;DISCARD ALL;SELECT 1", BLANKS),
    ("memqcache_cache_oiddir", "/var/log/pgpool/oiddir", NOWHERE, "shown by the name it has in the file"),
    ("memqcache_stats_start_time", "TIME", NOWHERE, "there is no query cache yet"),
    ("memqcache_no_cache_hits", "0", NOWHERE, "there is no query cache yet"),
    ("memqcache_cache_hits", "0", NOWHERE, "there is no query cache yet"),
];

const BLANKS: &str = "the items of a list, without the blanks around them";
const NOWHERE: &str = "(no such row)";
const WORD: &str = "the word of the file, where theirs is a number of its source";

/// Names of 4.3.5 that we know by today's.
const TODAY: &[(&str, &str)] =
    &[("socket_dir", "unix_socket_directories"), ("logdir", "work_dir"), ("delegate_IP", "delegate_ip")];

/// Rows that theirs do not have.
const NEW: &[(&str, &[&str])] = &[
    (
        "of version 4.4 and later",
        &[
            "unix_socket_group",
            "unix_socket_permissions",
            "process_management_mode",
            "process_management_strategy",
            "min_spare_children",
            "max_spare_children",
            "log_pcp_processes",
            "notice_per_node_statement",
            "log_backend_messages",
            "user_redirect_preference_list",
            "track_table_mutation_*",
            "delay_threshold_by_time",
            "replication_delay_source_*",
            "recovery_database",
            "trusted_server_command",
            "wd_listen_*",
            "wd_heartbeat_listen_*",
        ],
    ),
    (
        "ours",
        &[
            "sessions_per_child",
            "pcp_socket_group",
            "pcp_socket_permissions",
            "pcp_node_info_format",
            "io_method",
            "backend_sslmode*",
            "ssl_min_protocol_version",
            "ssl_max_protocol_version",
            "read_after_write",
            "failover_session_policy",
            "failover_wait_timeout",
            "pause_timeout",
            "max_user_connections*",
            "auth_query*",
            "auth_failure_delay",
            "auth_user",
            "auth_dbname",
            "max_db_connections*",
            "log_min_duration_statement",
            "pgpool_quirks",
            "failover_session_policy",
            "failover_wait_timeout",
            "log_format",
            "load_balance_algorithm",
            "consensus_mode",
            "ai_*",
            "rest_api_*",
            "mqtt_*",
        ],
    ),
];

/// Further rows of ours in `SHOW POOL_STATUS`, which in theirs lacks some parameters.
const NEW_STATUS: &[(&str, &[&str])] = &[
    (
        "parameters that theirs leaves out",
        &[
            "logging_collector",
            "log_directory",
            "log_filename",
            "log_file_mode",
            "log_rotation_*",
            "log_truncate_on_rotation",
            "health_check_test",
            "wd_authkey",
            "failover_when_quorum_exists",
            "failover_require_consensus",
            "allow_multiple_failover_requests_from_node",
            "enable_consensus_with_half_votes",
            "wd_remove_shutdown_nodes",
            "wd_lost_node_removal_timeout",
            "wd_no_show_node_removal_timeout",
            "memqcache_oiddir",
        ],
    ),
    ("state of ours", &["paused"]),
    (
        "secrets, as stars",
        &["sr_check_password", "health_check_password", "recovery_password", "wd_lifecheck_password"],
    ),
    (
        "what single nodes have for themselves",
        &[
            "health_check_max_retries1",
            "health_check_password1",
            "hostname1",
            "wd_port1",
            "pgpool_port1",
            "heartbeat_*1",
        ],
    ),
];

struct Side {
    balancer: Balancer,
    client: Client,
}

impl Side {
    fn start(program: Program, changes: &[(&str, &str)]) -> Side {
        let conf = changes.iter().fold(Conf::of(shared()), |conf, (name, value)| conf.set(name, value));
        let balancer = Balancer::start_program(program, conf, &[]);
        balancer.wait_roles();
        let client = Client::connect(&balancer.door("postgres"));
        Side { balancer, client }
    }

    /// Names and values, with the places that differ from run to run made equal.
    fn rows(&mut self, command: &str) -> Vec<(String, String)> {
        let reply = self.client.query(command).succeeded();
        let dir = self.balancer.dir.path().to_str().unwrap();
        let time = Regex::new(r"^\w{3} \w{3} [ 0-9]\d .*\n$").unwrap();
        let value = |name: &str, value: &str| match name {
            "port" | "pcp_port" => "PORT".to_owned(),
            // They change while we look.
            _ if name.starts_with("backend_status") || name.starts_with("standby_delay") => {
                "STATE".to_owned()
            }
            _ => time.replace(&value.replace(dir, "DIR"), "TIME").into_owned(),
        };
        let today = |name: &str| {
            TODAY.iter().find(|(old, _)| *old == name).map_or(name, |(_, today)| *today).to_owned()
        };
        let (names, values) = (reply.column("item"), reply.column("value"));
        names.iter().zip(&values).map(|(name, of)| (today(name), value(name, of))).collect()
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    let pattern = Regex::new(&format!("^{}$", pattern.replace('*', ".*"))).unwrap();
    pattern.is_match(name) || pattern.is_match(name.trim_end_matches(|c: char| c.is_ascii_digit()))
}

/// Compares a report; `other` and `new` say what may differ. Returns the rows of `other` that were needed.
fn compare(
    report: &str,
    theirs: &[(String, String)],
    ours: &[(String, String)],
    other: &[(&'static str, &'static str, &'static str, &str)],
    new: &[&[(&str, &[&str])]],
) -> Vec<(&'static str, &'static str)> {
    let mut wrong = Vec::new();
    let mut needed = Vec::new();
    for (name, value) in theirs {
        let our = ours.iter().find(|(of, _)| of == name).map_or(NOWHERE, |(_, value)| value);
        let known = other.iter().find(|(of, from, to, _)| matches(of, name) && from == value && *to == our);
        match known {
            _ if our == value => {}
            Some((name, value, ..)) => needed.push((*name, *value)),
            None => wrong.push(format!("{name}: theirs {value:?}, ours {our:?}")),
        }
    }
    for (name, value) in ours.iter().filter(|(name, _)| !theirs.iter().any(|(of, _)| of == name)) {
        let mut patterns = new.iter().flat_map(|list| list.iter()).flat_map(|(_, names)| names.iter());
        if !patterns.any(|pattern| matches(pattern, name)) {
            wrong.push(format!("{name}: ours alone, {value:?}"));
        }
    }
    assert!(wrong.is_empty(), "{report}:\n{}", wrong.join("\n"));
    needed
}

#[test]
fn the_same_file_shows_the_same_parameters() {
    let mut needed = [Vec::new(), Vec::new()];
    for changes in [&[][..], CHANGED] {
        let mut theirs = Side::start(Program::Pgpool(PathBuf::from(PGPOOL)), changes);
        let mut ours = Side::start(Program::under_test(), changes);
        let (their, our) = (theirs.rows("PGPOOL SHOW ALL"), ours.rows("PGPOOL SHOW ALL"));
        assert!(their.len() > 190, "{their:?}");
        needed[0].extend(compare("PGPOOL SHOW ALL", &their, &our, OTHER, &[NEW]));
        // What nodes have comes first, in the same order.
        let nodes = their.iter().take_while(|(name, _)| name != "allow_multiple_failover_requests_from_node");
        let names = |row: &(String, String)| row.0.clone();
        let nodes: Vec<String> = nodes.map(names).collect();
        assert!(nodes.len() >= 50, "{nodes:?}");
        let known = |row: &&(String, String)| !row.0.starts_with("backend_sslmode");
        assert_eq!(our.iter().filter(known).take(nodes.len()).map(names).collect::<Vec<_>>(), nodes);
        for group in [
            "backend",
            "health_check",
            "watchdog",
            "heartbeat",
            "hostname",
            "backend_flag",
            "connect_timeout",
        ] {
            let command = format!("PGPOOL SHOW {group}");
            let (their, our) = (theirs.rows(&command), ours.rows(&command));
            assert_eq!(
                our.iter().filter(known).map(names).collect::<Vec<_>>(),
                their.iter().map(names).collect::<Vec<_>>(),
                "{group}"
            );
            compare(&command, &their, &our, OTHER, &[NEW]);
        }
        let (their, our) = (theirs.rows("SHOW POOL_STATUS"), ours.rows("SHOW POOL_STATUS"));
        assert!(their.len() > 150, "{their:?}");
        needed[1].extend(compare("SHOW POOL_STATUS", &their, &our, OTHER_STATUS, &[NEW, NEW_STATUS]));
    }
    for (list, needed) in [OTHER, OTHER_STATUS].into_iter().zip(needed) {
        let unused: Vec<_> =
            list.iter().filter(|(name, value, ..)| !needed.contains(&(name, value))).collect();
        assert!(unused.is_empty(), "no difference any more: {unused:#?}");
    }
}

/// A statement, and why the answer is another one.
const SETS: &[(&str, &str)] = &[
    ("PGPOOL SET log_statement = on", ""),
    ("PGPOOL SHOW log_statement", ""),
    ("pgpool set LOG_STATEMENT to 'off';", ""),
    ("PGPOOL SHOW log_statement", ""),
    ("PGPOOL SET log_statement TO TRUE", ""),
    ("PGPOOL SET log_statement TO DEFAULT", ""),
    ("PGPOOL SHOW log_statement", ""),
    ("PGPOOL SET log_statement TO perhaps", "theirs takes any word for on"),
    ("PGPOOL SET log_statement = ''", "theirs takes any word for on"),
    ("PGPOOL SET port = 5", ""),
    ("PGPOOL SET load_balance_mode TO off", ""),
    ("PGPOOL SET backend_weight1 TO 5", ""),
    ("PGPOOL SET health_check_period TO 5", ""),
    ("PGPOOL SET nosuch TO 5", ""),
    ("PGPOOL SET client_idle_limit TO 300", ""),
    ("PGPOOL SHOW client_idle_limit", ""),
    ("PGPOOL SET client_idle_limit TO '6min'", ""),
    ("PGPOOL SHOW client_idle_limit", ""),
    ("PGPOOL SET client_idle_limit TO 5min", "a number with its unit needs no quotes"),
    ("PGPOOL SET client_idle_limit TO -1", "the range is in the DETAIL"),
    ("PGPOOL SET client_idle_limit TO '99999999999'", ""),
    ("PGPOOL SET client_idle_limit TO x", ""),
    ("PGPOOL SET client_idle_limit TO 5.5", "theirs makes it 6"),
    ("PGPOOL SET client_idle_limit TO 400", ""),
    ("PGPOOL SET client_idle_limit_in_recovery TO 5", ""),
    ("PGPOOL SET client_min_messages TO warning", ""),
    ("PGPOOL SET client_min_messages TO loud", ""),
    ("PGPOOL SET log_min_messages TO 'error'", ""),
    ("PGPOOL SET log_error_verbosity TO verbose", ""),
    ("PGPOOL SET log_per_node_statement TO off", ""),
    ("PGPOOL SET log_client_messages TO on", ""),
    ("PGPOOL SET allow_sql_comments TO on", ""),
    ("PGPOOL SET check_unlogged_table TO off", ""),
    ("PGPOOL RESET log_min_messages", ""),
    ("PGPOOL SHOW log_min_messages", ""),
    ("PGPOOL RESET port", ""),
    ("PGPOOL RESET nosuch", ""),
    ("RESET ALL", ""),
    ("DISCARD ALL", ""),
    ("PGPOOL SHOW client_idle_limit", ""),
    ("PGPOOL RESET ALL", ""),
    ("PGPOOL SHOW client_idle_limit", ""),
    ("PGPOOL SET log_statement on", ""),
    ("PGPOOL SET log_statement", ""),
    ("PGPOOL SET LOCAL log_statement TO on", ""),
    (
        "PGPOOL SET log_statement TO on; SELECT 1",
        "theirs drops what follows, we leave all of it to the server",
    ),
    ("PGPOOL SET log_statement TO on, off", "theirs drops what follows, we leave all of it to the server"),
    ("PGPOOL SET", ""),
    ("PGPOOL RESET", ""),
    ("PGPOOL", ""),
];

#[test]
fn set_and_reset_are_answered_alike() {
    let mut theirs = Side::start(Program::Pgpool(PathBuf::from(PGPOOL)), &[]);
    let mut ours = Side::start(Program::under_test(), &[]);
    let answer = |side: &mut Side, command: &str| {
        let reply = side.client.query(command);
        let error = reply.error().map(|error| (error.severity, error.code, error.message));
        format!("{:?} {:?} {error:?}", reply.tags(), reply.rows().first())
    };
    for (command, why) in SETS {
        let (their, our) = (answer(&mut theirs, command), answer(&mut ours, command));
        assert_eq!(their == our, why.is_empty(), "{command}:\n    theirs {their}\n    ours   {our}");
    }
    // None of it reaches another session.
    ours.client.query("PGPOOL SET log_statement = on").succeeded();
    let mut other = Client::connect(&ours.balancer.door("postgres"));
    assert_eq!(other.ask("PGPOOL SHOW log_statement"), "off");
}
