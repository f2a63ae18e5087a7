//! LDAP URLs: `ldap[s]://host[:port]/basedn[?[attribute][?[scope][?[filter]]]]` (RFC 4516).
#![forbid(unsafe_code)]

use super::method::Scope;

/// The parts of an address, decoded.
pub(super) struct Url {
    pub(super) scheme: String,
    /// `None`: not given.
    pub(super) host: Option<String>,
    /// 0: not given.
    pub(super) port: u16,
    pub(super) base: String,
    pub(super) attribute: Option<String>,
    pub(super) scope: Scope,
    pub(super) filter: Option<String>,
}

/// Reads an address; the error says what is wrong with it.
pub(super) fn read(text: &str) -> Result<Url, String> {
    let (scheme, rest) = text.split_once("://").ok_or("it has no \"://\"")?;
    let (place, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = place_of(place)?;
    let mut parts = rest.split('?');
    let mut part = || parts.next().map(decoded).transpose().map(Option::unwrap_or_default);
    let (base, attribute, scope, filter) = (part()?, part()?, part()?, part()?);
    if parts.next().is_some_and(|extensions| !extensions.is_empty()) {
        return Err("extensions are not supported".to_owned());
    }
    let scope = match scope.to_ascii_lowercase().as_str() {
        "" | "base" => Scope::Base,
        "one" => Scope::One,
        "sub" => Scope::Subtree,
        other => return Err(format!("unknown scope \"{other}\"")),
    };
    if attribute.contains(',') {
        return Err("it names more than one attribute".to_owned());
    }
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(Url {
        scheme: scheme.to_ascii_lowercase(),
        host: given(host),
        port,
        base,
        attribute: given(attribute),
        scope,
        filter: given(filter),
    })
}

/// Host and port; an IPv6 address stands in brackets.
fn place_of(place: &str) -> Result<(String, u16), String> {
    let after_bracket = place.rfind(']').map_or(0, |at| at + 1);
    let behind = place.get(after_bracket..).unwrap_or_default();
    let (host, port) = match behind.rfind(':') {
        Some(at) => place.split_at(after_bracket + at),
        None => (place, ""),
    };
    let port = match port.strip_prefix(':') {
        None => 0,
        Some(digits) => {
            digits.parse().ok().filter(|port| *port > 0).ok_or_else(|| format!("bad port \"{digits}\""))?
        }
    };
    Ok((decoded(host)?, port))
}

/// The text with its `%XX` decoded.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = text.bytes();
    let mut found = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            found.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err("bad % code".to_owned()) };
        found.push((high * 16 + low) as u8);
    }
    String::from_utf8(found).map_err(|_| "its % codes are no UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_address() {
        let url = read("ldaps://dir.example:1636/dc=a%20b,dc=net?mail?sub?(&(uid=$username)(x=1))").unwrap();
        assert_eq!(
            (url.scheme.as_str(), url.host.as_deref(), url.port),
            ("ldaps", Some("dir.example"), 1636)
        );
        assert_eq!((url.base.as_str(), url.attribute.as_deref()), ("dc=a b,dc=net", Some("mail")));
        assert_eq!((url.scope, url.filter.as_deref()), (Scope::Subtree, Some("(&(uid=$username)(x=1))")));

        let url = read("ldap://[::1]:389/dc=net??one").unwrap();
        assert_eq!((url.host.as_deref(), url.port, url.scope), (Some("[::1]"), 389, Scope::One));
        assert!(url.attribute.is_none() && url.filter.is_none());

        let url = read("ldap://").unwrap();
        assert_eq!((url.host, url.port, url.base.as_str(), url.scope), (None, 0, "", Scope::Base));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            ("ldap:/x", "it has no \"://\""),
            ("ldap://h:x/", "bad port \"x\""),
            ("ldap://h:0/", "bad port \"0\""),
            ("ldap://h/dc=%zz", "bad % code"),
            ("ldap://h/dc=%ff", "its % codes are no UTF-8"),
            ("ldap://h/a?b?children", "unknown scope \"children\""),
            ("ldap://h/a?b,c", "it names more than one attribute"),
            ("ldap://h/a?b?sub?(c=d)?!e", "extensions are not supported"),
        ];
        for (text, want) in cases {
            assert_eq!(read(text).map(|_| ()), Err(want.to_owned()), "{text}");
        }
    }
}
