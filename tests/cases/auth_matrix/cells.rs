//! Who tries to come in: a user for each way to prove oneself here and each way that the server wants it, with a right
//! password and without, over each kind of connection.

use super::table::matches;

/// A way to prove oneself to us.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// In pool_hba.conf.
    pub(super) method: &'static str,
    pub(super) form: Form,
}

/// How the password stands in pool_passwd.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Md5,
    Aes,
    /// What the server has of the user.
    Verifier,
    Absent,
}

pub(super) const KINDS: [Kind; 13] = [
    kind("trust", "trust", Form::Text),
    kind("password", "password", Form::Text),
    kind("password_none", "password", Form::Absent),
    kind("md5", "md5", Form::Text),
    kind("md5_md5", "md5", Form::Md5),
    kind("md5_verifier", "md5", Form::Verifier),
    kind("scram", "scram-sha-256", Form::Text),
    kind("scram_aes", "scram-sha-256", Form::Aes),
    kind("scram_verifier", "scram-sha-256", Form::Verifier),
    // The same, of a client that wants it bound to the certificate.
    kind("plus", "scram-sha-256", Form::Text),
    kind("cert", "cert", Form::Text),
    kind("pam", "pam", Form::Absent),
    kind("ldap", "ldap", Form::Absent),
];

const fn kind(name: &'static str, method: &'static str, form: Form) -> Kind {
    Kind { name, method, form }
}

/// How the server wants it, in its pg_hba.conf.
pub(super) const BACKENDS: [&str; 5] = ["trust", "password", "md5", "scram", "cert"];

pub(super) const CREDENTIALS: [&str; 5] = ["right", "wrong", "unknown", "empty", "expired"];

pub(super) const TRANSPORTS: [&str; 3] = ["plain", "tls", "local"];

/// One attempt.
pub(super) struct Cell {
    pub(super) kind: &'static Kind,
    pub(super) transport: &'static str,
    pub(super) credential: &'static str,
    pub(super) backend: &'static str,
}

impl Cell {
    pub(super) fn all() -> Vec<Cell> {
        let mut all = Vec::new();
        for kind in &KINDS {
            for transport in TRANSPORTS {
                for credential in CREDENTIALS {
                    all.extend(BACKENDS.map(|backend| Cell { kind, transport, credential, backend }));
                }
            }
        }
        all
    }

    pub(super) fn id(&self) -> String {
        format!("{} over {}, {}, on {}", self.kind.name, self.transport, self.credential, self.backend)
    }

    pub(super) fn user(&self) -> String {
        match (self.credential, self.kind.name) {
            ("unknown", _) => user(self.kind, self.backend) + NOBODY,
            // Of a certificate it is the certificate that has expired.
            ("expired", name) if name != "cert" => user(self.kind, self.backend) + EXPIRED,
            _ => user(self.kind, self.backend),
        }
    }

    pub(super) fn password(&self) -> String {
        match self.credential {
            "wrong" => "wrong".to_owned(),
            "empty" => String::new(),
            _ => secret(&self.user()),
        }
    }

    /// The user that the client's certificate names; the file is called by it.
    pub(super) fn certificate(&self) -> Option<String> {
        if self.kind.name != "cert" || self.transport != "tls" {
            return None;
        }
        match self.credential {
            "empty" => None,
            "wrong" => Some("somebody_else".to_owned()),
            "expired" => Some(self.user() + EXPIRED),
            _ => Some(self.user()),
        }
    }

    /// Whether a row of a table is about it: kind, transport, credential, backend.
    pub(super) fn is_in(&self, row: &[&str; 4]) -> bool {
        let [kind, transport, credential, backend] = row;
        matches(kind, self.kind.name)
            && matches(transport, self.transport)
            && matches(credential, self.credential)
            && matches(backend, self.backend)
    }
}

/// Whose password has expired; of a certificate, which one.
pub(super) const EXPIRED: &str = "_expired";

/// Whom nobody knows.
pub(super) const NOBODY: &str = "_nobody";

pub(super) fn user(kind: &Kind, backend: &str) -> String {
    format!("{}_on_{backend}", kind.name)
}

pub(super) fn secret(user: &str) -> String {
    format!("{user}_secret")
}
