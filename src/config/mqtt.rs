//! `mqtt_broker`: a host, or an address with scheme and port, which say more than `mqtt_port` and `mqtt_tls`.
#![forbid(unsafe_code)]

use super::Config;

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Name or address; one of version 6 without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it is spoken to over TLS.
    pub tls: bool,
}

/// Schemes, and whether they mean TLS.
const SCHEMES: [(&str, bool); 6] =
    [("mqtt", false), ("tcp", false), ("mqtts", true), ("ssl", true), ("tls", true), ("mqtt+tls", true)];

impl Broker {
    /// Reads `host`, `host:port` or `scheme://host:port`; `port` and `tls` count where the text says nothing of them.
    ///
    /// # Errors
    /// Why it names no broker.
    pub fn parse(text: &str, port: u16, tls: bool) -> Result<Broker, String> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest.trim_end_matches('/')),
            None => (None, text),
        };
        let known = |name: &str| SCHEMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let (tls, standard) = match scheme {
            None => (tls, port),
            Some(name) => {
                let (_, tls) = known(name)
                    .ok_or_else(|| format!("\"{name}\" is not mqtt, tcp, mqtts or ssl: {text}"))?;
                // The ports that IANA has given to the two.
                (*tls, if *tls && port == 1883 { 8883 } else { port })
            }
        };
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, behind)) => (host, Some(behind.strip_prefix(':').unwrap_or(behind))),
            // An address of version 6 without brackets has no port.
            None if rest.matches(':').count() > 1 => (rest, None),
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let is_wrong = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '@' | '[' | ']');
        if host.is_empty() || host.len() > 255 || host.contains(is_wrong) {
            return Err(format!("\"{text}\" names no host of a broker"));
        }
        let port = match port {
            None => standard,
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| format!("\"{digits}\" is no port (1 to 65535): {text}"))?,
        };
        Ok(Broker { host: host.to_owned(), port, tls })
    }

    /// As it stands in log lines and reports, and as the client library wants it.
    pub fn address(&self) -> String {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        match self.host.contains(':') {
            true => format!("{scheme}://[{}]:{}", self.host, self.port),
            false => format!("{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl Config {
    /// The broker that events are published at.
    pub fn broker(&self) -> Broker {
        let port = u16::try_from(self.mqtt_port).unwrap_or(1883);
        let broker = Broker::parse(&self.mqtt_broker, port, self.mqtt_tls);
        // It was read before.
        broker.unwrap_or_else(|_| Broker { host: self.mqtt_broker.clone(), port, tls: self.mqtt_tls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers() {
        for (text, expected) in [
            ("localhost", "mqtt://localhost:1883"),
            ("b.example:1999", "mqtt://b.example:1999"),
            ("mqtt://b:1999/", "mqtt://b:1999"),
            ("mqtts://b", "mqtts://b:8883"),
            ("MQTTS://b:8884", "mqtts://b:8884"),
            ("ssl://[::1]:8884", "mqtts://[::1]:8884"),
            ("::1", "mqtt://[::1]:1883"),
            ("tcp://127.0.0.1", "mqtt://127.0.0.1:1883"),
        ] {
            assert_eq!(Broker::parse(text, 1883, false).unwrap().address(), expected, "{text}");
        }
        assert_eq!(Broker::parse("b", 8884, true).unwrap().address(), "mqtts://b:8884");
        for wrong in
            ["", "mqtt://", "http://b", "b:0", "b:70000", "b:x", "a b", "u@b", "mqtt://b/x", "[::1", "b:"]
        {
            assert!(Broker::parse(wrong, 1883, false).is_err(), "{wrong}");
        }
    }
}
