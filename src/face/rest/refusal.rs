//! Why a request is not served, as the client is told.
#![forbid(unsafe_code)]

use super::schema::answer;
use crate::admin::AdminError;

/// A status of 400 or more, and what is said with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// What is wrong and what to do.
    pub message: String,
    /// With 405: the methods that there are.
    pub allow: Option<&'static str>,
    /// With 429 and 503: after how many seconds to try again.
    pub retry_after: Option<u64>,
}

answer! {
    /// Why a request is not served.
    pub struct ErrorBody {
        /// A short title.
        pub error: &'static str,
        /// What is wrong and what to do.
        pub message: String,
        /// The HTTP status once more.
        pub status: u16,
    }
}

impl Refusal {
    /// With this status.
    pub fn new(status: u16, message: impl Into<String>) -> Refusal {
        Refusal { status, message: message.into(), allow: None, retry_after: None }
    }

    /// The request cannot be read.
    pub fn unreadable(message: impl Into<String>) -> Refusal {
        Refusal::new(400, message)
    }

    /// The body.
    pub fn body(&self) -> ErrorBody {
        ErrorBody { error: title(self.status), message: self.message.clone(), status: self.status }
    }
}

/// The statuses that a request may be refused with, each with its title.
pub(super) const TITLES: &[(u16, &str)] = &[
    (400, "Bad request"),
    (401, "Unauthorized"),
    (403, "Forbidden"),
    (404, "Not found"),
    (405, "Method not allowed"),
    (408, "Request timeout"),
    (409, "Conflict"),
    (413, "Body too large"),
    (414, "Path too long"),
    (429, "Too many requests"),
    (431, "Head too large"),
    (503, "Unavailable"),
];

fn title(status: u16) -> &'static str {
    TITLES.iter().find(|(known, _)| *known == status).map_or("Error", |(_, title)| *title)
}

impl From<AdminError> for Refusal {
    fn from(error: AdminError) -> Refusal {
        let status = match error {
            AdminError::NotAWeight(_) => 400,
            AdminError::NotPermitted => 403,
            AdminError::NotASessionId(_)
            | AdminError::UnknownSession(_)
            | AdminError::UnknownParameter(_)
            | AdminError::UnknownNode { .. }
            | AdminError::UnknownProcess(_) => 404,
            AdminError::NotInUse { .. }
            | AdminError::FailoverForbidden { .. }
            | AdminError::AlreadyPrimary { .. }
            | AdminError::NotStreaming { .. }
            | AdminError::Recovery(_)
            | AdminError::RecoveryUnderWay
            | AdminError::NoCollector
            | AdminError::NoCache
            | AdminError::NoWatchdog
            | AdminError::NotPaused
            | AdminError::Draining
            | AdminError::WaitsForItself
            | AdminError::Refused(_) => 409,
            AdminError::Unanswered(_) => 503,
        };
        let message = match &error {
            AdminError::UnknownNode { end, .. } => {
                format!("{error}; GET /api/v1/nodes lists them (below {end})")
            }
            AdminError::UnknownProcess(_) => format!("{error}; GET /api/v1/processes lists those that do"),
            AdminError::UnknownParameter(_) => format!("{error}; GET /api/v1/config lists all"),
            AdminError::NotInUse { .. } => format!("{error}: attach it first"),
            AdminError::NoCollector => format!("{error}: there is no log file to rotate"),
            _ => error.to_string(),
        };
        Refusal::new(status, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::NodeStatus;

    #[test]
    fn what_the_core_refuses_has_a_status() {
        for (error, status) in [
            (AdminError::UnknownNode { number: 7, end: 2 }, 404),
            (AdminError::UnknownProcess(1), 404),
            (AdminError::NotInUse { node: 1, status: NodeStatus::Down }, 409),
            (AdminError::NoCache, 409),
            (AdminError::Refused("no".to_owned()), 409),
            (AdminError::Unanswered("silence".to_owned()), 503),
        ] {
            let refusal = Refusal::from(error);
            assert_eq!(refusal.status, status);
            assert_ne!(refusal.body().error, "Error");
        }
        let text = serde_json::to_string(&Refusal::unreadable("what?").body()).unwrap();
        assert_eq!(text, "{\"error\":\"Bad request\",\"message\":\"what?\",\"status\":400}");
    }
}
