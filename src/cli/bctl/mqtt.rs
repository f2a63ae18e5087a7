//! A client of the broker: subscribes and publishes.
//!
//! Which broker, says an option, a configuration file, or the server over the REST API; user, password and files of TLS are
//! never told by the server.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use paho_mqtt::{Client, Error};
use serde_json::{Value, json};

use super::api::Api;
use super::args::Broker as Options;
use super::failure::Failure;
use super::output::Output;
use super::settings::{Format, Settings};
use super::text::safe;
use crate::config::{self, Broker, MqttVersion};
use crate::role::mqtt::link::Wanted;
use crate::sys::{clock, process};

/// Time to connect, and to be answered.
const LIMIT: Duration = Duration::from_secs(10);

/// A broker that does not answer for so long is not there.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Longest wait before the next attempt to connect again.
const MOST_PAUSE: Duration = Duration::from_secs(10);

/// Prints what is published to a topic.
pub(super) fn subscribe(settings: &Settings, out: Output, at: &Options, topic: &str) -> Result<(), Failure> {
    let (wanted, _) = wanted(settings, at)?;
    follow(out, &wanted, topic)
}

/// Prints everything that the server publishes.
pub(super) fn monitor(settings: &Settings, out: Output, at: &Options) -> Result<(), Failure> {
    let (wanted, prefix) = wanted(settings, at)?;
    let prefix = prefix.unwrap_or_else(|| config::Config::default().mqtt_topic_prefix);
    follow(out, &wanted, &format!("{prefix}/#"))
}

/// Publishes a message.
pub(super) fn publish(
    settings: &Settings,
    out: Output,
    at: &Options,
    topic: &str,
    message: &str,
    retain: bool,
) -> Result<(), Failure> {
    if topic.is_empty() || topic.contains(['+', '#', '\0']) {
        return Err(Failure::Usage(format!(
            "nothing can be published to \"{topic}\": no +, no #, not empty"
        )));
    }
    let (wanted, _) = wanted(settings, at)?;
    let client = connect(&wanted)?;
    let made = if retain { paho_mqtt::Message::new_retained } else { paho_mqtt::Message::new };
    client.publish(made(topic, message, wanted.qos)).map_err(|error| broken(&wanted, &error))?;
    // The message is with the broker; how the connection ends does not matter.
    let _ = client.disconnect(None);
    let json = json!({ "status": "success", "topic": topic, "message": message, "retained": retain });
    out.done(&json.to_string(), &format!("Published to {}: {}", safe(topic), safe(message)));
    Ok(())
}

fn follow(out: Output, wanted: &Wanted, topic: &str) -> Result<(), Failure> {
    let mut client = connect(wanted)?;
    loop {
        let messages = client.start_consuming();
        client.subscribe(topic, wanted.qos).map_err(|error| Failure::Refused(403, refusal(topic, &error)))?;
        // The library says `None` when the connection has broken.
        while let Ok(Some(message)) = messages.recv() {
            let mut stdout = io::stdout().lock();
            let line = line(out.format, &message);
            if stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()).is_err() {
                return Ok(());
            }
        }
        out.hint(&format!("the connection to {} broke; connecting again", wanted.broker.address()));
        client = connect_again(wanted)?;
    }
}

fn refusal(topic: &str, error: &Error) -> String {
    json!({ "error": "Refused", "message": format!("the broker refuses the subscription of {topic}: {error}") })
        .to_string()
}

fn line(format: Format, message: &paho_mqtt::Message) -> String {
    let payload = message.payload_str();
    match format {
        Format::Json => {
            let retained = message.retained();
            json!({ "topic": message.topic(), "payload": payload, "retained": retained }).to_string() + "\n"
        }
        _ => format!("{} {}\n", safe(message.topic()), safe(&payload)),
    }
}

fn connect_again(wanted: &Wanted) -> Result<Client, Failure> {
    let mut pause = Duration::from_millis(250);
    loop {
        std::thread::sleep(pause);
        match connect(wanted) {
            Err(Failure::Connection(_)) => pause = (pause * 2).min(MOST_PAUSE),
            other => return other,
        }
    }
}

fn connect(wanted: &Wanted) -> Result<Client, Failure> {
    let mut client = Client::new(wanted.client()).map_err(|error| Failure::Local(error.to_string()))?;
    client.set_timeout(LIMIT);
    let options = wanted.connection(None).map_err(Failure::Usage)?;
    match client.connect(options) {
        Ok(_) => Ok(client),
        Err(error) => Err(broken(wanted, &error)),
    }
}

fn broken(wanted: &Wanted, error: &Error) -> Failure {
    let text = format!("broker {}: {}", wanted.broker.address(), wanted.why(error));
    match error {
        Error::ConnectReturn(_) | Error::ReasonCode(..) => {
            Failure::Refused(403, json!({ "error": "Refused", "message": text }).to_string())
        }
        _ => Failure::Connection(text),
    }
}

/// The broker and, where it is known, the prefix of the server's topics.
fn wanted(settings: &Settings, at: &Options) -> Result<(Wanted, Option<String>), Failure> {
    let (mut wanted, prefix) = match (&at.broker, &at.file) {
        (Some(text), _) => (bare(broker(text)?, MqttVersion::V3_1_1), None),
        (None, Some(file)) => configured(file)?,
        (None, None) => told(settings)?,
    };
    if at.mqtt5 {
        wanted.version = MqttVersion::V5;
    }
    if let Some(user) = &at.mqtt_user {
        (wanted.username, wanted.password) = (user.clone(), String::new());
    }
    if let Some(path) = &at.mqtt_password_file {
        wanted.password = super::private::password(path)?.to_string();
    }
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    for (file, option) in wanted.files.iter_mut().zip([&at.cafile, &at.cert, &at.key]) {
        if let Some(path) = option {
            *file = Some(absolute(path));
        }
    }
    wanted.qos = at.qos.map_or(1, i32::from);
    Ok((wanted, prefix))
}

fn broker(text: &str) -> Result<Broker, Failure> {
    Broker::parse(text, 1883, false).map_err(Failure::Usage)
}

fn bare(broker: Broker, version: MqttVersion) -> Wanted {
    Wanted {
        broker,
        version,
        // No two clients may have the same.
        client_id: format!("bctl-{}-{}", process::own_id(), clock::monotonic_micros()),
        username: String::new(),
        password: String::new(),
        files: [None, None, None],
        keep_alive: KEEP_ALIVE,
        limit: LIMIT,
        qos: 1,
    }
}

fn configured(file: &Path) -> Result<(Wanted, Option<String>), Failure> {
    let loaded = config::load(file).map_err(|rejected| {
        Failure::Local(
            rejected
                .errors
                .first()
                .map(ToString::to_string)
                .unwrap_or_else(|| format!("cannot read {}", file.display())),
        )
    })?;
    let config = loaded.config;
    let own = bare(config.broker(), config.mqtt_version);
    let wanted = Wanted {
        client_id: own.client_id,
        keep_alive: KEEP_ALIVE,
        limit: LIMIT,
        ..Wanted::configured(&config)
    };
    Ok((wanted, Some(config.mqtt_topic_prefix)))
}

fn told(settings: &Settings) -> Result<(Wanted, Option<String>), Failure> {
    let answer = Api::new(settings)?.get("/mqtt")?;
    let word = |key| answer.value.get(key).and_then(Value::as_str).unwrap_or_default();
    if answer.value.get("enabled") != Some(&Value::Bool(true)) {
        return Err(Failure::Local(
            "the server has mqtt_enabled = off; name a broker with --broker".to_owned(),
        ));
    }
    let version = if word("version") == "5" { MqttVersion::V5 } else { MqttVersion::V3_1_1 };
    Ok((bare(broker(word("broker"))?, version), Some(word("topic_prefix").to_owned())))
}
