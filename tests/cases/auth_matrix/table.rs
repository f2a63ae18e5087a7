//! What must come of each attempt: the first row that is about it counts.

use super::cells::Cell;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    In,
    /// The words of PostgreSQL, whether we say them or the server.
    WrongPassword,
    /// The client has nothing to send, or is refused for having sent nothing.
    NoPassword,
    /// pool_hba.conf has no place for it.
    NoRule,
    /// The server does not know the user.
    NoRole,
    WrongCertificate,
    /// The handshake does not come about.
    NoHandshake,
    /// The client cannot bind its proof to a certificate.
    NoBinding,
    Pam,
    Ldap,
    /// It has proved itself, and what we have of it does not open the server.
    NoLogin,
}

use Outcome::{
    In, Ldap, NoBinding, NoHandshake, NoLogin, NoPassword, NoRole, NoRule, Pam, WrongCertificate,
    WrongPassword,
};

impl Outcome {
    /// The code that a client is told, and what the text has in it; `None`: the client itself gives up.
    pub(super) fn told(self) -> (Option<&'static str>, &'static str) {
        match self {
            In => (None, ""),
            WrongPassword => (Some("28P01"), "password authentication failed for user"),
            NoPassword => (None, "no password supplied"),
            NoRule => (Some("28000"), "client authentication failed"),
            NoRole => (Some("28000"), "does not exist"),
            WrongCertificate => (Some("28000"), "certificate authentication failed for user"),
            NoHandshake => (None, "certificate"),
            NoBinding => (None, "channel binding"),
            Pam => (Some("28000"), "PAM authentication failed for user"),
            Ldap => (Some("28000"), "LDAP authentication failed for user"),
            NoLogin => (Some("28000"), "failed to authenticate with backend"),
        }
    }
}

/// `a|b` is either, `*` is any, `a*` whatever begins so.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    pattern.split('|').any(|one| match one.strip_suffix('*') {
        Some(beginning) => text.starts_with(beginning),
        None => text == one,
    })
}

const ASKED: &str = "password*|md5*|scram*|plus|pam|ldap";
const ASKING: &str = "password|md5|scram";

/// Kind, transport, credential, backend.
pub(super) const EXPECTED: &[([&str; 4], Outcome)] = &[
    // Certificates are for TLS, and nobody comes in with one of somebody else.
    (["cert", "plain|local", "*", "*"], NoRule),
    (["cert", "tls", "wrong|empty", "*"], WrongCertificate),
    (["cert", "tls", "expired", "*"], NoHandshake),
    (["plus", "plain|local", "*", "*"], NoBinding),
    (["trust|cert", "*", "unknown", "trust|cert"], NoRole),
    (["trust|cert", "*", "unknown", ASKING], NoLogin),
    // What proves nothing.
    ([ASKED, "*", "empty", "*"], NoPassword),
    (["password|md5*|scram*|plus", "*", "wrong|unknown", "*"], WrongPassword),
    (["pam", "*", "wrong|unknown|expired", "*"], Pam),
    (["ldap", "*", "wrong|unknown", "*"], Ldap),
    // Whom pool_passwd does not have the server judges; where it asks nothing, nobody would have.
    (["password_none", "*", "*", "trust|cert"], WrongPassword),
    (["password_none", "*", "wrong|unknown", "*"], WrongPassword),
    // Of the forms in pool_passwd each opens the servers that it is for.
    (["md5_md5", "*", "right|expired", "password|scram"], NoLogin),
    // Of a password that has expired the server hides what it is, and asks for SCRAM.
    (["md5_md5", "*", "expired", "md5"], NoLogin),
    (["md5_verifier|scram_verifier", "*", "right|expired", "password|md5"], NoLogin),
    // And the salt that it shows is not that of the verifier.
    (["md5_verifier|scram_verifier", "*", "expired", "scram"], NoLogin),
    (["*", "*", "expired", ASKING], WrongPassword),
    (["trust", "*", "*", "*"], In),
    (["*", "*", "right|expired", "*"], In),
];

/// The row that is about this attempt, and its outcome.
pub(super) fn expected(cell: &Cell) -> (usize, Outcome) {
    let mut rows = EXPECTED.iter().enumerate();
    let found = rows.find(|(_, (row, _))| cell.is_in(row));
    let (number, (_, outcome)) = found.unwrap_or_else(|| panic!("no row is about {}", cell.id()));
    (number, *outcome)
}

/// Where pgpool-II ends otherwise: whether it lets them in, and why we do not do the same.
pub(super) const DIFFERENCES: &[([&str; 4], bool, &str)] = &[
    (["*", "*", "*", "cert"], false, "it shows a server no certificate"),
    (
        ["md5_verifier|scram_verifier", "*", "*", "*"],
        false,
        "a SCRAM verifier in pool_passwd is of no use to it",
    ),
    (["plus", "*", "*", "*"], false, "it offers no binding"),
    (["password_none", "*", "right|wrong|expired", "trust"], true, "nobody has looked at the password"),
    (
        ["pam", "*", "*", ASKING],
        false,
        "the password that PAM has found right could log in to the server, too",
    ),
];

/// The row that is about this attempt, and whether pgpool-II lets it in.
pub(super) fn of_pgpool(cell: &Cell) -> Option<(usize, bool)> {
    let mut rows = DIFFERENCES.iter().enumerate();
    rows.find(|(_, (row, ..))| cell.is_in(row)).map(|(number, (_, comes_in, _))| (number, *comes_in))
}
