//! A screen that is drawn again and again until `q` or Ctrl-C.
#![forbid(unsafe_code)]

mod draw;
mod screen;

use std::time::Duration;

use serde_json::Value;

use super::api::Api;
use super::failure::Failure;
use super::output::{Output, print};
use super::settings::Format;
use screen::{Key, Screen};

const EVERY: Duration = Duration::from_secs(2);

/// What one screen shows.
struct Shot {
    status: (String, Value),
    health: (String, Value),
    nodes: (String, Value),
    sessions: (String, Value),
}

/// Draws until the user ends it, or prints it once; as JSON always once.
pub(super) fn run(api: &mut Api<'_>, out: Output, once: bool) -> Result<(), Failure> {
    if out.format == Format::Json {
        print(&format!("{}\n", super::json::pretty(&shoot(api)?.json())));
        return Ok(());
    }
    if once {
        let shot = shoot(api)?;
        print(&out.painted(&draw::text(&api.settings.server.to_string(), &shot)));
        return Ok(());
    }
    // Before the terminal changes: what is wrong from the start is said on it as it is.
    let mut shot = Ok::<Shot, Failure>(shoot(api)?);
    let screen = Screen::open()?;
    loop {
        let server = api.settings.server.to_string();
        let text = match &shot {
            Ok(shot) => draw::text(&server, shot),
            Err(failure) => format!("{server}: {}\n", super::text::safe(&failure.text())),
        };
        let (rows, columns) = screen.size();
        screen.draw(&out.painted(&draw::cut(&text, rows, columns)));
        match screen.wait(EVERY)? {
            Key::Quit => return Ok(()),
            Key::None => shot = shoot(api),
        }
    }
}

fn shoot(api: &mut Api<'_>) -> Result<Shot, Failure> {
    let mut ask = |path| api.get(path).map(|answer| (answer.text, answer.value));
    Ok(Shot {
        status: ask("/status")?,
        health: ask("/health/stats")?,
        nodes: ask("/nodes")?,
        sessions: ask("/sessions")?,
    })
}

impl Shot {
    fn json(&self) -> String {
        let Shot { status, health, nodes, sessions } = self;
        let parts = [("status", status), ("health", health), ("nodes", nodes), ("sessions", sessions)];
        let members: Vec<String> =
            parts.iter().map(|(name, (text, _))| format!("\"{name}\":{text}")).collect();
        format!("{{{}}}", members.join(","))
    }
}
