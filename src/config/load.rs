//! From text to a `Config`: lines, then what their names and values mean, then the checks of the whole.
//! All that is wrong is told at once. `parse_text` reads files only through the function it is given.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::lexer::{self, Line};
use super::names::{self, Meaning, Naming};
use super::old_mode::OldMode;
use super::param::Param;
use super::table::{self, Config};
use super::value::Value;
use super::{ConfigError, Note, Place, Rejected, check};

/// How deep files may include files.
const DEEPEST: usize = 10;

/// A configuration that can be used, and what is to be said about its files.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings.
    pub notes: Vec<Note>,
    /// How the names of the files were read.
    pub(super) naming: Naming,
    /// The clustering mode came from parameters of older versions.
    pub(super) old_mode: bool,
    /// The names of today need a number of this member of the watchdog that no file holds.
    pub(super) needs_number: bool,
    /// Defaults of older versions that hold here: name and value.
    pub(super) old_defaults: Vec<(String, i64)>,
}

/// Reads the text of a file; the error of a file that is not there is `NotFound`.
type Read<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// Reads the configuration file. A file that is not there leaves everything at its default, with a note.
pub fn load(path: &Path) -> Result<Loaded, Rejected> {
    match read_file(path) {
        Ok(text) => parse(&text, path, &read_file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut loaded = parse("", path, &read_file)?;
            let text = format!(
                "could not open configuration file: \"{}\": using default configuration parameter values",
                path.display()
            );
            loaded.notes.push(Note { place: None, text });
            Ok(loaded)
        }
        Err(error) => Err(unreadable(path, &error).into()),
    }
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
    ConfigError { place: None, text: format!("cannot read \"{}\": {error}", path.display()) }
}

/// Comments may be in any encoding; a value that is not UTF-8 is found by the mark that this leaves.
pub(super) fn read_file(path: &Path) -> io::Result<String> {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn parse(text: &str, path: &Path, read: Read<'_>) -> Result<Loaded, Rejected> {
    let mut loaded = parse_text(text, path, read)?;
    // Daemons leave the directory they started in.
    if let Ok(base) = std::path::absolute(&loaded.config.base_dir) {
        loaded.config.base_dir = base;
    }
    Ok(loaded)
}

/// Reads a configuration from `text`, which is said to be that of `file`. Only `read` touches files:
/// for `include`, and for `pgpool_node_id` next to the file.
pub fn parse_text(text: &str, file: &Path, read: Read<'_>) -> Result<Loaded, Rejected> {
    let mut lines = Lines { read, settings: Vec::new(), errors: Vec::new(), stop: false };
    lines.read_text(text, file, 0);
    let base_dir = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let own = own_number(&base_dir, read);
    let config = Config { base_dir, ..Config::default() };
    let names = lines.settings.iter().map(|one| one.name.as_str());
    let naming = Naming::new(names, own.clone().ok().flatten().unwrap_or(0));
    let mut reading = Reading {
        config,
        places: HashMap::new(),
        notes: Vec::new(),
        errors: lines.errors,
        tells_own: false,
        old_mode: false,
        old_defaults: Vec::new(),
    };
    reading.take(&lines.settings, &naming);
    reading.settle_member(own.clone().ok().flatten().unwrap_or(0));
    let needs_number = reading.tells_own && own == Ok(None);
    check::all(&mut reading, own);
    let Reading { config, notes, errors, old_mode, old_defaults, .. } = reading;
    if errors.is_empty() {
        Ok(Loaded { config, notes, naming, old_mode, needs_number, old_defaults })
    } else {
        Err(Rejected { notes, errors })
    }
}

/// The number of this member of the watchdog, or why it is not known. Ok(None): there is no such file.
fn own_number(base: &Path, read: Read<'_>) -> Result<Option<usize>, String> {
    for name in ["pgpool_node_id", "pgbalancer_node_id"] {
        let path = base.join(name);
        let text = match read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(&path, &error).text),
        };
        let number = text.trim().parse().ok().filter(|number| *number < crate::error::MAX_NODES);
        return number.map(Some).ok_or_else(|| {
            format!("\"{}\" must hold one number from 0 to {}", path.display(), crate::error::MAX_NODES - 1)
        });
    }
    Ok(None)
}

/// A setting of a file.
struct Setting {
    name: String,
    value: String,
    place: Place,
}

/// The first stage: files to settings.
struct Lines<'a> {
    read: Read<'a>,
    settings: Vec<Setting>,
    errors: Vec<ConfigError>,
    /// Set when files include each other: following all the ways would never end.
    stop: bool,
}

impl Lines<'_> {
    fn read_text(&mut self, text: &str, file: &Path, depth: usize) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (line, text) in (1..).zip(text.split('\n')) {
            let place = Place { file: file.to_owned(), line };
            match lexer::line(text) {
                Ok(Line::Empty) => {}
                Ok(Line::Set { value, .. } | Line::Include(value)) if value.contains(['\0', '\u{fffd}']) => {
                    self.errors.push(error(place, "the value holds a zero byte or is not UTF-8".to_owned()));
                }
                Ok(Line::Set { name, value }) => {
                    self.settings.push(Setting { name: name.to_owned(), value: value.to_owned(), place });
                }
                Ok(Line::Include(name)) => self.include(name, place, depth),
                Err(text) => self.errors.push(error(place, text)),
            }
        }
    }

    fn include(&mut self, name: &str, place: Place, depth: usize) {
        if self.stop {
            return;
        }
        if depth == DEEPEST {
            self.stop = true;
            self.errors.push(error(place, format!("files include each other more than {DEEPEST} deep")));
            return;
        }
        let path = place.file.parent().unwrap_or(Path::new("")).join(name);
        match (self.read)(&path) {
            Ok(text) => self.read_text(&text, &path, depth + 1),
            Err(reason) => self.errors.push(error(place, unreadable(&path, &reason).text)),
        }
    }
}

fn error(place: Place, text: String) -> ConfigError {
    ConfigError { place: Some(place), text }
}

/// The second stage: settings to a configuration.
pub(super) struct Reading {
    pub(super) config: Config,
    places: HashMap<(&'static str, Option<usize>), Place>,
    pub(super) notes: Vec<Note>,
    pub(super) errors: Vec<ConfigError>,
    /// Old names, which do not need a number, tell which member of the watchdog this is.
    pub(super) tells_own: bool,
    /// The clustering mode came from old names.
    old_mode: bool,
    old_defaults: Vec<(String, i64)>,
}

impl Reading {
    fn take(&mut self, settings: &[Setting], naming: &Naming) {
        let mut mode = OldMode::default();
        let has = |is_it: fn(&str) -> bool| settings.iter().any(|one| is_it(&one.name));
        // Where members have numbers, only the name of this one's host says which it is.
        self.tells_own = has(|name| name.eq_ignore_ascii_case("wd_hostname"))
            || has(names::is_old_member) && !has(names::is_numbered_member);
        for setting in settings {
            match naming.meaning(&setting.name) {
                Meaning::Param(param, id, note) => {
                    self.note(&setting.place, note);
                    self.set(param, id, setting);
                }
                Meaning::Mode(part) => {
                    if let Err(text) = mode.take(part, &setting.value) {
                        let text = format!("{}: {text}", setting.name);
                        self.errors.push(error(setting.place.clone(), text));
                    }
                    mode.place = Some(setting.place.clone());
                }
                Meaning::Gone(reason) => {
                    self.note(&setting.place, Some(names::gone(&setting.name, reason)));
                }
                Meaning::Unknown(text) => self.note(&setting.place, Some(text)),
                Meaning::Wrong(text) => self.errors.push(error(setting.place.clone(), text)),
            }
        }
        self.settle(mode);
    }

    fn set(&mut self, param: &'static Param, id: Option<usize>, setting: &Setting) {
        self.places.insert((param.name, id), setting.place.clone());
        match param.spec.kind.parse(&setting.value) {
            Ok(value) => (param.slot_mut)(&mut self.config).set(id, Some(value)),
            Err(_) if param.spec.hidden => {
                self.errors.push(error(setting.place.clone(), format!("{}: wrong value", setting.name)));
            }
            Err(text) => self.errors.push(error(setting.place.clone(), format!("{}: {text}", setting.name))),
        }
    }

    fn note(&mut self, place: &Place, text: Option<String>) {
        self.notes.extend(text.map(|text| Note { place: Some(place.clone()), text }));
    }

    /// Turns the three old parameters into `backend_clustering_mode`, unless that is set itself.
    fn settle(&mut self, mode: OldMode) {
        let Some(place) = &mode.place else { return };
        if self.place("backend_clustering_mode").is_some() {
            let text =
                "the old parameters of the clustering mode are ignored: backend_clustering_mode is set";
            return self.note(&place.clone(), Some(text.to_owned()));
        }
        match mode.becomes() {
            Ok(new) => {
                self.old_mode = true;
                let text = format!(
                    "parameters of older versions are taken as backend_clustering_mode = '{}'{}",
                    new.word(),
                    if mode.is_on() { "" } else { ": neither replication_mode nor master_slave_mode is on" },
                );
                self.note(&place.clone(), Some(text));
                self.config.backend_clustering_mode = new;
            }
            Err(text) => self.errors.push(error(place.clone(), text)),
        }
        let quorum = self.place("failover_when_quorum_exists").cloned();
        if let (Some(true), Some(place), true) =
            (mode.replication, quorum, self.config.failover_when_quorum_exists)
        {
            let text = "failover_when_quorum_exists cannot be on together with replication_mode";
            self.errors.push(error(place, text.to_owned()));
        }
    }

    /// The older names of the watchdog had defaults that the ones of today do not have.
    fn settle_member(&mut self, own: usize) {
        if !self.tells_own || !self.config.use_watchdog {
            return;
        }
        let place = self.place("use_watchdog").cloned();
        let listens = self.config.wd_listen_port > 0;
        for (name, default) in [("wd_port", 9000), ("heartbeat_port", 9694)] {
            let Some(param) = table::find(name) else { continue };
            if self.places.contains_key(&(param.name, Some(own))) || name == "wd_port" && listens {
                continue;
            }
            (param.slot_mut)(&mut self.config).set(Some(own), Some(Value::Int(default)));
            let name = param.name_of(Some(own));
            let text = format!(
                "{name} is not set: {default} is taken, the default of the versions with older names"
            );
            self.notes.push(Note { place: place.clone(), text });
            self.old_defaults.push((name, default));
        }
    }

    /// Where a parameter was set last.
    pub(super) fn place(&self, name: &'static str) -> Option<&Place> {
        self.place_of(name, None)
    }

    /// Where the parameter of a node was set last.
    pub(super) fn place_of(&self, name: &'static str, id: Option<usize>) -> Option<&Place> {
        self.places.get(&(name, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads files of a table.
    fn read_from<'a>(files: &'a [(&'a str, &'a str)]) -> impl Fn(&Path) -> io::Result<String> + 'a {
        |path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    }

    fn parse_with(text: &str, files: &[(&str, &str)]) -> Result<Loaded, Rejected> {
        parse_text(text, Path::new("/etc/x/p.conf"), &read_from(files))
    }

    fn loaded(text: &str) -> Loaded {
        parse_with(text, &[]).unwrap()
    }

    fn notes(loaded: &Loaded) -> Vec<String> {
        loaded.notes.iter().map(ToString::to_string).collect()
    }

    fn errors(text: &str, files: &[(&str, &str)]) -> Vec<String> {
        parse_with(text, files).unwrap_err().errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_the_mqtt_process_cannot_use_is_an_error() {
        for (lines, says) in [
            ("mqtt_broker = 'http://b'", "is not mqtt"),
            ("mqtt_topic_prefix = 'a/#'", "cannot begin topics"),
            ("mqtt_topic_prefix = ''", "cannot begin topics"),
            ("mqtt_client_id = ''", "one character or more"),
            ("mqtt_version = '4.0'", "3.1.1"),
            ("mqtt_enabled = on\nmqtt_password = 'x'", "needs mqtt_username"),
            ("mqtt_enabled = on\nmqtt_tls_cert_file = 'x'", "belong together"),
        ] {
            let errors = errors(lines, &[]);
            assert!(errors.len() == 1 && errors[0].contains(says), "{lines}: {errors:?}");
        }
        for good in [
            "mqtt_password = 'x'",
            "mqtt_enabled = on\nmqtt_version = 5\nmqtt_password = 'x'",
            "enable_mqtt = on\nmqtt_broker_address = 'mqtts://b:1'\nmqtt_publish_connection = off",
        ] {
            assert_eq!(parse_with(good, &[]).map(drop).map_err(|wrong| wrong.errors), Ok(()), "{good}");
        }
    }

    /// The sample of the README, whose names are partly those of pgpool-II before 4.2.
    const README: &str = "\
# Connection settings
listen_addresses = '*'
port = 5432
socket_dir = '/tmp'
pcp_listen_addresses = '*'
pcp_port = 9898
# Backend PostgreSQL servers
backend_hostname0 = 'localhost'
backend_port0 = 5433
backend_weight0 = 1
backend_data_directory0 = '/usr/local/pgsql/data1'
backend_flag0 = 'ALLOW_TO_FAILOVER'
backend_hostname1 = 'localhost'
backend_port1 = 5434
backend_weight1 = 1
backend_data_directory1 = '/usr/local/pgsql/data2'
backend_flag1 = 'ALLOW_TO_FAILOVER'
# Connection pooling
num_init_children = 32
max_pool = 4
child_life_time = 300
child_max_connections = 0
connection_cache = on
reset_query_list = 'ABORT; DISCARD ALL'
# Load balancing
load_balance_mode = on
ignore_leading_white_space = on
# Health checking
health_check_period = 30
health_check_timeout = 20
health_check_user = 'postgres'
health_check_password = 'postgres'
health_check_database = 'postgres'
health_check_max_retries = 3
# Failover and failback
failover_on_backend_error = off
detach_false_primary = on
# Watchdog
use_watchdog = on
wd_hostname = 'localhost'
wd_port = 9000
# AI Load Balancing (NEW)
ai_load_balancing = on
ai_learning_rate = 0.01
ai_exploration_rate = 0.1
ai_health_weight = 0.4
ai_response_time_weight = 0.3
ai_load_weight = 0.3
# REST API Server (NEW)
rest_api_enabled = on
rest_api_port = 8080
rest_api_jwt_secret = 'your-secret-key-here'
rest_api_jwt_expiry = 3600
# MQTT Event Publishing (NEW)
mqtt_enabled = on
mqtt_broker = 'localhost'
mqtt_port = 1883
mqtt_client_id = 'pgbalancer'
mqtt_topic_prefix = 'pgbalancer'
";

    #[test]
    fn the_sample_of_the_readme_loads() {
        let loaded = loaded(README);
        assert_eq!(
            notes(&loaded),
            [
                "/etc/x/p.conf:4: socket_dir is an old name: taken as unix_socket_directories",
                "/etc/x/p.conf:40: wd_hostname is an old name: taken as hostname0",
                "/etc/x/p.conf:41: wd_port is an old name: taken as wd_port0",
                "/etc/x/p.conf:39: heartbeat_port0 is not set: 9694 is taken, the default of the versions with older names",
            ]
        );
        let config = loaded.config;
        assert_eq!((config.port, config.listen_addresses.as_slice()), (5432, &["*".to_owned()][..]));
        assert_eq!(config.reset_query_list, ["ABORT", "DISCARD ALL"]);
        assert_eq!((config.hostname.get(0).as_str(), *config.wd_port.get(0)), ("localhost", 9000));
        assert_eq!(*config.health_check_period.get(7), 30);
        assert!(config.rest_api_enabled && !config.failover_on_backend_error);
        let backends = config.backends();
        assert_eq!(backends.iter().map(|backend| backend.port).collect::<Vec<_>>(), [5433, 5434]);
        assert_eq!(config.path("pool_passwd"), Path::new("/etc/x/pool_passwd"));
        assert_eq!(config.path("/run/x.pid"), Path::new("/run/x.pid"));
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let text = "port = x\n\
            load_balance_mode = ai\n\
            Health_Check_Period1 = 5parsecs\n\
            log_min_messages = loud # why not\n\
            backend_flag0 = 'ALLOW_TO_FAILOVER|DISALLOW_TO_FAILOVER'\n\
            write_function_list = 'a('\n\
            log_destination = 'paper'\n\
            wd_port0\n\
            ai_load_weight = 2\n\
            backend_port = 5432\n";
        assert_eq!(
            errors(text, &[]),
            [
                "/etc/x/p.conf:8: wd_port0 has no value",
                "/etc/x/p.conf:1: port: \"x\" is not a whole number",
                "/etc/x/p.conf:2: load_balance_mode: \"ai\" is not a boolean: use on or off",
                "/etc/x/p.conf:3: Health_Check_Period1: \"5parsecs\" has an unknown unit: use us, ms, s, min, h, d",
                "/etc/x/p.conf:4: log_min_messages: \"loud\" is not one of debug5, debug4, debug3, debug2, debug1, \
                 info, notice, warning, error, log, fatal, panic",
                "/etc/x/p.conf:5: backend_flag0: ALLOW_TO_FAILOVER and DISALLOW_TO_FAILOVER exclude each other",
                "/etc/x/p.conf:6: write_function_list: \"a(\" is not a valid regular expression: unclosed group",
                "/etc/x/p.conf:7: log_destination: \"paper\" is not stderr, syslog or both with a comma",
                "/etc/x/p.conf:9: ai_load_weight: \"2\" is outside of the range 0 to 1",
                "/etc/x/p.conf:10: backend_port needs a number, as in backend_port0",
            ]
        );
    }

    #[test]
    fn the_last_one_wins_and_unknown_names_are_noted() {
        let loaded = loaded("port = 5000\nPORT = 5001\nlisten_adresses = '*'\nfrobnicate = 1\n");
        assert_eq!(loaded.config.port, 5001);
        assert_eq!(
            notes(&loaded),
            [
                "/etc/x/p.conf:3: unknown parameter listen_adresses is ignored: is listen_addresses meant?",
                "/etc/x/p.conf:4: unknown parameter frobnicate is ignored",
            ]
        );
    }

    #[test]
    fn files_include_files() {
        let files = [
            ("/etc/x/more/a.conf", "max_pool = 1\ninclude 'b.conf'\nport = x"),
            ("/etc/x/more/b.conf", "max_pool = 2"),
        ];
        assert_eq!(
            errors("include 'more/a.conf'\ninclude 'c.conf'", &files),
            [
                "/etc/x/p.conf:2: cannot read \"/etc/x/c.conf\": entity not found",
                "/etc/x/more/a.conf:3: port: \"x\" is not a whole number",
            ]
        );
        let loaded = parse_with("max_pool = 9\ninclude = more/b.conf", &files).unwrap();
        assert_eq!(loaded.config.max_pool, 2);
    }

    #[test]
    fn files_that_include_each_other_end() {
        let text = "include 'p.conf'\ninclude './p.conf'\n";
        let errors = errors(text, &[("/etc/x/p.conf", text)]);
        assert_eq!(errors, ["/etc/x/p.conf:1: files include each other more than 10 deep"]);
    }

    #[test]
    fn names_of_older_versions_take_effect() {
        let text = "delegate_IP = '10.0.0.9'\nlogdir = /var/log\nfail_over_on_backend_error = off\n\
            black_function_list = 'nextval, setval'\nwhite_function_list = 'get_.*'\n\
            black_query_pattern_list = 'a;b'\nfollow_master_command = 'x'\n\
            black_memqcache_table_list = 't'\nwhite_memqcache_table_list = 'u'\nrelcache_query_target = master\n\
            other_pgpool_hostname0 = 'b'\nother_pgpool_port0 = 9999\nother_wd_port0 = 9000\n\
            heartbeat_destination0 = 'b'\nheartbeat_destination_port0 = 9694\nheartbeat_device0 = 'eth0'\n";
        let loaded = loaded(text);
        assert_eq!(loaded.notes.len(), 15);
        let config = loaded.config;
        assert_eq!((config.delegate_ip.as_str(), config.work_dir.as_str()), ("10.0.0.9", "/var/log"));
        assert!(!config.failover_on_backend_error);
        assert_eq!(config.write_function_list, ["nextval", "setval"]);
        assert_eq!(config.primary_routing_query_pattern_list, ["a", "b"]);
        assert_eq!((config.hostname.get(1).as_str(), *config.wd_port.get(1)), ("b", 9000));
        assert_eq!(config.heartbeat_hostname.get(1), "b");
        assert_eq!(config.heartbeat_device.get(1), "eth0");
        assert!(!config.heartbeat_device.is_set(0));
    }

    #[test]
    fn the_number_of_the_member_comes_from_its_file() {
        let text = "use_watchdog = on\nwd_hostname = 'me'\nwd_port = 9000\nother_pgpool_hostname0 = 'b'\n";
        let loaded = parse_with(text, &[("/etc/x/pgpool_node_id", "1\n")]).unwrap();
        assert_eq!(
            (loaded.config.hostname.get(0).as_str(), loaded.config.hostname.get(1).as_str()),
            ("b", "me")
        );
        let bad = errors(text, &[("/etc/x/pgpool_node_id", "one")]);
        assert_eq!(bad, ["/etc/x/p.conf:1: \"/etc/x/pgpool_node_id\" must hold one number from 0 to 127"]);
        // One old name among today's does not say which of the numbers this one is.
        let mixed = "use_watchdog = on\nhostname0 = 'a'\nhostname1 = 'b'\nwd_port = 9000\nwd_port1 = 9000\n";
        assert!(errors(mixed, &[])[0].contains("use_watchdog needs this member's number"));
        // Without anything about this member, as far as the old defaults go.
        for text in ["wd_port = 9002\n", ""] {
            let text = format!("use_watchdog = on\nother_pgpool_hostname0 = 'b'\n{text}");
            let loaded = parse_with(&text, &[]).unwrap();
            let port = if text.contains("wd_port") { 9002 } else { 9000 };
            assert_eq!(*loaded.config.wd_port.get(0), port);
            assert_eq!((*loaded.config.heartbeat_port.get(0), loaded.needs_number), (9694, true));
            assert!(notes(&loaded).iter().any(|note| note.contains("heartbeat_port0 is not set: 9694")));
        }
        let new = "use_watchdog = on\nhostname0 = 'a'\nhostname1 = 'b'\nwd_port0 = 9000\nwd_port1 = 9000\n";
        let bad = errors(new, &[]);
        assert_eq!(
            bad,
            ["/etc/x/p.conf:1: use_watchdog needs this member's number in \"/etc/x/pgpool_node_id\""]
        );
        let bad = errors("use_watchdog = on\nhostname0 = 'a'", &[]);
        assert_eq!(bad, ["/etc/x/p.conf:1: use_watchdog needs wd_port0, the port of this member"]);
    }

    #[test]
    fn the_clustering_mode_of_older_versions() {
        use crate::config::ClusteringMode::*;
        for (text, mode) in [
            ("", StreamingReplication),
            ("replication_mode = off", Raw),
            ("master_slave_sub_mode = stream", Raw),
            ("replication_mode = on", NativeReplication),
            ("master_slave_mode = on", StreamingReplication),
            ("master_slave_mode = on\nmaster_slave_sub_mode = 'logical'", LogicalReplication),
            ("master_slave_sub_mode = SLONY\nmaster_slave_mode = on", Slony),
            ("master_slave_mode = off\nreplication_mode = off", Raw),
            ("master_slave_mode = off\nbackend_clustering_mode = 'snapshot_isolation'", SnapshotIsolation),
            ("backend_clustering_mode = slony", Slony),
        ] {
            assert_eq!(loaded(text).config.backend_clustering_mode, mode, "{text}");
        }
        for text in [
            "replication_mode = on\nmaster_slave_mode = on",
            "replication_mode = on\nfailover_when_quorum_exists = on",
            "master_slave_sub_mode = x",
            "replication_mode = maybe",
        ] {
            assert_eq!(errors(text, &[]).len(), 1, "{text}");
        }
    }

    #[test]
    fn parameters_must_fit_each_other() {
        for (text, error) in [
            (
                "process_management_mode = dynamic\nmax_spare_children = 40",
                "/etc/x/p.conf:2: process_management_mode = dynamic needs min_spare_children (5) < \
                 max_spare_children (40) <= num_init_children (32)",
            ),
            (
                "recovery_1st_stage_command = 'x'\nbackend_hostname0 = 'a'\nbackend_port0 = 5432",
                "/etc/x/p.conf:1: recovery_1st_stage_command needs backend_data_directory0",
            ),
        ] {
            assert_eq!(errors(text, &[]), [error]);
        }
        let half = loaded("backend_hostname3 = 'a'");
        let text = "/etc/x/p.conf:1: backend 3 is not used: there is backend_hostname3, but no backend_port3";
        assert_eq!(notes(&half), [text]);
    }

    #[test]
    fn a_file_that_is_missing_or_strange() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.conf");
        let loaded = load(&path).unwrap();
        assert_eq!(loaded.config.base_dir, dir.path());
        assert!(
            loaded.notes.len() == 1 && notes(&loaded)[0].starts_with("could not open configuration file: ")
        );
        std::fs::write(&path, b"\xef\xbb\xbfport = 5000 # caf\xe9\r\nwd_authkey = 'caf\xe9'\r\n").unwrap();
        let errors = load(&path).unwrap_err().errors;
        assert_eq!(
            errors[0].to_string(),
            format!("{}:2: the value holds a zero byte or is not UTF-8", path.display())
        );
        assert_eq!(errors.len(), 1);
        assert!(load(dir.path()).is_err());
    }

    #[test]
    fn secrets_are_not_printed() {
        let config = loaded(README).config;
        let text = format!("{config:?}");
        assert!(text.contains("\"port\": \"5432\"") && !text.contains("your-secret"), "{text}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse_with(&text, &[("/etc/x/a", "include a")]);
        }

        #[test]
        fn no_setting_panics(lines in proptest::collection::vec(
            ("[a-z_]{1,4}|backend_(port|flag|weight)|wd_port|port|include|other_wd_port|write_function_list|delay_threshold",
             "[0-9]{0,4}", "[ =]{0,2}", "'?[0-9a-zA-Z()*|.,-]{0,6}'?"), 0..8)
        ) {
            let text: String = lines.iter().map(|(a, b, c, d)| format!("{a}{b}{c}{d}\n")).collect();
            let _ = parse_with(&text, &[]);
        }
    }
}
