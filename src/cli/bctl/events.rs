//! Events: those that the server still knows, or those to come as a stream.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, BufReader, Read, Write};

use serde_json::Value;

use super::api::Api;
use super::columns::EVENTS;
use super::failure::Failure;
use super::output::Output;
use super::report::{listed, objects};
use super::settings::Format;
use super::text::{Kind, field};

/// Most bytes of a line of the stream.
const LONGEST_LINE: u64 = 1 << 20;

/// Prints what has happened.
pub(super) fn list(
    api: &mut Api<'_>,
    out: Output,
    since: Option<u64>,
    readings: bool,
) -> Result<(), Failure> {
    let since = since.map(|number| format!("&since={number}")).unwrap_or_default();
    let readings = if readings { "&readings=1" } else { "" };
    let answer = api.get(&format!("{}{since}{readings}", EVENTS.path))?;
    out.report(&answer, |format| {
        let events = objects(&answer.value, EVENTS.key);
        match format {
            Format::Table => listed(&events, &EVENTS, format),
            _ => events.iter().map(|event| line(event) + "\n").collect(),
        }
    });
    Ok(())
}

/// Prints what happens, a line each (in JSON: an object a line), until the server ends the stream.
pub(super) fn follow(
    api: &mut Api<'_>,
    out: Output,
    since: Option<u64>,
    readings: bool,
) -> Result<(), Failure> {
    let since = since.map(|number| format!("since={number}"));
    let words: Vec<String> = since.into_iter().chain(readings.then(|| "readings=1".to_owned())).collect();
    let query = if words.is_empty() { String::new() } else { format!("?{}", words.join("&")) };
    let stream = api.stream(&format!("/events{query}"))?;
    let mut reader = BufReader::new(stream.into_body().into_with_config().limit(u64::MAX).reader());
    let mut parser = Parser::default();
    let mut last = None;
    let server = &api.settings.server;
    loop {
        let mut bytes = Vec::new();
        let read = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes);
        match read {
            Ok(0) => break,
            Ok(_) if bytes.last() != Some(&b'\n') && bytes.len() as u64 == LONGEST_LINE => {
                return Err(Failure::Local(format!(
                    "{server} sent an event of more than {LONGEST_LINE} bytes"
                )));
            }
            Ok(_) => {}
            Err(error) => {
                return Err(Failure::Connection(format!("the connection to {server} broke: {error}")));
            }
        }
        let Some(data) = parser.line(&String::from_utf8_lossy(&bytes)) else { continue };
        let Ok(event) = serde_json::from_str::<Value>(&data) else { continue };
        last = event.get("id").and_then(Value::as_u64).or(last);
        let text = match out.format {
            Format::Json => event.to_string(),
            _ => line(&event),
        };
        let mut stdout = io::stdout().lock();
        if stdout.write_all((text + "\n").as_bytes()).and_then(|()| stdout.flush()).is_err() {
            return Ok(());
        }
    }
    let go_on = last.map(|id| format!("; go on with --since {id}")).unwrap_or_default();
    Err(Failure::Connection(format!("{server} has ended the stream{go_on}")))
}

/// An event as one line.
fn line(event: &Value) -> String {
    let word = |key, kind| field("", key, kind).of(event).filter(|text| text != "-" && !text.is_empty());
    let mut line = word("at", Kind::Time).unwrap_or_else(|| "-".to_owned());
    line += &format!("  {}", word("kind", Kind::Plain).unwrap_or_default());
    if let Some(node) = word("node", Kind::Plain) {
        line += &format!("  node {node}");
    }
    match (word("old", Kind::Plain), word("new", Kind::Plain)) {
        (Some(old), Some(new)) => line += &format!("  {old} -> {new}"),
        (None, Some(new)) => line += &format!("  {new}"),
        (Some(old), None) => line += &format!("  was {old}"),
        (None, None) => {}
    }
    if let Some(reason) = word("reason", Kind::Plain) {
        line += &format!("  ({reason})");
    }
    line
}

/// The lines of a stream of events, as far as their data is wanted.
#[derive(Default)]
struct Parser {
    data: Vec<String>,
}

impl Parser {
    /// Takes a line, and returns the data of the event that it ends.
    fn line(&mut self, line: &str) -> Option<String> {
        let line = line.trim_end_matches(['\n', '\r']);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return (!data.is_empty()).then(|| data.join("\n"));
        }
        // Kind and number stand in the data, too; what begins with a colon keeps the connection alive.
        if let Some(data) = line.strip_prefix("data:") {
            self.data.push(data.strip_prefix(' ').unwrap_or(data).to_owned());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn streams() {
        let mut parser = Parser::default();
        let mut found = Vec::new();
        for line in
            ": hello\r\n\nevent: x\nid: 1\ndata: {\"a\":\ndata:1}\n\ndata: 2\r\n\r\ndata: cut".split('\n')
        {
            found.extend(parser.line(line));
        }
        assert_eq!(found, ["{\"a\":\n1}", "2"]);
    }

    #[test]
    fn lines() {
        let event = json!({ "id": 1, "at": 0, "kind": "node_status", "node": 1, "old": "up", "new": "down", "reason": "x" });
        assert_eq!(line(&event), "never  node_status  node 1  up -> down  (x)");
        let event =
            json!({ "id": 2, "at": 0, "kind": "reload", "node": null, "old": "", "new": "", "reason": "" });
        assert_eq!(line(&event), "never  reload");
        let event = json!({ "kind": "primary", "old": "-", "new": "2" });
        assert_eq!(line(&event), "-  primary  2");
    }
}
