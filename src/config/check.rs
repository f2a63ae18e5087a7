//! Checks of values that the table cannot express, and of parameters that must fit each other.
#![forbid(unsafe_code)]

use super::load::Reading;
use super::words::{MqttVersion, ProcessManagementMode};
use super::{Config, ConfigError, Note, Place};

/// Checks the whole configuration. `own` is what is known of the number of this member of the watchdog.
pub(super) fn all(reading: &mut Reading, own: Result<Option<usize>, String>) {
    let mut errors = Vec::new();
    let config = &reading.config;
    errors.extend(spare_children(config).map(|text| at(reading.place("max_spare_children"), text)));
    errors.extend(recovery(reading));
    errors.extend(auth_query(config).map(|text| at(reading.place("auth_query"), text)));
    errors.extend(token_secret(config).map(|text| at(reading.place("rest_api_jwt_enabled"), text)));
    errors.extend(mqtt(config).map(|text| at(reading.place("mqtt_enabled"), text)));
    if config.use_watchdog {
        errors.extend(watchdog(reading, own));
    }
    let notes: Vec<Note> = half_backends(reading).collect();
    reading.errors.extend(errors);
    reading.notes.extend(notes);
}

fn at(place: Option<&Place>, text: String) -> ConfigError {
    ConfigError { place: place.cloned(), text }
}

fn auth_query(config: &Config) -> Option<String> {
    let (query, user) = (&config.auth_query, &config.auth_user);
    if query.is_empty() {
        return None;
    }
    if user.is_empty() {
        return Some("auth_query needs auth_user, who asks it".to_owned());
    }
    (!query.contains("$1")).then(|| "auth_query needs $1 where the user's name is to stand".to_owned())
}

fn spare_children(config: &Config) -> Option<String> {
    if config.process_management_mode == ProcessManagementMode::Static {
        return None;
    }
    let (least, most, all) = (config.min_spare_children, config.max_spare_children, config.num_init_children);
    (least >= most || most > all).then(|| {
        format!(
            "process_management_mode = dynamic needs min_spare_children ({least}) < max_spare_children ({most}) \
             <= num_init_children ({all})"
        )
    })
}

/// Fewest bytes of the secret that tokens are signed with: a shorter one can be guessed from one token.
pub const LEAST_TOKEN_SECRET: usize = 32;

fn token_secret(config: &Config) -> Option<String> {
    let length = config.rest_api_jwt_secret.len();
    (config.rest_api_jwt_enabled && length < LEAST_TOKEN_SECRET).then(|| {
        format!(
            "rest_api_jwt_enabled = on needs a rest_api_jwt_secret of at least {LEAST_TOKEN_SECRET} bytes, it has \
             {length} (openssl rand -hex 32 makes a good one)"
        )
    })
}

fn mqtt(config: &Config) -> Option<String> {
    if !config.mqtt_enabled {
        return None;
    }
    if !cfg!(feature = "mqtt") {
        return Some("mqtt_enabled = on needs a program that was built with the feature mqtt".to_owned());
    }
    if config.mqtt_tls_cert_file.is_empty() != config.mqtt_tls_key_file.is_empty() {
        return Some("mqtt_tls_cert_file and mqtt_tls_key_file belong together".to_owned());
    }
    let is_nobodys = !config.mqtt_password.is_empty() && config.mqtt_username.is_empty();
    (is_nobodys && config.mqtt_version == MqttVersion::V3_1_1)
        .then(|| "mqtt_password needs mqtt_username (only MQTT 5 knows passwords of nobody)".to_owned())
}

/// `mqtt_broker`.
pub(super) fn mqtt_broker(text: &str) -> Result<String, String> {
    super::mqtt::Broker::parse(text, 1883, false).map(|_| text.to_owned())
}

/// `mqtt_topic_prefix`: it stands in topics, where these characters mean something else.
pub(super) fn mqtt_prefix(text: &str) -> Result<String, String> {
    let is_wrong = |c: char| matches!(c, '+' | '#') || c.is_control();
    if text.is_empty() || text.starts_with(['/', '$']) || text.ends_with('/') || text.contains(is_wrong) {
        return Err(format!("\"{text}\" cannot begin topics: no +, no #, no / at an end, no $ at the begin"));
    }
    at_most(text, 256)
}

/// `mqtt_client_id`.
pub(super) fn mqtt_client_id(text: &str) -> Result<String, String> {
    match text.is_empty() || text.contains(char::is_control) {
        true => {
            Err("the name at the broker has one character or more, and none that cannot be seen".to_owned())
        }
        false => at_most(text, 128),
    }
}

fn at_most(text: &str, bytes: usize) -> Result<String, String> {
    match text.len() <= bytes {
        true => Ok(text.to_owned()),
        false => Err(format!("it has {} bytes, and {bytes} are the most", text.len())),
    }
}

/// The commands of online recovery are given the data directories.
fn recovery(reading: &Reading) -> Vec<ConfigError> {
    let config = &reading.config;
    let commands = [
        ("recovery_1st_stage_command", &config.recovery_1st_stage_command),
        ("recovery_2nd_stage_command", &config.recovery_2nd_stage_command),
    ];
    let Some((name, _)) = commands.into_iter().find(|(_, command)| !command.is_empty()) else {
        return Vec::new();
    };
    let without = config.backends().into_iter().filter(|backend| backend.data_directory.is_empty());
    without
        .map(|backend| at(reading.place(name), format!("{name} needs backend_data_directory{}", backend.id)))
        .collect()
}

/// A member must know which of the members it is, and the port it listens on.
fn watchdog(reading: &Reading, own: Result<Option<usize>, String>) -> Option<ConfigError> {
    let config = &reading.config;
    let place = reading.place("use_watchdog");
    let own = match own {
        Err(text) => return Some(at(place, text)),
        Ok(Some(own)) => own,
        Ok(None) if config.hostname.ids().count() > 1 && !reading.tells_own => {
            let file = config.path("pgpool_node_id");
            return Some(at(
                place,
                format!("use_watchdog needs this member's number in \"{}\"", file.display()),
            ));
        }
        Ok(None) => 0,
    };
    let missing = *config.wd_port.get(own) == 0 && config.wd_listen_port == 0;
    missing.then(|| at(place, format!("use_watchdog needs wd_port{own}, the port of this member")))
}

/// A server with a port but no host, or the other way round, is not used: somebody should know.
fn half_backends(reading: &Reading) -> impl Iterator<Item = Note> {
    let config = &reading.config;
    let used: Vec<usize> = config.backends().iter().map(|backend| backend.id).collect();
    let named = [("backend_hostname", "backend_port"), ("backend_port", "backend_hostname")];
    named.into_iter().flat_map(move |(there, missing)| {
        let used = used.clone();
        (0..crate::error::MAX_NODES).filter_map(move |id| {
            let place = reading.place_of(there, Some(id))?;
            let alone = !used.contains(&id) && reading.place_of(missing, Some(id)).is_none();
            let text = format!("backend {id} is not used: there is {there}{id}, but no {missing}{id}");
            alone.then(|| Note { place: Some(place.clone()), text })
        })
    })
}

/// `backend_flag`, in its usual form.
pub(super) fn backend_flags(text: &str) -> Result<String, String> {
    let (mut allow, mut disallow, mut always) = (false, false, false);
    for word in text.split('|').map(str::trim).filter(|word| !word.is_empty()) {
        match word.to_ascii_uppercase().as_str() {
            "ALLOW_TO_FAILOVER" => allow = true,
            "DISALLOW_TO_FAILOVER" => disallow = true,
            "ALWAYS_PRIMARY" | "ALWAYS_MASTER" => always = true,
            _ => {
                let known = "ALLOW_TO_FAILOVER, DISALLOW_TO_FAILOVER, ALWAYS_PRIMARY";
                return Err(format!("\"{word}\" is not one of {known}"));
            }
        }
    }
    if allow && disallow {
        return Err("ALLOW_TO_FAILOVER and DISALLOW_TO_FAILOVER exclude each other".to_owned());
    }
    let first = if disallow { "DISALLOW_TO_FAILOVER" } else { "ALLOW_TO_FAILOVER" };
    Ok(if always { format!("{first}|ALWAYS_PRIMARY") } else { first.to_owned() })
}

/// `log_destination`.
pub(super) fn log_destinations(text: &str) -> Result<String, String> {
    let words: Vec<String> = text.split(',').map(|word| word.trim().to_ascii_lowercase()).collect();
    match words.iter().find(|word| !matches!(word.as_str(), "stderr" | "syslog")) {
        Some(_) => Err(format!("\"{text}\" is not stderr, syslog or both with a comma")),
        None => Ok(words.join(",")),
    }
}
