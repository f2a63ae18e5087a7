//! What routing has learnt, kept over restarts in `ai_state_file`.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::request::Answer;
use super::run::Supervisor;
use super::upgrade::Service;
use crate::config::Config;
use crate::route::{self, RouteConfig};
use crate::sys::{clock, file};

/// How often it is written.
const EVERY: Duration = Duration::from_secs(60);
/// More than such a file ever has.
const MAX_BYTES: u64 = 16 << 20;

/// Keeps it.
pub(super) struct Keeper {
    path: Option<PathBuf>,
    next: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(config: &Config) -> Keeper {
        let path = Some(&config.ai_state_file).filter(|name| !name.is_empty()).map(|name| config.path(name));
        Keeper { next: path.as_ref().map(|_| Instant::now() + EVERY), path }
    }

    /// When it is written next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next
    }
}

impl Supervisor {
    /// Reads what was learnt before the last stop. A file that cannot be used is left alone until it is written anew.
    pub(super) fn read_learned(&self) {
        let (Some(path), Some(model)) = (&self.learned.path, route::model(&self.segment)) else { return };
        let mut text = String::new();
        match File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                crate::say!(Warning, "could not read {}, routing learns anew: {error}", path.display());
                return;
            }
        }
        let settings = RouteConfig::from(&self.config).learning;
        match model.import(&settings, &text, clock::monotonic_micros()) {
            Ok(()) => crate::say!(Log, "routing goes on with what it has learnt, from {}", path.display()),
            Err(error) => {
                crate::say!(Warning, "could not use {}, routing learns anew: {error}", path.display());
            }
        }
    }

    /// Writes it when its time has come.
    pub(super) fn keep_learned(&mut self) {
        let now = Instant::now();
        if self.learned.next.is_some_and(|next| next <= now) {
            self.learned.next = Some(now + EVERY);
            self.save_learned();
        }
    }

    /// Writes it, unless another program has taken over, which does that now.
    pub(super) fn save_learned(&self) {
        let (Some(path), Some(model)) = (&self.learned.path, route::model(&self.segment)) else { return };
        let config = RouteConfig::from(&self.config);
        if self.service != Service::Held || !config.learns() {
            return;
        }
        let text = model.export(&config.learning, clock::monotonic_micros());
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
        Answer::Done
    }
}
