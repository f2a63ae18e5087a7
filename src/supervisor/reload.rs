//! HUP: reads the configuration again, says what changed, and has the children do the same.
#![forbid(unsafe_code)]

use std::time::Instant;

use super::run::Supervisor;
use crate::auth::hba;
use crate::config;
use crate::shm::EventKind;
use crate::sys::notify::Notifier;
use crate::sys::signals::Number;

impl Supervisor {
    pub(super) fn reload(&mut self) {
        crate::say!(Log, "reload config files.");
        self.tell_manager(Notifier::reloading);
        match config::reload(&self.config, &self.launch.config_path) {
            Ok(reloaded) => {
                let before = std::mem::replace(&mut self.config, reloaded.config);
                self.reload_weights(&before);
                self.learned.look(&self.config);
                crate::log::configure(crate::config::log_settings(&self.config, self.launch.debug));
                reloaded.notes.iter().for_each(|note| crate::say!(Warning, "{note}"));
                reloaded.changed.iter().for_each(|name| crate::say!(Log, "parameter \"{name}\" changed"));
                for name in &reloaded.needs_restart {
                    crate::say!(Warning, "parameter \"{name}\" cannot be changed without a restart");
                }
                self.reload_failover();
                self.note(EventKind::Reload, "", &reloaded.changed.join(", "));
                if self.stopping.is_none() {
                    self.tree.grow(&self.config, Instant::now());
                }
            }
            Err(rejected) => {
                rejected.lines().for_each(|line| crate::say!(Warning, "{line}"));
                crate::say!(
                    Warning,
                    "configuration file {} contains errors; nothing was changed",
                    self.launch.config_path.display()
                );
            }
        }
        self.reload_gate();
        // Also after an error: pool_hba.conf and pool_passwd are read again, too.
        self.tree.signal(Number::SIGHUP, |_| true);
        self.tell_manager(Notifier::ready);
    }

    /// The children read the same files; here it is said what is wrong with them, and kept what is not.
    fn reload_gate(&mut self) {
        match self.config.secure(&self.ticket_keys) {
            Ok(secure) => self.gate.secure = secure,
            Err(error) => crate::say!(Warning, "the old certificates stay in force: {error}"),
        }
        match self.config.enable_pool_hba.then(|| hba::load(&self.files.hba)).transpose() {
            Ok(rules) => self.gate.rules = rules,
            Err(error) => crate::say!(Warning, "the old rules of pool_hba.conf stay in force: {error}"),
        }
    }
}
