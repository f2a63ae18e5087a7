//! From the parameters of the configuration to the settings of the log.
#![forbid(unsafe_code)]

use super::{Config, LogErrorVerbosity, LogFormat, MessageLevel, SyslogFacility};
use crate::log::{Level, Levels, Settings, Syslog, Verbosity};

/// Settings of the log. `debug`: option `-d`, everything from DEBUG1 on whatever the file says.
pub fn log_settings(config: &Config, debug: bool) -> Settings {
    let mut levels = log_levels(config);
    if debug {
        levels.min = levels.min.min(Level::Debug1);
    }
    let wants =
        |name: &str| config.log_destination.split(',').any(|word| word.trim().eq_ignore_ascii_case(name));
    let syslog = wants("syslog").then(|| Syslog {
        ident: config.syslog_ident.clone(),
        local_facility: facility(config.syslog_facility),
    });
    Settings {
        json: config.log_format == LogFormat::Json,
        levels,
        prefix: config.log_line_prefix.clone(),
        stderr: wants("stderr") || syslog.is_none(),
        syslog,
    }
}

/// What of the settings of the log a session may have for itself.
pub fn log_levels(config: &Config) -> Levels {
    Levels {
        min: level(config.log_min_messages),
        client_min: level(config.client_min_messages),
        verbosity: match config.log_error_verbosity {
            LogErrorVerbosity::Terse => Verbosity::Terse,
            LogErrorVerbosity::Default => Verbosity::Default,
            LogErrorVerbosity::Verbose => Verbosity::Verbose,
        },
    }
}

fn level(level: MessageLevel) -> Level {
    match level {
        MessageLevel::Debug5 => Level::Debug5,
        MessageLevel::Debug4 => Level::Debug4,
        MessageLevel::Debug3 => Level::Debug3,
        MessageLevel::Debug2 => Level::Debug2,
        MessageLevel::Debug1 => Level::Debug1,
        MessageLevel::Info => Level::Info,
        MessageLevel::Notice => Level::Notice,
        MessageLevel::Warning => Level::Warning,
        MessageLevel::Error => Level::Error,
        MessageLevel::Log => Level::Log,
        MessageLevel::Fatal => Level::Fatal,
        MessageLevel::Panic => Level::Panic,
    }
}

fn facility(facility: SyslogFacility) -> u8 {
    match facility {
        SyslogFacility::Local0 => 0,
        SyslogFacility::Local1 => 1,
        SyslogFacility::Local2 => 2,
        SyslogFacility::Local3 => 3,
        SyslogFacility::Local4 => 4,
        SyslogFacility::Local5 => 5,
        SyslogFacility::Local6 => 6,
        SyslogFacility::Local7 => 7,
    }
}
