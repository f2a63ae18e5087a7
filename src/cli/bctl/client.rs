//! Requests to the REST API, one after the other: bounded in size and time, and shown on standard error if that is wanted.
#![forbid(unsafe_code)]

use std::io;
use std::time::Duration;

use serde_json::Value;
use ureq::config::Config;
use ureq::http::{Request, Response};
use ureq::tls::{PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::{Agent, AsSendBody, Body, Timeout};

use super::failure::Failure;
use super::json;
use super::server::Server;
use super::settings::Tls;
use super::{text, unix};

/// Most bytes of an answer.
const LARGEST: u64 = 64 << 20;
const TO_CONNECT: Duration = Duration::from_secs(5);
const IN_ALL: Duration = Duration::from_secs(30);

/// How long an answer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// As a rule.
    Usual,
    /// As long as the server needs.
    Endless,
}

/// What the server answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// 200, or 202 where it goes on.
    pub(super) status: u16,
    /// Its JSON as it came.
    pub(super) text: String,
    /// The same, read.
    pub(super) value: Value,
}

/// A way to the server.
pub(super) struct Client {
    agent: Agent,
    server: Server,
    is_secured: bool,
    verbose: bool,
    token: Option<String>,
}

impl Client {
    /// A file of authorities that cannot be used is a failure.
    pub(super) fn new(server: &Server, tls: Option<&Tls>, verbose: bool) -> Result<Client, Failure> {
        let config = Config::builder()
            .tls_config(authorities(tls)?)
            .timeout_connect(Some(TO_CONNECT))
            .http_status_as_error(false)
            // A token is for this server only.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("bctl/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent = match server {
            Server::Tcp(..) => Agent::new_with_config(config),
            Server::Unix(path) => unix::agent(config, path.clone()),
        };
        Ok(Client { agent, server: server.clone(), is_secured: tls.is_some(), verbose, token: None })
    }

    /// Requests carry this token from now on.
    pub(super) fn set_token(&mut self, token: Option<String>) {
        self.token = token;
    }

    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    pub(super) fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.request("GET", path, None, Patience::Usual)
    }

    /// Sends a request to this path below `/api/v1` and reads the answer. One that says no is a failure.
    pub(super) fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        patience: Patience,
    ) -> Result<Answer, Failure> {
        let mut response = self.send(method, path, body, patience, &[])?;
        let status = response.status().as_u16();
        let read = response.body_mut().with_config().limit(LARGEST).read_to_vec();
        let text = String::from_utf8(read.map_err(|error| self.broken(&error))?).unwrap_or_default();
        self.show_answer(status, &text);
        let value = serde_json::from_str::<Value>(&text).ok();
        match value.filter(Value::is_object) {
            Some(value) if matches!(status, 200..=299) => Ok(Answer { status, text, value }),
            Some(_) => Err(Failure::Refused(status, text)),
            None => Err(self.no_json(status)),
        }
    }

    /// Opens the stream of events. A refusal is read as any other answer.
    pub(super) fn stream(&self, path: &str) -> Result<Response<Body>, Failure> {
        let accept = [("Accept", "text/event-stream")];
        let mut response = self.send("GET", path, None, Patience::Endless, &accept)?;
        let status = response.status().as_u16();
        if status == 200 {
            self.show_answer(status, "");
            return Ok(response);
        }
        let read = response.body_mut().with_config().limit(LARGEST).read_to_string();
        let text = read.map_err(|error| self.broken(&error))?;
        self.show_answer(status, &text);
        match serde_json::from_str::<Value>(&text) {
            Ok(_) => Err(Failure::Refused(status, text)),
            Err(_) => Err(self.no_json(status)),
        }
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        patience: Patience,
        headers: &[(&str, &str)],
    ) -> Result<Response<Body>, Failure> {
        let url = format!("{}/api/v1{path}", self.server.base(self.is_secured));
        self.show_request(method, &url, body);
        let mut request = Request::builder().method(method).uri(&url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() {
            request = request.header("Content-Type", "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let limit = (patience == Patience::Usual).then_some(IN_ALL);
        let sent = if method == "GET" {
            request.body(()).map(|request| self.run(request, limit))
        } else {
            let body = body.map(Value::to_string).unwrap_or_default();
            request.body(body).map(|request| self.run(request, limit))
        };
        let sent = sent.map_err(|error| Failure::Usage(format!("this cannot be asked for: {error}")))?;
        sent.map_err(|error| self.broken(&error))
    }

    fn run(
        &self,
        request: Request<impl AsSendBody>,
        limit: Option<Duration>,
    ) -> Result<Response<Body>, ureq::Error> {
        self.agent.run(self.agent.configure_request(request).timeout_global(limit).build())
    }

    fn broken(&self, error: &ureq::Error) -> Failure {
        let server = &self.server;
        let cannot = |why: String| {
            Failure::Connection(format!(
                "cannot connect to {server}: {why}; is pgbalancer running there, with rest_api_enabled = on?"
            ))
        };
        match error {
            ureq::Error::HostNotFound => cannot("nobody knows this host".to_owned()),
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                cannot(format!("no answer within {} seconds", TO_CONNECT.as_secs()))
            }
            ureq::Error::Timeout(_) => Failure::Connection(format!(
                "{server} did not answer within {} seconds; what was asked for may still be done",
                IN_ALL.as_secs()
            )),
            ureq::Error::BodyExceedsLimit(_) => {
                Failure::Local(format!("the answer of {server} is larger than {} MiB", LARGEST >> 20))
            }
            ureq::Error::Io(error) if is_in_between(error) => Failure::Connection(format!(
                "the connection to {server} broke: {error}; what was asked for may still be done"
            )),
            ureq::Error::Tls(why) => cannot(format!("no TLS: {why}")),
            ureq::Error::NativeTls(why) => cannot(format!("no TLS: {why}")),
            ureq::Error::Io(error) => cannot(error.to_string()),
            ureq::Error::ConnectionFailed => cannot("no address of it can be reached".to_owned()),
            other => Failure::Local(format!("{server} does not speak HTTP as it should: {other}")),
        }
    }

    fn no_json(&self, status: u16) -> Failure {
        let text = format!(
            "the answer of {} (status {status}) is not JSON: is this the port of pgbalancer's REST API?",
            self.server
        );
        match status {
            401 | 403 => Failure::Refused(status, serde_json::json!({ "error": text }).to_string()),
            _ => Failure::Local(text),
        }
    }

    fn show_request(&self, method: &str, url: &str, body: Option<&Value>) {
        if !self.verbose {
            return;
        }
        let token = if self.has_token() { "\nAuthorization: Bearer *****" } else { "" };
        let body = body.map_or("(empty)".to_owned(), |body| json::pretty(&without_secrets(body).to_string()));
        eprintln!("Request:\n{method} {url}{token}\n{body}\n");
    }

    fn show_answer(&self, status: u16, body: &str) {
        if !self.verbose {
            return;
        }
        let body = match serde_json::from_str::<Value>(body) {
            _ if body.is_empty() => "(empty)".to_owned(),
            Ok(value) if value.get("token").is_some() => json::pretty(&without_secrets(&value).to_string()),
            Ok(_) => json::pretty(body),
            Err(_) => text::safe(body),
        };
        eprintln!("Response:\nHTTP {status}\n{body}\n");
    }
}

/// It broke after there was a connection.
fn is_in_between(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
    )
}

/// What may be seen on a screen.
fn without_secrets(value: &Value) -> Value {
    let mut value = value.clone();
    for key in ["password", "token"] {
        if let Some(secret) = value.get_mut(key) {
            *secret = Value::from("*****");
        }
    }
    value
}

/// A part of a path, whatever it is made of.
pub(super) fn part(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    // These two mean another path.
    if matches!(out.as_str(), "." | "..") { out.replace('.', "%2E") } else { out }
}

/// Whose certificates are believed.
fn authorities(tls: Option<&Tls>) -> Result<TlsConfig, Failure> {
    let known = match tls.and_then(|tls| tls.cacert.as_ref()) {
        None => RootCerts::PlatformVerifier,
        Some(path) => {
            let wrong = |why: String| Failure::Usage(format!("cacert {}: {why}", path.display()));
            let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
            let found = parse_pem(&text).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
                Ok(_) => None,
                Err(error) => Some(Err(wrong(error.to_string()))),
            });
            let found = found.collect::<Result<Vec<_>, _>>()?;
            if found.is_empty() {
                return Err(wrong("holds no certificate".to_owned()));
            }
            found.into()
        }
    };
    Ok(TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(known).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_paths_stay_parts() {
        for (text, path) in
            [("12-0-7", "12-0-7"), ("a/b?c#d %", "a%2Fb%3Fc%23d%20%25"), ("..", "%2E%2E"), ("é", "%C3%A9")]
        {
            assert_eq!(part(text), path);
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let value = serde_json::json!({ "username": "a", "password": "b", "token": "c" });
        let shown = without_secrets(&value).to_string();
        assert_eq!(shown, r#"{"password":"*****","token":"*****","username":"a"}"#);
    }
}
