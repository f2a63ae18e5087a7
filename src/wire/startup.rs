//! The first packet of a connection: a request for encryption, a cancel request, or the start-up message.
#![forbid(unsafe_code)]

use thiserror::Error;

use super::read::Reader;
use super::{CANCEL_REQUEST, GSSENC_REQUEST, ParseError, SSL_REQUEST};

/// Longest cancel key of protocol 3.2.
const MAX_KEY: usize = 256;

/// What a client may open a connection with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum First {
    /// The client wants TLS; it waits for one byte, then sends another first packet.
    Ssl,
    /// The client wants GSSAPI encryption; as `Ssl`.
    GssEnc,
    /// Cancel what the session with this key is doing; the client waits for us to close.
    Cancel { pid: i32, key: Vec<u8> },
    /// A session begins.
    Startup(Startup),
}

/// A start-up message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// Major version 3 in the upper half, the minor version that the client asks for in the lower.
    pub version: u32,
    /// Never empty.
    pub user: String,
    /// The user's name where the client names no database.
    pub database: String,
    pub application_name: Option<String>,
    /// All but user, database and protocol options, in the order of the packet (application_name and replication too).
    pub options: Vec<(String, String)>,
    /// Names of the `_pq_.` options: we know none, so they go into NegotiateProtocolVersion.
    pub unknown_protocol_options: Vec<String>,
    /// The client wants a walsender, physical or logical.
    pub replication: bool,
}

impl Startup {
    /// The minor version the client asks for: 0 for protocol 3.0.
    pub fn minor(&self) -> u32 {
        self.version & 0xffff
    }
}

/// Why a first packet is refused; the texts are those PostgreSQL sends.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StartupError {
    #[error(transparent)]
    Malformed(#[from] ParseError),
    #[error("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2")]
    Version { major: u32, minor: u32 },
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
    #[error("parameter \"{0}\" in startup packet is not valid UTF-8")]
    Encoding(String),
    #[error("invalid value for parameter \"replication\": \"{0}\"")]
    Replication(String),
}

impl StartupError {
    /// SQLSTATE that goes with the text.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Layout | Self::Encoding(_) => "08P01",
            Self::Version { .. } => "0A000",
            Self::NoUser => "28000",
            Self::Replication(_) => "22023",
        }
    }
}

/// Reads a whole first packet, length word included.
pub fn parse(packet: &[u8]) -> Result<First, StartupError> {
    let mut reader = Reader::new("startup", packet);
    if reader.u32()? as usize != packet.len() {
        return Err(reader.invalid("its length word is wrong").into());
    }
    match reader.u32()? {
        SSL_REQUEST => end(&reader, First::Ssl),
        GSSENC_REQUEST => end(&reader, First::GssEnc),
        CANCEL_REQUEST => cancel(reader),
        version if version >> 16 == 3 => startup(version, reader.rest()).map(First::Startup),
        version => Err(StartupError::Version { major: version >> 16, minor: version & 0xffff }),
    }
}

fn end(reader: &Reader<'_>, first: First) -> Result<First, StartupError> {
    reader.end()?;
    Ok(first)
}

fn cancel(mut reader: Reader<'_>) -> Result<First, StartupError> {
    let pid = reader.i32()?;
    let key = reader.rest();
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(ParseError::Invalid { message: "CancelRequest", problem: "bad length of its key" }.into());
    }
    Ok(First::Cancel { pid, key: key.to_vec() })
}

fn startup(version: u32, body: &[u8]) -> Result<Startup, StartupError> {
    let mut reader = Reader::new("startup", body);
    let mut found = Startup {
        version,
        user: String::new(),
        database: String::new(),
        application_name: None,
        options: Vec::new(),
        unknown_protocol_options: Vec::new(),
        replication: false,
    };
    loop {
        let name = reader.string()?;
        if name.is_empty() {
            break;
        }
        let name = String::from_utf8_lossy(name).into_owned();
        let value = reader.string()?;
        found.set(name, value)?;
    }
    reader.end().map_err(|_| StartupError::Layout)?;
    if found.user.is_empty() {
        return Err(StartupError::NoUser);
    }
    if found.database.is_empty() {
        found.database.clone_from(&found.user);
    }
    Ok(found)
}

impl Startup {
    fn set(&mut self, name: String, value: &[u8]) -> Result<(), StartupError> {
        let text = match std::str::from_utf8(value) {
            Ok(text) => text.to_owned(),
            // PostgreSQL replaces odd bytes of this one name too, so it is no reason to refuse.
            Err(_) if name == "application_name" => String::from_utf8_lossy(value).into_owned(),
            Err(_) => return Err(StartupError::Encoding(name)),
        };
        match name.as_str() {
            "user" => self.user = text,
            "database" => self.database = text,
            _ if name.starts_with("_pq_.") => self.unknown_protocol_options.push(name),
            _ => {
                if name == "application_name" {
                    self.application_name = Some(text.clone());
                } else if name == "replication" {
                    self.replication = replication(&text)?;
                }
                self.options.push((name, text));
            }
        }
        Ok(())
    }
}

/// `database` or a boolean in any of PostgreSQL's spellings (each may be cut short while it is unique).
fn replication(value: &str) -> Result<bool, StartupError> {
    let lower = value.to_ascii_lowercase();
    let cuts = |word: &str, least: usize| lower.len() >= least && word.starts_with(&lower);
    if value == "database" || lower == "1" || cuts("true", 1) || cuts("yes", 1) || lower == "on" {
        Ok(true)
    } else if lower == "0" || cuts("false", 1) || cuts("no", 1) || cuts("off", 2) {
        Ok(false)
    } else {
        Err(StartupError::Replication(value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::frontend::{put_cancel, put_startup};
    use crate::wire::{PROTOCOL_3_0, PROTOCOL_3_2};

    fn built(version: u32, options: &[(&str, &str)]) -> Result<First, StartupError> {
        let mut packet = Vec::new();
        put_startup(&mut packet, version, options);
        parse(&packet)
    }

    #[test]
    fn startup_keeps_order_and_fills_in_the_database() {
        let options = [("user", "ann"), ("x", "1"), ("application_name", "psql"), ("_pq_.y", ""), ("a", "2")];
        let Ok(First::Startup(found)) = built(PROTOCOL_3_2, &options) else { panic!() };
        assert_eq!((found.user.as_str(), found.database.as_str(), found.minor()), ("ann", "ann", 2));
        assert_eq!(found.application_name.as_deref(), Some("psql"));
        assert_eq!(found.unknown_protocol_options, ["_pq_.y"]);
        let names: Vec<_> = found.options.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["x", "application_name", "a"]);
        assert!(!found.replication);
    }

    #[test]
    fn refusals() {
        assert_eq!(built(PROTOCOL_3_0, &[("database", "x")]), Err(StartupError::NoUser));
        assert_eq!(built(0x0002_0000, &[("user", "x")]), Err(StartupError::Version { major: 2, minor: 0 }));
        let odd = built(PROTOCOL_3_0, &[("user", "x"), ("replication", "maybe")]);
        assert_eq!(odd, Err(StartupError::Replication("maybe".into())));
        assert_eq!(
            parse(b"\0\0\0\x0d\0\x03\0\0user\0"),
            Err(ParseError::Unterminated { message: "startup" }.into())
        );
        assert_eq!(parse(b"\0\0\0\x12\0\x03\0\0user\0a\0\0xx"), Err(StartupError::Layout));
    }

    #[test]
    fn replication_spellings() {
        for (value, want) in
            [("database", true), ("on", true), ("TRUE", true), ("1", true), ("of", false), ("n", false)]
        {
            assert_eq!(replication(value), Ok(want), "{value}");
        }
        assert!(replication("o").is_err() && replication("").is_err());
    }

    #[test]
    fn requests_without_a_session() {
        assert_eq!(parse(b"\0\0\0\x08\x04\xd2\x16\x2f"), Ok(First::Ssl));
        assert_eq!(parse(b"\0\0\0\x08\x04\xd2\x16\x30"), Ok(First::GssEnc));
        let mut packet = Vec::new();
        put_cancel(&mut packet, 42, &[7; 32]);
        assert_eq!(parse(&packet), Ok(First::Cancel { pid: 42, key: vec![7; 32] }));
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(mut bytes: Vec<u8>) {
            let _ = parse(&bytes);
            let length = bytes.len() as u32 + 8;
            let mut packet = length.to_be_bytes().to_vec();
            packet.extend(PROTOCOL_3_0.to_be_bytes());
            packet.append(&mut bytes);
            let _ = parse(&packet);
        }

        #[test]
        fn options_round_trip(options in prop::collection::vec(("[b-o][a-z._]{0,8}", "[^\0]{0,12}"), 0..6)) {
            prop_assume!(options.iter().all(|(name, _)| name != "database"));
            let mut all = vec![("user", "ann")];
            all.extend(options.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            let Ok(First::Startup(found)) = built(PROTOCOL_3_0, &all) else { panic!() };
            prop_assert_eq!(found.options, options);
        }
    }
}
