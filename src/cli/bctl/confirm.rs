//! Questions before what cannot be undone.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, IsTerminal};

use super::failure::Failure;
use super::settings::Settings;

/// What is done where nobody can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alone {
    /// It is refused.
    Refuse,
    /// It goes on: commands as scripts for the original have them.
    GoOn,
}

/// Whether somebody could be asked, or must not be.
pub(super) fn may_be_asked(settings: &Settings, alone: Alone) -> bool {
    !settings.yes && (alone == Alone::Refuse || io::stdin().is_terminal())
}

/// Goes on if the user agrees.
pub(super) fn confirm(settings: &Settings, what: &str, alone: Alone) -> Result<(), Failure> {
    if !may_be_asked(settings, alone) {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Local(format!(
            "nothing was done: nobody can be asked whether to {what}; add --yes"
        )));
    }
    eprint!("Really {what}? [y/N] ");
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Failure::Local(format!("no answer could be read: {error}")))?;
    if agrees(&line) { Ok(()) } else { Err(Failure::Local("nothing was done".to_owned())) }
}

fn agrees(line: &str) -> bool {
    matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        assert!(agrees("y\n") && agrees(" YES \n"));
        assert!(!agrees("") && !agrees("\n") && !agrees("n\n") && !agrees("yess\n"));
    }
}
