//! What the client hears of the records that are logged on its behalf (`client_min_messages`).
#![forbid(unsafe_code)]

use std::cell::RefCell;

use super::{CLIENT, Level, Line};

/// Most records that wait for their client.
const MOST: usize = 100;

/// A record for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its severity.
    pub level: Level,
    /// Its text.
    pub text: String,
    /// Its DETAIL.
    pub detail: Option<String>,
    /// Its HINT.
    pub hint: Option<String>,
}

thread_local! {
    static HEARD: RefCell<Vec<Heard>> = const { RefCell::new(Vec::new()) };
}

/// What was logged on behalf of the client of this thread since the last call.
pub fn take_heard() -> Vec<Heard> {
    HEARD.with(|heard| std::mem::take(&mut *heard.borrow_mut()))
}

pub(super) fn note(line: &Line) {
    if CLIENT.with(|client| client.borrow().is_none()) {
        return;
    }
    let labelled = |label| line.more.iter().find(|(name, _)| *name == label).map(|(_, text)| text.clone());
    let record = Heard {
        level: line.level,
        text: line.text.clone(),
        detail: labelled("DETAIL"),
        hint: labelled("HINT"),
    };
    HEARD.with(|heard| {
        let mut heard = heard.borrow_mut();
        if heard.len() < MOST {
            heard.push(record);
        }
    });
}

impl Level {
    /// Whether a client that wants records from `min` on hears those of this severity. Errors reach it as such, in
    /// other ways. The order is another than the log's: LOG ranks below INFO.
    pub(super) fn reaches_client(self, min: Level) -> bool {
        let rank = |level: Level| match level {
            Level::Log => Level::Info as u8 * 2 - 1,
            other => other as u8 * 2,
        };
        match self {
            Level::Error | Level::Fatal | Level::Panic => false,
            Level::Info => true,
            level => rank(level) >= rank(min),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::super::{Client, set_client};
    use super::*;

    #[test]
    fn log_ranks_below_info_for_a_client() {
        for (level, min, reaches) in [
            (Level::Log, Level::Notice, false),
            (Level::Log, Level::Info, false),
            (Level::Log, Level::Log, true),
            (Level::Log, Level::Debug1, true),
            (Level::Debug1, Level::Log, false),
            (Level::Info, Level::Error, true),
            (Level::Notice, Level::Notice, true),
            (Level::Notice, Level::Warning, false),
            (Level::Warning, Level::Error, false),
            (Level::Warning, Level::Debug5, true),
            (Level::Error, Level::Debug5, false),
        ] {
            assert_eq!(level.reaches_client(min), reaches, "{level:?} {min:?}");
        }
    }

    #[test]
    fn only_what_is_done_for_a_client_is_heard() {
        let line = || Line::new(Level::Warning, "w").detail("d");
        note(&line());
        assert_eq!(take_heard(), []);
        set_client(Some(Rc::new(Client::default())));
        for _ in 0..MOST + 5 {
            note(&line());
        }
        set_client(None);
        let heard = take_heard();
        assert_eq!((heard.len(), heard[0].detail.as_deref()), (MOST, Some("d")));
        assert_eq!(take_heard(), []);
    }
}
