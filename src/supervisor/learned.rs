//! What routing has learnt: kept over restarts in `ai_state_file`, and told as an event where it has come to another view of
//! a node.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::request::Answer;
use super::run::Supervisor;
use super::upgrade::Service;
use crate::config::Config;
use crate::error::NodeId;
use crate::route;
use crate::route::learn::{MAX_STATE, Settings};
use crate::shm::EventKind;
use crate::sys::{clock, file};

/// How often it is written.
const EVERY: Duration = Duration::from_secs(60);

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A node whose health (0 to 1) is below fails, until it is above again by as much.
const FAILING: f64 = 0.5;
const WELL: f64 = 0.75;

/// Keeps it.
pub(super) struct Keeper {
    path: Option<PathBuf>,
    next: Option<Instant>,
    look: Option<Instant>,
    failing: BTreeSet<NodeId>,
}

impl Keeper {
    pub(super) fn new(config: &Config) -> Keeper {
        let path = Some(&config.ai_state_file).filter(|name| !name.is_empty()).map(|name| config.path(name));
        let next = path.as_ref().map(|_| Instant::now() + EVERY);
        let mut keeper = Keeper { path, next, look: None, failing: BTreeSet::new() };
        keeper.look(config);
        keeper
    }

    /// Looks at it from now on if anything is learnt.
    pub(super) fn look(&mut self, config: &Config) {
        self.look = Settings::from(config).learns().then(|| Instant::now() + LOOK);
    }

    /// When it is written or looked at next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next.into_iter().chain(self.look).min()
    }
}

impl Supervisor {
    /// Reads what was learnt before the last stop. A file that cannot be used is left alone until it is written anew.
    pub(super) fn read_learned(&self) {
        let (Some(path), Some(model)) = (&self.learned.path, route::model(&self.segment)) else { return };
        let mut text = String::new();
        match File::open(path).and_then(|file| file.take(MAX_STATE as u64 + 1).read_to_string(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                crate::say!(Warning, "could not read {}, routing learns anew: {error}", path.display());
                return;
            }
        }
        let settings = Settings::from(&self.config);
        match model.import(&settings, &text, clock::monotonic_micros()) {
            Ok(()) => crate::say!(Log, "routing goes on with what it has learnt, from {}", path.display()),
            Err(error) => {
                crate::say!(Warning, "could not use {}, routing learns anew: {error}", path.display());
            }
        }
    }

    /// Writes it, and looks at it, when its time has come.
    pub(super) fn keep_learned(&mut self) {
        let now = Instant::now();
        if self.learned.next.is_some_and(|next| next <= now) {
            self.learned.next = Some(now + EVERY);
            self.save_learned();
        }
        if self.learned.look.is_some_and(|look| look <= now) {
            self.learned.look(&self.config);
            self.look_at_learned();
        }
    }

    /// Tells of nodes that have begun to fail the statements that are sent there, or no longer do.
    fn look_at_learned(&mut self) {
        let Some(model) = route::model(&self.segment) else { return };
        let settings = Settings::from(&self.config);
        for known in model.report(&settings, clock::monotonic_micros()).nodes {
            let (node, health) = (known.id, known.health_score);
            let was_failing = self.learned.failing.contains(&node);
            let (old, new) = match was_failing {
                false if health < FAILING => ("well", "failing"),
                true if health > WELL => ("failing", "well"),
                _ => continue,
            };
            if was_failing {
                self.learned.failing.remove(&node);
            } else {
                self.learned.failing.insert(node);
            }
            let why = format!("its health score is {health:.2}, its error rate {:.2}", known.error_rate);
            crate::say!(Log, "routing takes node {node} for {new}: {why}");
            self.segment.note_event(EventKind::Ai, Some(node), old, new, &why);
        }
    }

    /// Writes it, unless another program has taken over, which does that now.
    pub(super) fn save_learned(&self) {
        let (Some(path), Some(model)) = (&self.learned.path, route::model(&self.segment)) else { return };
        let settings = Settings::from(&self.config);
        if self.service != Service::Held || !settings.learns() {
            return;
        }
        let text = model.export(&settings, clock::monotonic_micros());
        if let Err(error) = file::replace_safely(path, text.as_bytes(), 0o600) {
            crate::say!(Warning, "could not write {}: {error}", path.display());
        }
    }

    /// Forgets it; what is kept in the file, too.
    pub(super) fn forget_learned(&self) -> Answer {
        if let Some(model) = route::model(&self.segment) {
            model.reset();
        }
        self.save_learned();
        self.note(EventKind::Ai, "reset", "an operator wants it so");
        Answer::Done
    }
}
