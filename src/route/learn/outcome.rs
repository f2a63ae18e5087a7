//! What the end of a statement says about the node that ran it.
#![forbid(unsafe_code)]

/// How a statement ended, as far as the node is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The node did its work: with success, or with an error that the statement or the client has caused.
    Ok,
    /// The node could not do its work: out of resources, shutting down, a fault of the system.
    Error,
    /// The connection was refused or got lost.
    Lost,
}

impl Outcome {
    /// What an error with this SQLSTATE says about the node: classes 53 (insufficient resources), 58 (system error) and
    /// XX (internal error, corrupted data), and of class 57 the shutdowns (57P01, 57P02, 57P03, 57P05) are its fault;
    /// class 08 is a lost connection. All others (syntax, constraints, cancelled by the user …) are not.
    pub fn of_sqlstate(code: &[u8]) -> Outcome {
        match code {
            b"57P01" | b"57P02" | b"57P03" | b"57P05" => Outcome::Error,
            _ if [b"53", b"58", b"XX"].iter().any(|class| code.starts_with(*class)) => Outcome::Error,
            _ if code.starts_with(b"08") => Outcome::Lost,
            _ => Outcome::Ok,
        }
    }
}
