//! Messages that servers send: parsers for what the session reads of a backend's answers, builders for
//! what we answer ourselves. Texts are bytes, for they stand in the client's encoding.
#![forbid(unsafe_code)]

use std::fmt;

use super::read::Reader;
use super::{ParseError, write};

/// Where a session stands, as ReadyForQuery tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxStatus {
    Idle,
    InTransaction,
    /// In a transaction that takes nothing but its end.
    Failed,
}

impl TxStatus {
    /// The byte on the wire.
    pub fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }
}

/// One of the Authentication messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication<'a> {
    Ok,
    CleartextPassword,
    Md5 {
        salt: [u8; 4],
    },
    /// Names of the mechanisms offered.
    Sasl(Vec<String>),
    SaslContinue(&'a [u8]),
    SaslFinal(&'a [u8]),
    /// A method we do not know (Kerberos, GSSAPI, SSPI), by its code.
    Unsupported(i32),
}

/// Fields of an ErrorResponse or NoticeResponse that we look at; empty where a required one is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ErrorFields<'a> {
    /// `S`: in the language of the server's messages.
    pub severity: &'a [u8],
    /// `V`: never translated; servers since 9.6 send it.
    pub severity_plain: Option<&'a [u8]>,
    pub code: &'a [u8],
    pub message: &'a [u8],
    pub detail: Option<&'a [u8]>,
    pub hint: Option<&'a [u8]>,
}

impl ErrorFields<'_> {
    /// The server ends the connection after this error.
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity_plain.unwrap_or(self.severity), b"FATAL" | b"PANIC")
    }
}

/// One line for the log: `FATAL: text (28P01)`.
impl fmt::Display for ErrorFields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy;
        write!(f, "{}: {} ({})", text(self.severity), text(self.message), text(self.code))
    }
}

/// A NegotiateProtocolVersion message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiate<'a> {
    /// Newest minor version the server speaks.
    pub newest_minor: i32,
    /// Protocol options it does not know.
    pub unknown: Vec<&'a [u8]>,
}

/// An error or notice of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice<'a> {
    pub severity: &'a str,
    /// The SQLSTATE.
    pub code: &'a str,
    pub message: &'a str,
    pub detail: Option<&'a str>,
    pub hint: Option<&'a str>,
}

/// A column of a result of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column<'a> {
    pub name: &'a str,
    pub type_oid: u32,
    /// Bytes of a fixed-length type, -1 for a variable one.
    pub type_len: i16,
    /// 0 for text, 1 for binary, which is the same for a text.
    pub format: i16,
}

/// The status in a ReadyForQuery message.
pub fn ready(body: &[u8]) -> Result<TxStatus, ParseError> {
    let mut reader = Reader::new("ReadyForQuery", body);
    let status = match reader.u8()? {
        b'I' => TxStatus::Idle,
        b'T' => TxStatus::InTransaction,
        b'E' => TxStatus::Failed,
        _ => return Err(reader.invalid("unknown transaction status")),
    };
    reader.end()?;
    Ok(status)
}

/// The tag of a CommandComplete message.
pub fn command_tag(body: &[u8]) -> Result<&[u8], ParseError> {
    let mut reader = Reader::new("CommandComplete", body);
    let tag = reader.string()?;
    reader.end()?;
    Ok(tag)
}

/// Name and value of a ParameterStatus message.
pub fn parameter_status(body: &[u8]) -> Result<(&[u8], &[u8]), ParseError> {
    let mut reader = Reader::new("ParameterStatus", body);
    let pair = (reader.string()?, reader.string()?);
    reader.end()?;
    Ok(pair)
}

/// Process id and cancel key of a BackendKeyData message; the key has 4 bytes in 3.0, up to 256 in 3.2.
pub fn key_data(body: &[u8]) -> Result<(i32, &[u8]), ParseError> {
    let mut reader = Reader::new("BackendKeyData", body);
    let pid = reader.i32()?;
    let key = reader.rest();
    match key.len() {
        4..=256 => Ok((pid, key)),
        _ => Err(reader.invalid("bad length of its key")),
    }
}

/// Any of the Authentication messages.
pub fn authentication(body: &[u8]) -> Result<Authentication<'_>, ParseError> {
    let mut reader = Reader::new("Authentication", body);
    let found = match reader.i32()? {
        0 => Authentication::Ok,
        3 => Authentication::CleartextPassword,
        5 => Authentication::Md5 { salt: reader.salt()? },
        10 => Authentication::Sasl(mechanisms(&mut reader)?),
        11 => return Ok(Authentication::SaslContinue(reader.rest())),
        12 => return Ok(Authentication::SaslFinal(reader.rest())),
        code => return Ok(Authentication::Unsupported(code)),
    };
    reader.end()?;
    Ok(found)
}

fn mechanisms(reader: &mut Reader<'_>) -> Result<Vec<String>, ParseError> {
    let mut names = Vec::new();
    loop {
        match reader.string()? {
            b"" => return Ok(names),
            name => names.push(String::from_utf8_lossy(name).into_owned()),
        }
    }
}

/// The fields of an ErrorResponse or NoticeResponse message.
pub fn error(body: &[u8]) -> Result<ErrorFields<'_>, ParseError> {
    let mut reader = Reader::new("ErrorResponse", body);
    let mut found = ErrorFields::default();
    loop {
        let kind = reader.u8()?;
        if kind == 0 {
            break;
        }
        let text = reader.string()?;
        match kind {
            b'S' => found.severity = text,
            b'V' => found.severity_plain = Some(text),
            b'C' => found.code = text,
            b'M' => found.message = text,
            b'D' => found.detail = Some(text),
            b'H' => found.hint = Some(text),
            _ => (),
        }
    }
    reader.end()?;
    Ok(found)
}

/// The values of a DataRow message.
pub fn data_row(body: &[u8]) -> Result<Vec<Option<&[u8]>>, ParseError> {
    let mut reader = Reader::new("DataRow", body);
    let count = reader.u16()?;
    let values = (0..count).map(|_| reader.value()).collect::<Result<_, _>>()?;
    reader.end()?;
    Ok(values)
}

/// A NegotiateProtocolVersion message.
pub fn negotiate(body: &[u8]) -> Result<Negotiate<'_>, ParseError> {
    let mut reader = Reader::new("NegotiateProtocolVersion", body);
    // The whole version or the minor alone, by the server's age: the lower half is right in both.
    let newest_minor = reader.i32()? & 0xffff;
    let count = reader.u32()?;
    let unknown = (0..count).map(|_| reader.string()).collect::<Result<_, _>>()?;
    reader.end()?;
    Ok(Negotiate { newest_minor, unknown })
}

/// Appends AuthenticationOk.
pub fn put_auth_ok(out: &mut Vec<u8>) {
    put_auth(out, 0, |_| ());
}

/// Appends AuthenticationCleartextPassword.
pub fn put_auth_cleartext(out: &mut Vec<u8>) {
    put_auth(out, 3, |_| {});
}

/// Appends AuthenticationMD5Password.
pub fn put_auth_md5(out: &mut Vec<u8>, salt: [u8; 4]) {
    put_auth(out, 5, |out| out.extend_from_slice(&salt));
}

/// Appends AuthenticationSASL, which offers mechanisms.
pub fn put_auth_sasl(out: &mut Vec<u8>, mechanisms: &[&str]) {
    put_auth(out, 10, |out| {
        for name in mechanisms {
            write::string(out, name.as_bytes());
        }
        out.push(0);
    });
}

/// Appends AuthenticationSASLContinue.
pub fn put_auth_sasl_continue(out: &mut Vec<u8>, data: &[u8]) {
    put_auth(out, 11, |out| out.extend_from_slice(data));
}

/// Appends AuthenticationSASLFinal.
pub fn put_auth_sasl_final(out: &mut Vec<u8>, data: &[u8]) {
    put_auth(out, 12, |out| out.extend_from_slice(data));
}

fn put_auth(out: &mut Vec<u8>, code: i32, rest: impl FnOnce(&mut Vec<u8>)) {
    write::frame(out, b'R', |out| {
        write::i32(out, code);
        rest(out);
    });
}

/// Appends a ParameterStatus message.
pub fn put_parameter_status(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    write::frame(out, b'S', |out| {
        write::string(out, name);
        write::string(out, value);
    });
}

/// Appends a BackendKeyData message.
pub fn put_key_data(out: &mut Vec<u8>, pid: i32, key: &[u8]) {
    write::frame(out, b'K', |out| {
        write::i32(out, pid);
        out.extend_from_slice(key);
    });
}

/// Appends a ReadyForQuery message.
pub fn put_ready(out: &mut Vec<u8>, status: TxStatus) {
    write::frame(out, b'Z', |out| out.push(status.byte()));
}

/// Appends an ErrorResponse message.
pub fn put_error(out: &mut Vec<u8>, notice: &Notice<'_>) {
    write::frame(out, b'E', |out| put_fields(out, notice));
}

/// Appends a NoticeResponse message.
pub fn put_notice(out: &mut Vec<u8>, notice: &Notice<'_>) {
    write::frame(out, b'N', |out| put_fields(out, notice));
}

fn put_fields(out: &mut Vec<u8>, notice: &Notice<'_>) {
    let fields = [
        (b'S', Some(notice.severity)),
        (b'V', Some(notice.severity)),
        (b'C', Some(notice.code)),
        (b'M', Some(notice.message)),
        (b'D', notice.detail),
        (b'H', notice.hint),
    ];
    for (kind, text) in fields {
        if let Some(text) = text {
            out.push(kind);
            write::string(out, text.as_bytes());
        }
    }
    out.push(0);
}

/// Appends a CommandComplete message.
pub fn put_command_complete(out: &mut Vec<u8>, tag: &str) {
    write::frame(out, b'C', |out| write::string(out, tag.as_bytes()));
}

/// Appends a RowDescription message of columns in text format that belong to no table.
pub fn put_row_description(out: &mut Vec<u8>, columns: &[Column<'_>]) {
    write::frame(out, b'T', |out| {
        write::count(out, columns.len());
        for column in columns {
            write::string(out, column.name.as_bytes());
            // No table, no column number of one.
            out.extend_from_slice(&[0; 6]);
            write::u32(out, column.type_oid);
            out.extend_from_slice(&column.type_len.to_be_bytes());
            // No type modifier.
            write::i32(out, -1);
            out.extend_from_slice(&column.format.to_be_bytes());
        }
    });
}

/// Appends a DataRow message.
pub fn put_data_row(out: &mut Vec<u8>, values: &[Option<&[u8]>]) {
    write::frame(out, b'D', |out| {
        write::count(out, values.len());
        for value in values {
            write::value(out, *value);
        }
    });
}

/// Appends a NegotiateProtocolVersion message: the newest minor version we speak and the options we do not know.
pub fn put_negotiate(out: &mut Vec<u8>, newest_minor: u32, unknown: &[&str]) {
    write::frame(out, b'v', |out| {
        write::u32(out, super::PROTOCOL_3_0 | newest_minor);
        write::u32(out, u32::try_from(unknown.len()).unwrap_or(u32::MAX));
        for name in unknown {
            write::string(out, name.as_bytes());
        }
    });
}

/// Appends an EmptyQueryResponse message.
pub fn put_empty_query(out: &mut Vec<u8>) {
    write::frame(out, b'I', |_| ());
}

/// Appends a ParseComplete message.
pub fn put_parse_complete(out: &mut Vec<u8>) {
    write::frame(out, b'1', |_| ());
}

/// Appends a BindComplete message.
pub fn put_bind_complete(out: &mut Vec<u8>) {
    write::frame(out, b'2', |_| ());
}

/// Appends a CloseComplete message.
pub fn put_close_complete(out: &mut Vec<u8>) {
    write::frame(out, b'3', |_| ());
}

/// Appends a ParameterDescription message of a statement that takes none.
pub fn put_parameter_description(out: &mut Vec<u8>) {
    write::frame(out, b't', |out| write::count(out, 0));
}

/// Appends a PortalSuspended message.
pub fn put_portal_suspended(out: &mut Vec<u8>) {
    write::frame(out, b's', |_| ());
}

/// Appends a NoData message.
pub fn put_no_data(out: &mut Vec<u8>) {
    write::frame(out, b'n', |_| ());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::frame::header;

    /// Builds one frame and gives its body back, once its type and length were looked at.
    fn body(kind: u8, put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out);
        let head = header(&out).unwrap().unwrap();
        assert_eq!((head.kind, head.length), (kind, out.len()));
        out.split_off(5)
    }

    #[test]
    fn status_round_trips() {
        for status in [TxStatus::Idle, TxStatus::InTransaction, TxStatus::Failed] {
            assert_eq!(ready(&body(b'Z', |out| put_ready(out, status))), Ok(status));
        }
        assert!(ready(b"X").is_err() && ready(b"").is_err() && ready(b"II").is_err());
    }

    #[test]
    fn authentication_round_trips() {
        let auth = |put: &dyn Fn(&mut Vec<u8>)| body(b'R', put);
        let salt = [1, 0, 2, 255];
        assert_eq!(authentication(&auth(&put_auth_cleartext)), Ok(Authentication::CleartextPassword));
        assert_eq!(authentication(&auth(&put_auth_ok)), Ok(Authentication::Ok));
        assert_eq!(authentication(&auth(&|out| put_auth_md5(out, salt))), Ok(Authentication::Md5 { salt }));
        let offered = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"];
        assert_eq!(
            authentication(&auth(&|out| put_auth_sasl(out, &offered))),
            Ok(Authentication::Sasl(offered.map(String::from).to_vec()))
        );
        assert_eq!(
            authentication(&auth(&|out| put_auth_sasl_continue(out, b"r=1"))),
            Ok(Authentication::SaslContinue(b"r=1"))
        );
        assert_eq!(
            authentication(&auth(&|out| put_auth_sasl_final(out, b"v=1"))),
            Ok(Authentication::SaslFinal(b"v=1"))
        );
        assert_eq!(authentication(&[0, 0, 0, 3]), Ok(Authentication::CleartextPassword));
        assert_eq!(authentication(&[0, 0, 0, 7]), Ok(Authentication::Unsupported(7)));
        assert!(authentication(&[0, 0, 0, 5, 1, 2]).is_err());
    }

    #[test]
    fn an_error_says_whether_the_server_goes_away() {
        let translated = b"SFATAL\xc3\xa9\0VFATAL\0C57P01\0Mgoodbye\0X?\0\0";
        let found = error(translated).unwrap();
        assert!(found.is_fatal());
        assert_eq!(found.to_string(), "FATALé: goodbye (57P01)");
        assert!(!error(b"SERROR\0C42P01\0Mno\0\0").unwrap().is_fatal());
        assert_eq!(error(b"SERROR\0"), Err(ParseError::Short { message: "ErrorResponse" }));
    }

    #[test]
    fn rows_of_our_own() {
        let columns = [Column { name: "n", type_oid: 25, type_len: -1, format: 0 }];
        let bytes = body(b'T', |out| put_row_description(out, &columns));
        assert_eq!(bytes, b"\0\x01n\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0");
        let values = [Some(&b"one"[..]), None, Some(b"")];
        assert_eq!(data_row(&body(b'D', |out| put_data_row(out, &values))), Ok(values.to_vec()));
    }

    #[test]
    fn negotiation_round_trips() {
        let bytes = body(b'v', |out| put_negotiate(out, 2, &["_pq_.a", "_pq_.b"]));
        let want = Negotiate { newest_minor: 2, unknown: vec![b"_pq_.a", b"_pq_.b"] };
        assert_eq!(negotiate(&bytes), Ok(want));
        // A count that the message cannot hold ends at its first missing string.
        assert!(negotiate(b"\0\x03\0\0\xff\xff\xff\xff").is_err());
    }

    #[test]
    fn bare_answers() {
        assert_eq!(body(b'I', put_empty_query), b"");
        assert_eq!(body(b'1', put_parse_complete), b"");
        assert_eq!(body(b'2', put_bind_complete), b"");
        assert_eq!(body(b'3', put_close_complete), b"");
        assert_eq!(body(b'n', put_no_data), b"");
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>) {
            let _ = (ready(&bytes), command_tag(&bytes), parameter_status(&bytes), key_data(&bytes));
            let _ = (authentication(&bytes), error(&bytes), data_row(&bytes), negotiate(&bytes));
        }

        #[test]
        fn round_trips(a in "[^\0]{0,20}", b in "[^\0]{0,20}", key in prop::collection::vec(any::<u8>(), 4..=256)) {
            let pair = (a.as_bytes(), b.as_bytes());
            let bytes = body(b'S', |out| put_parameter_status(out, pair.0, pair.1));
            prop_assert_eq!(parameter_status(&bytes), Ok(pair));
            let bytes = body(b'C', |out| put_command_complete(out, &a));
            prop_assert_eq!(command_tag(&bytes), Ok(pair.0));
            let bytes = body(b'K', |out| put_key_data(out, 9, &key));
            prop_assert_eq!(key_data(&bytes), Ok((9, &key[..])));
            let notice = Notice { severity: "ERROR", code: "XX000", message: &a, detail: Some(&b), hint: None };
            let bytes = body(b'E', |out| put_error(out, &notice));
            let found = error(&bytes).unwrap();
            prop_assert_eq!((found.message, found.detail, found.hint), (pair.0, Some(pair.1), None));
            prop_assert_eq!(body(b'N', |out| put_notice(out, &notice)), bytes);
        }

        #[test]
        fn rows_round_trip(values: Vec<Option<Vec<u8>>>) {
            let values: Vec<_> = values.iter().map(|value| value.as_deref()).collect();
            let bytes = body(b'D', |out| put_data_row(out, &values));
            prop_assert_eq!(data_row(&bytes), Ok(values));
        }
    }
}
