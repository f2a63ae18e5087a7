//! Messages that clients send: parsers for what the session must understand, builders for what we send
//! to backends. Names and texts are bytes, for a client's encoding need not be UTF-8.
#![forbid(unsafe_code)]

use super::read::Reader;
use super::{CANCEL_REQUEST, ParseError, SSL_REQUEST, write};

/// Most bytes that the two names at the head of a Bind may take: without a bound, a peer could have us
/// collect a gigabyte in search of a NUL.
const MAX_BIND_HEAD: usize = 64 * 1024;

/// A Parse message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    pub name: &'a [u8],
    pub text: &'a [u8],
    /// The parameter types as sent: a count of 16 bits, then as many OIDs of 32 bits.
    pub types_raw: &'a [u8],
}

/// The names at the head of a Bind message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindHead<'a> {
    pub portal: &'a [u8],
    pub statement: &'a [u8],
}

/// What a Bind message says besides its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// How many parameters it has.
    pub values: u16,
    /// Formats of the columns: none, one for all, or one for each.
    pub formats: Vec<i16>,
}

/// What a Describe or Close message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// `S` for a prepared statement, `P` for a portal.
    pub kind: u8,
    pub name: &'a [u8],
}

/// An Execute message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execute<'a> {
    pub portal: &'a [u8],
    /// Zero or less: no limit.
    pub max_rows: i32,
}

/// A SASLInitialResponse message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaslInitial<'a> {
    pub mechanism: &'a [u8],
    pub response: Option<&'a [u8]>,
}

/// The text of a Query message, without its NUL.
pub fn query(body: &[u8]) -> Result<&[u8], ParseError> {
    lone_string("Query", body)
}

/// A Parse message.
pub fn parse(body: &[u8]) -> Result<Parse<'_>, ParseError> {
    let mut reader = Reader::new("Parse", body);
    let (name, text) = (reader.string()?, reader.string()?);
    let types_raw = reader.rest();
    let mut types = Reader::new("Parse", types_raw);
    let count = types.u16()?;
    types.take(usize::from(count) * 4)?;
    types.end()?;
    Ok(Parse { name, text, types_raw })
}

/// The names of a Bind message, from its body or from any prefix of it: `None` while they are not complete.
pub fn bind_head(body: &[u8]) -> Result<Option<BindHead<'_>>, ParseError> {
    let mut reader = Reader::new("Bind", body.get(..MAX_BIND_HEAD).unwrap_or(body));
    match (reader.string(), reader.string()) {
        (Ok(portal), Ok(statement)) => Ok(Some(BindHead { portal, statement })),
        _ if body.len() < MAX_BIND_HEAD => Ok(None),
        _ => Err(reader.invalid("its names are too long")),
    }
}

/// What a Bind message says besides its names.
pub fn bind(body: &[u8]) -> Result<Bind, ParseError> {
    let mut reader = Reader::new("Bind", body);
    reader.string()?;
    reader.string()?;
    for _ in 0..reader.u16()? {
        reader.u16()?;
    }
    let values = reader.u16()?;
    for _ in 0..values {
        reader.value()?;
    }
    let count = reader.u16()?;
    let formats = (0..count).map(|_| reader.u16().map(u16::cast_signed)).collect::<Result<_, _>>()?;
    reader.end()?;
    Ok(Bind { values, formats })
}

/// A Describe message.
pub fn describe(body: &[u8]) -> Result<Target<'_>, ParseError> {
    target("Describe", body)
}

/// A Close message.
pub fn close(body: &[u8]) -> Result<Target<'_>, ParseError> {
    target("Close", body)
}

/// An Execute message.
pub fn execute(body: &[u8]) -> Result<Execute<'_>, ParseError> {
    let mut reader = Reader::new("Execute", body);
    let found = Execute { portal: reader.string()?, max_rows: reader.i32()? };
    reader.end()?;
    Ok(found)
}

/// The text of a PasswordMessage: a password, or an MD5 response.
pub fn password(body: &[u8]) -> Result<&[u8], ParseError> {
    lone_string("PasswordMessage", body)
}

/// A SASLInitialResponse message.
pub fn sasl_initial(body: &[u8]) -> Result<SaslInitial<'_>, ParseError> {
    let mut reader = Reader::new("SASLInitialResponse", body);
    let found = SaslInitial { mechanism: reader.string()?, response: reader.value()? };
    reader.end()?;
    Ok(found)
}

/// The data of a SASLResponse message, which has nothing else.
pub fn sasl_response(body: &[u8]) -> Result<&[u8], ParseError> {
    Ok(body)
}

fn lone_string<'a>(message: &'static str, body: &'a [u8]) -> Result<&'a [u8], ParseError> {
    let mut reader = Reader::new(message, body);
    let text = reader.string()?;
    reader.end()?;
    Ok(text)
}

fn target<'a>(message: &'static str, body: &'a [u8]) -> Result<Target<'a>, ParseError> {
    let mut reader = Reader::new(message, body);
    let kind = reader.u8()?;
    if !matches!(kind, b'S' | b'P') {
        return Err(reader.invalid("neither a statement nor a portal"));
    }
    let name = reader.string()?;
    reader.end()?;
    Ok(Target { kind, name })
}

/// Appends a start-up packet; `options` holds user and database too.
pub fn put_startup(out: &mut Vec<u8>, version: u32, options: &[(&str, &str)]) {
    write::packet(out, |out| {
        write::u32(out, version);
        // An empty name would end the list.
        for (name, value) in options.iter().filter(|(name, _)| !name.is_empty()) {
            write::string(out, name.as_bytes());
            write::string(out, value.as_bytes());
        }
        out.push(0);
    });
}

/// Appends a cancel request packet.
pub fn put_cancel(out: &mut Vec<u8>, pid: i32, key: &[u8]) {
    write::packet(out, |out| {
        write::u32(out, CANCEL_REQUEST);
        write::i32(out, pid);
        out.extend_from_slice(key);
    });
}

/// Appends an SSLRequest packet.
pub fn put_ssl_request(out: &mut Vec<u8>) {
    write::packet(out, |out| write::u32(out, SSL_REQUEST));
}

/// Appends a Query message.
pub fn put_query(out: &mut Vec<u8>, text: &[u8]) {
    write::frame(out, b'Q', |out| write::string(out, text));
}

/// Appends a Bind message without parameters, results as text.
pub fn put_bind(out: &mut Vec<u8>, portal: &[u8], statement: &[u8]) {
    write::frame(out, b'B', |out| {
        write::string(out, portal);
        write::string(out, statement);
        out.extend_from_slice(&[0; 6]);
    });
}

/// Appends an Execute message for all rows.
pub fn put_execute(out: &mut Vec<u8>, portal: &[u8]) {
    write::frame(out, b'E', |out| {
        write::string(out, portal);
        out.extend_from_slice(&[0; 4]);
    });
}

/// Appends a Parse message; `types_raw` as [`Parse::types_raw`], or empty for no types.
pub fn put_parse(out: &mut Vec<u8>, name: &[u8], text: &[u8], types_raw: &[u8]) {
    write::frame(out, b'P', |out| {
        write::string(out, name);
        write::string(out, text);
        out.extend_from_slice(if types_raw.is_empty() { &[0, 0] } else { types_raw });
    });
}

/// Appends a Describe message; `kind` is `S` or `P`.
pub fn put_describe(out: &mut Vec<u8>, kind: u8, name: &[u8]) {
    put_target(out, b'D', kind, name);
}

/// Appends a Close message; `kind` is `S` or `P`.
pub fn put_close(out: &mut Vec<u8>, kind: u8, name: &[u8]) {
    put_target(out, b'C', kind, name);
}

fn put_target(out: &mut Vec<u8>, message: u8, kind: u8, name: &[u8]) {
    write::frame(out, message, |out| {
        out.push(kind);
        write::string(out, name);
    });
}

/// Appends a Sync message.
pub fn put_sync(out: &mut Vec<u8>) {
    write::frame(out, b'S', |_| ());
}

/// Appends a Flush message.
pub fn put_flush(out: &mut Vec<u8>) {
    write::frame(out, b'H', |_| ());
}

/// Appends a CopyFail message.
pub fn put_copy_fail(out: &mut Vec<u8>, reason: &str) {
    write::frame(out, b'f', |out| write::string(out, reason.as_bytes()));
}

/// Appends a Terminate message.
pub fn put_terminate(out: &mut Vec<u8>) {
    write::frame(out, b'X', |_| ());
}

/// Appends a PasswordMessage.
pub fn put_password(out: &mut Vec<u8>, text: &[u8]) {
    write::frame(out, b'p', |out| write::string(out, text));
}

/// Appends a SASLInitialResponse message.
pub fn put_sasl_initial(out: &mut Vec<u8>, mechanism: &str, response: &[u8]) {
    write::frame(out, b'p', |out| {
        write::string(out, mechanism.as_bytes());
        write::value(out, Some(response));
    });
}

/// Appends a SASLResponse message.
pub fn put_sasl_response(out: &mut Vec<u8>, data: &[u8]) {
    write::frame(out, b'p', |out| out.extend_from_slice(data));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::frame::header;

    /// Type and body of the one frame in `frame`.
    fn split(frame: &[u8]) -> (u8, &[u8]) {
        let head = header(frame).unwrap().unwrap();
        assert_eq!(head.length, frame.len());
        (head.kind, &frame[5..])
    }

    fn build(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out);
        out
    }

    #[test]
    fn empty_messages() {
        assert_eq!(split(&build(put_sync)), (b'S', &b""[..]));
        assert_eq!(split(&build(put_flush)), (b'H', &b""[..]));
        assert_eq!(split(&build(put_terminate)), (b'X', &b""[..]));
    }

    #[test]
    fn malformed() {
        assert_eq!(query(b"select 1"), Err(ParseError::Unterminated { message: "Query" }));
        assert_eq!(query(b"select 1\0x"), Err(ParseError::Trailing { message: "Query" }));
        assert_eq!(parse(b"\0\0\0\x01\0\0\0"), Err(ParseError::Short { message: "Parse" }));
        assert_eq!(close(b"Xa\0").map_err(|e| e.message()), Err("Close"));
        assert_eq!(execute(b"a\0\0\0\0"), Err(ParseError::Short { message: "Execute" }));
        assert!(sasl_initial(b"SCRAM-SHA-256\0\xff\xff\xff\xfe").is_err());
    }

    #[test]
    fn bind_head_waits_for_both_names() {
        let body = b"portal\0statement\0rest without end";
        for length in 0..17 {
            assert_eq!(bind_head(&body[..length]), Ok(None), "{length}");
        }
        for length in 17..body.len() {
            let want = BindHead { portal: b"portal", statement: b"statement" };
            assert_eq!(bind_head(&body[..length]), Ok(Some(want)));
        }
        assert!(bind_head(&vec![b'x'; MAX_BIND_HEAD]).is_err());
    }

    #[test]
    fn a_nul_cannot_forge_a_field() {
        assert_eq!(query(split(&build(|out| put_query(out, b"select 1\0; drop"))).1), Ok(&b"select 1"[..]));
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(body: Vec<u8>) {
            let _ = (query(&body), parse(&body), bind_head(&body), describe(&body), close(&body));
            let _ = (execute(&body), password(&body), sasl_initial(&body), sasl_response(&body), header(&body));
        }

        #[test]
        fn round_trips(name in "[^\0]{0,20}", text in "[^\0]{0,80}", types: Vec<u32>, data: Vec<u8>) {
            let (name, text) = (name.as_bytes(), text.as_bytes());
            let mut types_raw = (types.len() as u16).to_be_bytes().to_vec();
            types_raw.extend(types.iter().flat_map(|oid| oid.to_be_bytes()));

            let frame = build(|out| put_query(out, text));
            prop_assert_eq!((split(&frame).0, query(split(&frame).1)), (b'Q', Ok(text)));
            let frame = build(|out| put_parse(out, name, text, &types_raw));
            let want = Parse { name, text, types_raw: &types_raw };
            prop_assert_eq!((split(&frame).0, parse(split(&frame).1)), (b'P', Ok(want)));
            let frame = build(|out| put_describe(out, b'P', name));
            prop_assert_eq!((split(&frame).0, describe(split(&frame).1)), (b'D', Ok(Target { kind: b'P', name })));
            let frame = build(|out| put_close(out, b'S', name));
            prop_assert_eq!((split(&frame).0, close(split(&frame).1)), (b'C', Ok(Target { kind: b'S', name })));
            let frame = build(|out| put_password(out, text));
            prop_assert_eq!((split(&frame).0, password(split(&frame).1)), (b'p', Ok(text)));
            let frame = build(|out| put_sasl_initial(out, "SCRAM-SHA-256", &data));
            let want = SaslInitial { mechanism: b"SCRAM-SHA-256", response: Some(&data) };
            prop_assert_eq!(sasl_initial(split(&frame).1), Ok(want));
            let frame = build(|out| put_sasl_response(out, &data));
            prop_assert_eq!(sasl_response(split(&frame).1), Ok(&data[..]));
        }
    }
}
