//! `PGPOOL SET` and `PGPOOL RESET`: parameters that a session has for itself.
#![forbid(unsafe_code)]

use thiserror::Error;

use super::param::{Change, Param};
use super::value::Value;
use super::{Config, show};

/// Values that a session has set.
#[derive(Clone, Default)]
pub struct Own {
    set: Vec<(&'static Param, Value)>,
}

/// Why a value was not set. The sentences are pgpool-II's, which tools look for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotSet {
    /// Nobody knows the name.
    #[error("unrecognized configuration parameter \"{0}\"")]
    Unknown(String),
    /// Not for one session alone.
    #[error("invalid Context, value for parameter \"{0}\" cannot be changed")]
    NotOfSessions(String),
    /// What is wrong with the value, and what would be right, in `why`.
    #[error("invalid value for parameter \"{name}\": \"{value}\"")]
    Invalid {
        /// The parameter.
        name: String,
        /// What was given.
        value: String,
        /// The rest of the sentence.
        why: String,
    },
}

impl Own {
    /// Sets a parameter; without a value it takes that of the configuration again.
    pub fn change(&mut self, name: &str, value: Option<&str>) -> Result<(), NotSet> {
        let (param, _) = show::find(name).ok_or_else(|| NotSet::Unknown(name.to_owned()))?;
        if param.change != Change::Session {
            return Err(NotSet::NotOfSessions(name.to_owned()));
        }
        let value = value.map(|text| parse(param, text)).transpose()?;
        self.set.retain(|(of, _)| of.name != param.name);
        self.set.extend(value.map(|value| (param, value)));
        Ok(())
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// The configuration of the session.
    pub fn over(&self, base: &Config) -> Config {
        let mut config = base.clone();
        for (param, value) in &self.set {
            (param.slot_mut)(&mut config).set(None, Some(value.clone()));
        }
        config
    }
}

fn parse(param: &Param, text: &str) -> Result<Value, NotSet> {
    param.spec.kind.parse(text).map_err(|why| NotSet::Invalid {
        name: param.name.to_owned(),
        value: text.to_owned(),
        why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_counts_until_it_is_reset() {
        let base = Config { client_idle_limit: 7, ..Config::default() };
        let mut own = Own::default();
        own.change("LOG_statement", Some("on")).unwrap();
        own.change("client_idle_limit", Some("5min")).unwrap();
        own.change("client_idle_limit", Some("6min")).unwrap();
        let config = own.over(&base);
        assert!(config.log_statement && config.client_idle_limit == 360);
        own.change("client_idle_limit", None).unwrap();
        assert_eq!(own.over(&base).client_idle_limit, 7);
        own.change("log_statement", None).unwrap();
        assert!(own.is_empty() && own.over(&base) == base);
    }

    #[test]
    fn what_cannot_be_set_says_why_and_changes_nothing() {
        let mut own = Own::default();
        for (name, value, expected) in [
            ("nosuch", "1", "unrecognized configuration parameter \"nosuch\""),
            ("port", "1", "invalid Context, value for parameter \"port\" cannot be changed"),
            (
                "sr_check_period",
                "1",
                "invalid Context, value for parameter \"sr_check_period\" cannot be changed",
            ),
            (
                "backend_weight1",
                "1",
                "invalid Context, value for parameter \"backend_weight1\" cannot be changed",
            ),
            ("log_statement", "perhaps", "invalid value for parameter \"log_statement\": \"perhaps\""),
            ("client_idle_limit", "-1", "invalid value for parameter \"client_idle_limit\": \"-1\""),
            ("client_min_messages", "loud", "invalid value for parameter \"client_min_messages\": \"loud\""),
        ] {
            assert_eq!(own.change(name, Some(value)).unwrap_err().to_string(), expected);
        }
        assert!(own.is_empty());
    }
}
