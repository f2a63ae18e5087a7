//! Severities and their order as a threshold of the server log.
#![forbid(unsafe_code)]

/// Severity. The order is that of `log_min_messages`: LOG passes at `warning`, as in PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Most talkative.
    Debug5,
    /// See Debug5.
    Debug4,
    /// See Debug5.
    Debug3,
    /// See Debug5.
    Debug2,
    /// Least talkative of the debug levels.
    Debug1,
    /// What a user asked for.
    Info,
    /// What a user may want to know.
    Notice,
    /// Likely a problem.
    Warning,
    /// A command failed.
    Error,
    /// What an administrator wants to know.
    Log,
    /// A session or the program ends.
    Fatal,
    /// Everything ends.
    Panic,
}

impl Level {
    /// All, in their order.
    pub(super) const ALL: [Level; 12] = [
        Level::Debug5,
        Level::Debug4,
        Level::Debug3,
        Level::Debug2,
        Level::Debug1,
        Level::Info,
        Level::Notice,
        Level::Warning,
        Level::Error,
        Level::Log,
        Level::Fatal,
        Level::Panic,
    ];

    /// As it stands in a line.
    pub fn name(self) -> &'static str {
        match self {
            Level::Debug5 => "DEBUG5",
            Level::Debug4 => "DEBUG4",
            Level::Debug3 => "DEBUG3",
            Level::Debug2 => "DEBUG2",
            Level::Debug1 => "DEBUG1",
            Level::Info => "INFO",
            Level::Notice => "NOTICE",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
            Level::Log => "LOG",
            Level::Fatal => "FATAL",
            Level::Panic => "PANIC",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_passes_up_to_error_and_not_at_fatal() {
        for min in [Level::Debug5, Level::Info, Level::Warning, Level::Error, Level::Log] {
            assert!(Level::Log >= min, "{min:?}");
        }
        assert!(Level::Log < Level::Fatal);
        assert!(Level::Notice < Level::Warning);
    }
}
