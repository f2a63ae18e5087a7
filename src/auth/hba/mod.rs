//! pool_hba.conf: which clients are asked what, in the order of the file; the first rule that fits counts.
//! Pure: `@file` comes through a closure. Methods and addresses not built yet are errors with their line,
//! for to pass over a rule would let in whom it was to keep out.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::net::IpAddr;

use thiserror::Error;

mod address;
mod rule;
mod token;

/// What to ask of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Trust,
    Reject,
    Md5,
    ScramSha256,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trust => "trust",
            Self::Reject => "reject",
            Self::Md5 => "md5",
            Self::ScramSha256 => "scram-sha-256",
        })
    }
}

/// Where a client comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A Unix-domain socket.
    Local,
    Ip(IpAddr),
}

/// A line that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}:{line}: {text}")]
pub struct HbaError {
    pub file: String,
    pub line: u32,
    pub text: String,
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its first line, for the log.
    pub line: u32,
    pub method: Method,
    connection: rule::Connection,
    databases: Vec<rule::Database>,
    users: Vec<rule::User>,
}

/// The rules of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hba {
    rules: Vec<Rule>,
}

/// Reads the text of a file called `file`. `include` gives the text of the file that `@NAME` names (NAME as
/// written: relative to the directory of `file`). All errors are found at once.
pub fn parse(
    text: &str,
    file: &str,
    include: &mut dyn FnMut(&str) -> io::Result<String>,
) -> Result<Hba, Vec<HbaError>> {
    let (mut rules, mut errors) = (Vec::new(), Vec::new());
    for token::Line { number: line, fields } in token::lines(text) {
        let read = fields.and_then(|fields| rule::read(line, &fields, include));
        match read {
            Ok(rule) => rules.push(rule),
            Err(text) => errors.push(HbaError { file: file.to_owned(), line, text }),
        }
    }
    match errors.is_empty() {
        true => Ok(Hba { rules }),
        false => Err(errors),
    }
}

impl Hba {
    /// The first rule that fits; none means that the client must go.
    pub fn check(&self, peer: &Peer, tls: bool, user: &str, database: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.fits(peer, tls, user, database))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn no_files(name: &str) -> io::Result<String> {
        Err(io::Error::new(io::ErrorKind::NotFound, name))
    }

    fn read(text: &str) -> Result<Hba, Vec<HbaError>> {
        parse(text, "hba", &mut no_files)
    }

    fn error(text: &str) -> String {
        let errors = read(text).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors[0].to_string()
    }

    /// The line of the rule that meets a TCP client without TLS.
    fn line(hba: &Hba, address: &str, user: &str, database: &str) -> Option<u32> {
        hba.check(&Peer::Ip(address.parse().unwrap()), false, user, database).map(|rule| rule.line)
    }

    #[test]
    fn first_rule_that_fits() {
        let hba = read(
            "# comment\n\
             local all all trust\n\
             host  sales,\"all\" ann,bob 10.0.0.0/8 md5\n\
             host  sameuser all 192.168.1.0 255.255.255.0 scram-sha-256\n\
             host  all eve ::1/128 reject # why\n\
             host  all \\\n   root all reject\n\
             host  \"two words\" all fe80::/10 trust\n",
        )
        .unwrap();
        let cases = [
            ("10.1.2.3", "ann", "sales", Some(3)),
            ("10.1.2.3", "ann", "all", Some(3)),
            ("10.1.2.3", "ann", "other", None),
            ("11.1.2.3", "ann", "sales", None),
            ("::ffff:10.1.2.3", "bob", "sales", Some(3)),
            ("192.168.1.200", "cy", "cy", Some(4)),
            ("192.168.1.200", "cy", "dan", None),
            ("192.168.2.1", "cy", "cy", None),
            ("::1", "eve", "x", Some(5)),
            ("::2", "eve", "x", None),
            ("2001:db8::1", "root", "x", Some(6)),
            ("febf::1", "x", "two words", Some(8)),
            ("fec0::1", "x", "two words", None),
        ];
        for (address, user, database, want) in cases {
            assert_eq!(line(&hba, address, user, database), want, "{address} {user} {database}");
        }
        let local = hba.check(&Peer::Local, false, "x", "y").map(|rule| (rule.line, rule.method));
        assert_eq!(local, Some((2, Method::Trust)));
    }

    #[test]
    fn tls_decides() {
        let hba = read("hostssl all all all trust\nhostnossl all all all reject\n").unwrap();
        let peer = Peer::Ip("1.2.3.4".parse().unwrap());
        let method = |tls| hba.check(&peer, tls, "u", "d").map(|rule| rule.method);
        assert_eq!((method(true), method(false)), (Some(Method::Trust), Some(Method::Reject)));
        assert!(hba.check(&Peer::Local, true, "u", "d").is_none());
    }

    #[test]
    fn replication_is_a_database_like_others() {
        let hba = read("host replication all all trust\n").unwrap();
        assert_eq!(line(&hba, "1.1.1.1", "u", "replication"), Some(1));
        assert_eq!(line(&hba, "1.1.1.1", "u", "d"), None);
    }

    #[test]
    fn names_from_files() {
        let mut include = |name: &str| match name {
            "users" => Ok("ann, bob # staff\n@more".to_owned()),
            "more" => Ok("\"cy d\"\n".to_owned()),
            "loop" => Ok("@loop".to_owned()),
            _ => no_files(name),
        };
        let hba = parse("host all @users all trust\n", "hba", &mut include).unwrap();
        for (user, want) in [("ann", Some(1)), ("bob", Some(1)), ("cy d", Some(1)), ("staff", None)] {
            assert_eq!(line(&hba, "1.1.1.1", user, "d"), want, "{user}");
        }
        let errors =
            parse("host all @loop all trust\nhost @gone all all trust", "hba", &mut include).unwrap_err();
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(texts[0], "hba:1: \"@\" files are nested too deeply at \"loop\"");
        assert_eq!(texts[1], "hba:2: could not open file \"gone\": gone");
    }

    #[test]
    fn errors_name_their_line() {
        let cases = [
            ("\nlocale all all trust", "hba:2: invalid connection type \"locale\""),
            ("local", "hba:1: end of line before database"),
            ("local all", "hba:1: end of line before user"),
            ("host all all", "hba:1: end of line before IP address"),
            ("host all all 1.2.3.4", "hba:1: end of line before IP mask"),
            ("host all all 1.2.3.4/33 trust", "hba:1: invalid CIDR mask in address \"1.2.3.4/33\""),
            ("host all all 1.2.3.4 ::1 trust", "hba:1: IP address and mask do not match"),
            ("host all all 1.2.3.4 x trust", "hba:1: invalid IP mask \"x\""),
            ("host all all 1.2.3/8 trust", "hba:1: invalid IP address \"1.2.3/8\""),
            ("host all all samenet trust", "hba:1: address \"samenet\" is not supported yet"),
            ("host all all .x.org trust", "hba:1: host name \".x.org\" as address is not supported yet"),
            ("local all all", "hba:1: end of line before method"),
            ("local all all pam", "hba:1: method \"pam\" is not supported yet"),
            ("local all all peer", "hba:1: invalid authentication method \"peer\""),
            ("local all all md5 x=y", "hba:1: unrecognized authentication option \"x=y\""),
            ("local all +staff md5", "hba:1: group \"+staff\" is not supported"),
            ("local samerole all md5", "hba:1: database \"samerole\" is not supported"),
            ("local \"all all md5", "hba:1: quoted name has no end"),
            ("local,host all all md5", "hba:1: multiple values specified for connection type"),
            ("host all all all,all md5", "hba:1: multiple values specified for IP address"),
        ];
        for (text, want) in cases {
            assert_eq!(error(text), want);
        }
        assert_eq!(read("x\ny\n").unwrap_err().len(), 2);
    }

    #[test]
    fn methods_are_written_as_they_are_read() {
        for method in [Method::Trust, Method::Reject, Method::Md5, Method::ScramSha256] {
            let hba = read(&format!("local all all {method}\n")).unwrap();
            assert_eq!(hba.check(&Peer::Local, false, "u", "d").map(|rule| rule.method), Some(method));
        }
    }

    proptest! {
        #[test]
        fn any_text_never_panics(
            text in "\\PC*",
            lines in "((local|host|hostssl) ?(all|[\"@a,]{0,4}) (all|\\+?[\"a, ]{0,4}) ([0-9./:a-f]{0,9}|all) (md5|trust)?[#\\\\]?\n){0,4}",
        ) {
            let _ = (read(&text), read(&lines));
        }

        #[test]
        fn quoted_names_round_trip(name in "[^\"\r\n\\\\]{1,20}") {
            let hba = read(&format!("local \"{name}\" all trust\n")).unwrap();
            prop_assert!(hba.check(&Peer::Local, false, "u", &name).is_some());
        }

        #[test]
        fn a_network_holds_its_addresses(address: u32, other: u32, bits in 0..=32_u32) {
            let (ip, peer) = (std::net::Ipv4Addr::from(address), std::net::Ipv4Addr::from(other));
            let hba = read(&format!("host all all {ip}/{bits} trust\n")).unwrap();
            let differing = (address ^ other).checked_shr(32 - bits).unwrap_or(0);
            let found = hba.check(&Peer::Ip(peer.into()), false, "u", "d").is_some();
            prop_assert_eq!(found, differing == 0);
        }
    }
}
