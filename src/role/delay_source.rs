//! `replication_delay_source_cmd`: runs the command beside the rounds of the replication check and reads what it prints.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::helpers::Helpers;
use crate::cluster::probe::{Delays, parse_delays};
use crate::config::Config;
use crate::error::NodeId;
use crate::log;
use crate::sys::command::{self, Ended};

/// The command, and what it told last. Its descriptor is readable when it is done.
pub(super) struct DelaySource {
    helpers: Helpers<Finished>,
    /// Goes up with every reload: what a command of before tells is of no interest.
    epoch: u64,
    busy: bool,
    told: Delays,
    /// What was wrong last, until nothing is.
    wrong: Option<String>,
}

struct Finished {
    epoch: u64,
    printed: Result<String, String>,
}

impl DelaySource {
    pub(super) fn new() -> io::Result<DelaySource> {
        let told = Delays::new();
        Ok(DelaySource { helpers: Helpers::new()?, epoch: 0, busy: false, told, wrong: None })
    }

    /// What the command told last, if there is one.
    pub(super) fn told(&self, config: &Config) -> Option<Delays> {
        (!config.replication_delay_source_cmd.is_empty()).then(|| self.told.clone())
    }

    /// The command may be another one.
    pub(super) fn forget(&mut self) {
        self.epoch += 1;
        (self.told, self.wrong) = (Delays::new(), None);
    }

    /// Starts the command, unless it still runs.
    pub(super) fn start(&mut self, config: &Config) {
        if config.replication_delay_source_cmd.is_empty() || self.busy {
            return;
        }
        let (epoch, command) = (self.epoch, config.replication_delay_source_cmd.clone());
        let seconds = u64::try_from(config.replication_delay_source_timeout).unwrap_or(1);
        let work = move || Finished { epoch, printed: run(&command, Duration::from_secs(seconds)) };
        match self.helpers.start("delay source".to_owned(), work) {
            Ok(()) => self.busy = true,
            Err(error) => self.complain(format!("could not start a thread: {error}")),
        }
    }

    /// What the command has told since, if it has ended. One of before the reload kept the new one waiting.
    pub(super) fn finished(
        &mut self,
        config: &Config,
        nodes: &[NodeId],
        primary: Option<NodeId>,
    ) -> Option<&Delays> {
        let finished = self.helpers.finished()?;
        self.busy = false;
        if finished.epoch < self.epoch {
            self.start(config);
            return None;
        }
        self.told = match finished.printed.and_then(|text| parse_delays(&text, nodes, primary)) {
            Ok(delays) => {
                self.wrong = None;
                delays
            }
            Err(text) => {
                self.complain(text);
                Delays::new()
            }
        };
        Some(&self.told)
    }

    /// Once: it would be said in every round.
    fn complain(&mut self, text: String) {
        if self.wrong.as_ref() != Some(&text) {
            log::Line::new(log::Level::Warning, format!("replication_delay_source_cmd: {text}"))
                .detail("The delays by time are not known until it succeeds.")
                .emit();
            self.wrong = Some(text);
        }
    }

    /// Takes the wake-ups off the descriptor, which must be readable.
    pub(super) fn rest(&mut self) {
        self.helpers.rest();
    }
}

impl AsFd for DelaySource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.helpers.as_fd()
    }
}

fn run(line: &str, limit: Duration) -> Result<String, String> {
    match command::output(line, limit) {
        Ok(Ended::Well(text)) => Ok(text),
        Ok(Ended::Badly(status)) => Err(status.to_string()),
        Ok(Ended::TooLong) => Err("prints more than is taken".to_owned()),
        Ok(Ended::TimedOut) => Err(format!("killed after {} seconds", limit.as_secs())),
        Err(error) => Err(format!("could not be run: {error}")),
    }
}
