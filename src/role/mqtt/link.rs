//! A connection to a broker, by the client library of Eclipse Paho.
#![forbid(unsafe_code)]

use std::fs::File;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use paho_mqtt::{
    AsyncClient, ConnectOptions, ConnectOptionsBuilder, ConnectToken, CreateOptions, CreateOptionsBuilder,
    DeliveryToken, Error, PersistenceType, PropertyCode, QoS, SslOptionsBuilder,
};

use super::wake::Waker;
use crate::config::{Broker, Config, MqttVersion};
use crate::face::mqtt::Message;

/// How long a broker keeps what it knows of an exchange of `mqtt_qos = 2` that was cut, in seconds.
const SESSION: u32 = 3600;

/// Where to connect, as whom.
#[derive(Clone, PartialEq)]
pub struct Wanted {
    /// The broker.
    pub broker: Broker,
    /// The version of MQTT.
    pub version: MqttVersion,
    /// Our name there.
    pub client_id: String,
    /// The user; empty: none.
    pub username: String,
    /// Its password; empty: none.
    pub password: String,
    /// Files of TLS: authorities, our certificate and its key.
    pub files: [Option<PathBuf>; 3],
    /// A connection that was silent for so long is tried.
    pub keep_alive: Duration,
    /// Time to connect.
    pub limit: Duration,
    /// 0 to 2.
    pub qos: i32,
}

impl Wanted {
    /// What a configuration says.
    pub fn configured(config: &Config) -> Wanted {
        let file = |name: &str| (!name.is_empty()).then(|| config.path(name));
        let seconds = |value: i64| Duration::from_secs(u64::try_from(value).unwrap_or(1));
        Wanted {
            broker: config.broker(),
            version: config.mqtt_version,
            client_id: config.mqtt_client_id.clone(),
            username: config.mqtt_username.clone(),
            password: config.mqtt_password.clone(),
            files: [
                file(&config.mqtt_tls_ca_file),
                file(&config.mqtt_tls_cert_file),
                file(&config.mqtt_tls_key_file),
            ],
            keep_alive: seconds(config.mqtt_keepalive),
            limit: seconds(config.mqtt_connect_timeout),
            qos: i32::try_from(config.mqtt_qos).unwrap_or(0),
        }
    }

    /// An exchange that was cut goes on in the next connection.
    pub fn goes_on(&self) -> bool {
        self.qos == 2
    }

    /// What a client is made of.
    pub fn client(&self) -> CreateOptions {
        CreateOptionsBuilder::new()
            .server_uri(self.broker.address())
            .client_id(self.client_id.clone())
            .persistence(PersistenceType::None)
            .mqtt_version(self.raw_version())
            .finalize()
    }

    fn raw_version(&self) -> u32 {
        match self.version {
            MqttVersion::V3_1_1 => paho_mqtt::MQTT_VERSION_3_1_1,
            MqttVersion::V5 => paho_mqtt::MQTT_VERSION_5,
        }
    }

    /// What a connection is made of.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn connection(&self, will: Option<&Message>) -> Result<ConnectOptions, String> {
        let mut options = ConnectOptionsBuilder::with_mqtt_version(self.raw_version());
        options.keep_alive_interval(self.keep_alive).connect_timeout(self.limit).max_inflight(100);
        match self.version {
            MqttVersion::V3_1_1 => options.clean_session(!self.goes_on()),
            MqttVersion::V5 if self.goes_on() => options
                .clean_start(false)
                .properties(paho_mqtt::properties![PropertyCode::SessionExpiryInterval => SESSION]),
            MqttVersion::V5 => options.clean_start(true),
        };
        if let Some(will) = will {
            options.will_message(paho(will, self.qos));
        }
        if !self.username.is_empty() {
            options.user_name(self.username.clone());
        }
        if !self.password.is_empty() {
            options.password(self.password.clone());
        }
        if self.broker.tls {
            options.ssl_options(self.tls()?.finalize());
        }
        Ok(options.finalize())
    }

    fn tls(&self) -> Result<SslOptionsBuilder, String> {
        let mut options = SslOptionsBuilder::new();
        options.enable_server_cert_auth(true).verify(true).ssl_version(paho_mqtt::SslVersion::Tls_1_2);
        // The library would only say that there is no connection.
        for file in self.files.iter().flatten() {
            File::open(file).map_err(|error| format!("could not open \"{}\": {error}", file.display()))?;
        }
        let [authorities, cert, key] = &self.files;
        let wrong = |error: Error| error.to_string();
        if let Some(file) = authorities {
            options.trust_store(file).map_err(wrong)?.disable_default_trust_store(true);
        }
        if let Some(file) = cert {
            options.key_store(file).map_err(wrong)?;
        }
        if let Some(file) = key {
            options.private_key(file).map_err(wrong)?;
        }
        Ok(options)
    }

    /// Why there is no connection, in words that help.
    pub fn why(&self, error: &Error) -> String {
        match error {
            Error::ConnectReturn(code) => format!("the broker refuses us: {code}"),
            Error::ReasonCode(code, _) => format!("the broker refuses us: {code}"),
            Error::TcpTlsConnectFailure if self.broker.tls => {
                "no connection with TLS: nobody listens, the broker speaks no TLS, its certificate is not for this host or not \
                 from the authorities of mqtt_tls_ca_file, or it does not take ours"
                    .to_owned()
            }
            Error::TcpTlsConnectFailure | Error::TcpConnectCompletionFailure => "nobody listens there".to_owned(),
            Error::TcpConnectTimeout => "it does not answer in time".to_owned(),
            // The library says no more of a broker that hangs up in the middle.
            Error::Failure if self.broker.tls => "the broker has ended the connection before it was made, or TLS failed".to_owned(),
            Error::Failure => "the broker has ended the connection before it was made".to_owned(),
            other => other.to_string(),
        }
    }
}

fn paho(message: &Message, qos: i32) -> paho_mqtt::Message {
    let qos = match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    };
    match message.retained {
        true => paho_mqtt::Message::new_retained(message.topic.as_str(), message.payload.as_slice(), qos),
        false => paho_mqtt::Message::new(message.topic.as_str(), message.payload.as_slice(), qos),
    }
}

/// A client, connected or not.
pub(super) struct Link {
    client: AsyncClient,
    wanted: Wanted,
    waker: Arc<Waker>,
    connecting: Option<ConnectToken>,
    /// Since the last attempt.
    is_lost: Arc<AtomicBool>,
}

/// What has become of a message.
pub(super) enum Fate {
    /// The broker has it.
    Taken,
    /// It does not want it, for this reason.
    Refused(String),
    /// The connection is broken, or about to be.
    Unknown,
}

impl Link {
    pub(super) fn new(wanted: Wanted, waker: &Arc<Waker>) -> Result<Link, String> {
        let client = AsyncClient::new(wanted.client()).map_err(|error| error.to_string())?;
        let (is_lost, waker) = (Arc::new(AtomicBool::new(false)), Arc::clone(waker));
        let (lost, bell) = (Arc::clone(&is_lost), Arc::clone(&waker));
        client.set_connection_lost_callback(move |_| {
            lost.store(true, Ordering::Release);
            bell.wake_up();
        });
        let (lost, bell) = (Arc::clone(&is_lost), Arc::clone(&waker));
        client.set_disconnected_callback(move |_, _, _| {
            lost.store(true, Ordering::Release);
            bell.wake_up();
        });
        Ok(Link { client, wanted, waker, connecting: None, is_lost })
    }

    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Begins to connect.
    pub(super) fn connect(&mut self, will: &Message) -> Result<(), String> {
        let options = self.wanted.connection(Some(will))?;
        self.is_lost.store(false, Ordering::Release);
        self.connecting = Some(self.client.connect(options));
        Ok(())
    }

    /// Whether there is a connection now; `Ok(true)`: one in which an exchange that was cut goes on. `None`: not yet.
    pub(super) fn connected(&mut self) -> Option<Result<bool, String>> {
        let token = self.connecting.as_mut()?;
        let waker = Arc::clone(&self.waker).into();
        let Poll::Ready(result) = Pin::new(token).poll(&mut Context::from_waker(&waker)) else { return None };
        self.connecting = None;
        Some(match result {
            Ok(response) => Ok(response.connect_response().is_some_and(|response| response.session_present)),
            Err(error) => Err(self.wanted.why(&error)),
        })
    }

    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire) || !self.client.is_connected()
    }

    /// Hands over a message; `None`: there is no connection any more.
    pub(super) fn publish(&self, message: &Message) -> Option<DeliveryToken> {
        self.client.try_publish(paho(message, self.wanted.qos)).ok()
    }

    /// What has become of a message; `None`: that is not known yet.
    pub(super) fn fate(&self, token: &mut DeliveryToken) -> Option<Fate> {
        let waker = Arc::clone(&self.waker).into();
        match Pin::new(token).poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => None,
            Poll::Ready(Ok(())) => Some(Fate::Taken),
            Poll::Ready(Err(Error::ReasonCode(code, _))) => Some(Fate::Refused(code.to_string())),
            Poll::Ready(Err(_)) => Some(Fate::Unknown),
        }
    }

    /// Ends the connection; the broker publishes no last will. `exits`: so does the process.
    pub(super) fn end(self, limit: Duration, exits: bool) {
        if self.client.is_connected() {
            // It is about to go, whatever comes of it.
            let _ = self.client.disconnect_after(limit).wait_for(limit);
        }
        if exits {
            // The library would wait a second for its threads.
            std::mem::forget(self.client);
        }
    }
}
