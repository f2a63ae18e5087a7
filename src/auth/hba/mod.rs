//! pool_hba.conf: which clients are asked what, in the order of the file; the first rule that fits counts.
//! Pure but for `load`: `@file`, the addresses of this host and the client's host name come from outside. What cannot be used is an
//! error with its line, for to pass over a rule would let in whom it was to keep out.
#![forbid(unsafe_code)]

use std::io;
use std::net::IpAddr;
use std::path::Path;

use thiserror::Error;

mod address;
mod ident;
mod ldap_url;
mod method;
mod rule;
mod token;

pub use address::Interface;
pub use ident::Map;
pub use method::{Finding, Ldap, Method, Pam, Scope};

/// Where a client comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A Unix-domain socket.
    Local,
    Ip(IpAddr),
}

/// What is known of the name of a client's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host<'a> {
    /// Nobody has looked it up.
    Unasked,
    /// It has none, or one that does not lead back to its address.
    Nameless,
    Named(&'a str),
}

/// Who wants to come in.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    pub peer: Peer,
    pub tls: bool,
    pub user: &'a str,
    pub database: &'a str,
    pub host: Host<'a>,
    /// The addresses of this host, asked for where a rule has `samehost` or `samenet`.
    pub interfaces: &'a dyn Fn() -> Vec<Interface>,
}

/// What the rules say of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// The first rule that fits.
    Rule(&'a Rule),
    /// No rule fits: the client must go.
    Nobody,
    /// The name of the client's host must be looked up first.
    HostWanted,
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

/// Reads the file, and beside it those that it names with `@`.
///
/// # Errors
/// One line for the log: the file cannot be read, or what is wrong with each line of it.
pub fn load(path: &Path) -> Result<Hba, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let beside = |name: &str| path.parent().unwrap_or(Path::new("")).join(name);
    let mut include = |name: &str| std::fs::read_to_string(beside(name));
    parse(&text, &path.to_string_lossy(), &mut include).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        lines.join("; ")
    })
}

/// Reads the text of a file called `file`. `include` gives the text of the file that `@NAME` names (NAME as
/// written: relative to the directory of `file`), and that of pool_ident.conf. All errors are found at once.
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
    /// What becomes of this client.
    pub fn check(&self, client: &Client<'_>) -> Verdict<'_> {
        for rule in &self.rules {
            match rule.fits(client) {
                Some(true) => return Verdict::Rule(rule),
                Some(false) => {}
                None => return Verdict::HostWanted,
            }
        }
        Verdict::Nobody
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

    /// A client without TLS whose host nobody has looked up.
    fn client<'a>(peer: Peer, user: &'a str, database: &'a str) -> Client<'a> {
        let interfaces = &|| {
            let pair = |address: &str, mask: &str| Interface {
                address: address.parse().unwrap(),
                mask: mask.parse().unwrap(),
            };
            vec![pair("10.0.0.7", "255.255.255.0"), pair("fd00::7", "ffff:ffff:ffff:ffff::")]
        };
        Client { peer, tls: false, user, database, host: Host::Unasked, interfaces }
    }

    fn ip(address: &str) -> Peer {
        Peer::Ip(address.parse().unwrap())
    }

    fn rule<'a>(hba: &'a Hba, client: &Client<'_>) -> Option<&'a Rule> {
        match hba.check(client) {
            Verdict::Rule(rule) => Some(rule),
            Verdict::Nobody | Verdict::HostWanted => None,
        }
    }

    /// The line of the rule that meets a TCP client without TLS.
    fn line(hba: &Hba, address: &str, user: &str, database: &str) -> Option<u32> {
        rule(hba, &client(ip(address), user, database)).map(|rule| rule.line)
    }

    /// The method of the only rule, which is for TLS.
    fn method(text: &str) -> Method {
        let hba = read(&format!("hostssl all all all {text}\n")).unwrap();
        rule(&hba, &Client { tls: true, ..client(ip("::1"), "u", "d") }).unwrap().method.clone()
    }

    /// Why the method of the only rule cannot be used.
    fn method_error(text: &str) -> String {
        error(&format!("hostssl all all all {text}\n")).replace("hba:1: ", "")
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
        let local = rule(&hba, &client(Peer::Local, "x", "y")).unwrap();
        assert_eq!((local.line, &local.method), (2, &Method::Trust));
    }

    #[test]
    fn tls_decides() {
        let hba = read("hostssl all all all trust\nhostnossl all all all reject\n").unwrap();
        let method =
            |tls, peer| rule(&hba, &Client { tls, ..client(peer, "u", "d") }).map(|rule| rule.method.clone());
        assert_eq!(method(true, ip("1.2.3.4")), Some(Method::Trust));
        assert_eq!(method(false, ip("1.2.3.4")), Some(Method::Reject));
        assert_eq!(method(true, Peer::Local), None);
    }

    #[test]
    fn this_host_and_its_networks() {
        let hba = read("host all all samehost trust\nhost all all samenet md5\n").unwrap();
        let cases = [
            ("10.0.0.7", Some(1)),
            ("::ffff:10.0.0.7", Some(1)),
            ("10.0.0.8", Some(2)),
            ("10.0.1.7", None),
            ("fd00::7", Some(1)),
            ("fd00::8", Some(2)),
            ("fd00:0:0:1::7", None),
        ];
        for (address, want) in cases {
            assert_eq!(line(&hba, address, "u", "d"), want, "{address}");
        }
    }

    #[test]
    fn names_of_hosts_are_asked_for_only_where_they_decide() {
        let hba = read(
            "host all all 10.0.0.0/8 reject\nhost all ann db.Example.org trust\nhost all all .example.org md5\n",
        )
        .unwrap();
        let by = |user, host| hba.check(&Client { host, ..client(ip("1.2.3.4"), user, "d") });
        let line = |user, host| match by(user, host) {
            Verdict::Rule(rule) => Some(rule.line),
            _ => None,
        };
        assert_eq!(by("ann", Host::Unasked), Verdict::HostWanted);
        assert_eq!(by("ann", Host::Nameless), Verdict::Nobody);
        assert_eq!(line("ann", Host::Named("DB.example.org")), Some(2));
        assert_eq!(line("ann", Host::Named("a.db.example.org")), Some(3));
        assert_eq!(line("bob", Host::Named("db.example.org")), Some(3));
        assert_eq!(line("bob", Host::Named("badexample.org")), None);
        assert_eq!(line("bob", Host::Named("example.org")), None);
        assert_eq!(line("bob", Host::Named(".example.org")), None);
        let near = hba.check(&client(ip("10.1.1.1"), "ann", "d"));
        assert!(matches!(near, Verdict::Rule(rule) if rule.line == 1));
    }

    #[test]
    fn options_of_pam() {
        let pam = |service: &str, use_hostname| {
            Method::Pam(std::sync::Arc::new(Pam { service: service.to_owned(), use_hostname }))
        };
        assert_eq!(method("pam"), pam("pgpool", false));
        assert_eq!(method("pam pamservice=\"my service\" pam_use_hostname=1"), pam("my service", true));
    }

    #[test]
    fn options_of_ldap() {
        let ldap = |text: &str| match method(&format!("ldap {text}")) {
            Method::Ldap(options) => options,
            other => panic!("{other}"),
        };
        let made = ldap("ldapserver=\"a b\" ldapport=1389 ldaptls=1 ldapprefix=cn= ldapsuffix=\",dc=net\"");
        assert_eq!((&made.servers[..], made.port), (&["a".to_owned(), "b".to_owned()][..], 1389));
        assert!(made.start_tls && !made.is_ldaps && !made.backend_use_password);
        assert!(
            matches!(&made.finding, Finding::Made { prefix, suffix } if prefix == "cn=" && suffix == ",dc=net")
        );

        let search = |options: &Ldap| match &options.finding {
            Finding::Searched { base, scope, filter, bind_dn, .. } => {
                (base.clone(), *scope, filter.clone(), bind_dn.clone())
            }
            Finding::Made { .. } => panic!(),
        };
        let parts = |base: &str, scope, filter: &str, dn: &str| {
            (base.to_owned(), scope, filter.to_owned(), dn.to_owned())
        };
        let found = ldap("ldapserver=a \"ldapbasedn=dc=a,dc=b\" backend_use_passwd=1");
        assert!(found.backend_use_password);
        assert_eq!(search(&found), parts("dc=a,dc=b", Scope::Subtree, "(uid=$username)", ""));
        let found =
            ldap("ldapserver=a ldapbasedn=x ldapsearchattribute=cn ldapbinddn=me ldapbindpasswd=hush");
        assert_eq!(search(&found), parts("x", Scope::Subtree, "(cn=$username)", "me"));
        assert!(!format!("{found:?}").contains("hush"));
        let found = ldap("ldapurl=ldaps://h:636/x?cn?one");
        assert!(found.is_ldaps && found.port == 636 && found.servers == ["h"]);
        assert_eq!(search(&found), parts("x", Scope::One, "(cn=$username)", ""));
    }

    #[test]
    fn options_that_do_not_go_together() {
        let mixed = "cannot use ldapbasedn, ldapbinddn, ldapbindpasswd, ldapsearchattribute, ldapsearchfilter, or \
                     ldapurl together with ldapprefix";
        let none = "authentication method \"ldap\" requires argument \"ldapbasedn\", \"ldapprefix\", or \
                    \"ldapsuffix\" to be set";
        let cases = [
            ("ldap ldapserver=h ldapprefix=a ldapbasedn=b", mixed),
            ("ldap ldapprefix=a ldapurl=ldap://h/b", mixed),
            ("ldap ldapserver=h", none),
            (
                "ldap ldapserver=h ldapbasedn=b ldapsearchattribute=c ldapsearchfilter=d",
                "cannot use ldapsearchattribute together with ldapsearchfilter",
            ),
            (
                "ldap ldapbasedn=b",
                "authentication method \"ldap\" requires argument \"ldapserver\" to be set",
            ),
            ("ldap ldapport=0", "invalid LDAP port number: \"0\""),
            ("ldap ldapscheme=http", "invalid ldapscheme value: \"http\""),
            ("ldap ldapurl=http://h/x", "unsupported LDAP URL scheme: http"),
            ("ldap ldapurl=h", "could not parse LDAP URL \"h\": it has no \"://\""),
            ("ldap ldaptls=yes", "invalid value for ldaptls: \"yes\" (0 or 1)"),
            (
                "ldap ldapscheme=ldaps ldaptls=1 ldapserver=h ldapprefix=a",
                "cannot use ldaptls together with scheme ldaps",
            ),
            (
                "md5 pamservice=x",
                "pamservice authentication option can only be configured for authentication method \"pam\"",
            ),
            (
                "pam ldapserver=x",
                "ldapserver authentication option can only be configured for authentication method \"ldap\"",
            ),
            ("pam pamservice=", "pamservice must not be empty"),
            ("cert x=y", "unrecognized authentication option name: \"x\""),
            ("md5 x", "authentication option not in name=value format: x"),
        ];
        for (text, want) in cases {
            assert_eq!(method_error(text), want, "{text}");
        }
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
            ("host all all 1.2.3 trust", "hba:1: invalid IP address \"1.2.3\""),
            ("host all all x.org/8 trust", "hba:1: invalid IP address \"x.org/8\""),
            ("local all all", "hba:1: end of line before method"),
            ("host all all all cert", "hba:1: cert authentication is only supported on hostssl connections"),
            ("local all all peer", "hba:1: invalid authentication method \"peer\""),
            ("local all all md5 x=y", "hba:1: unrecognized authentication option name: \"x\""),
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
        for name in ["trust", "reject", "md5", "scram-sha-256", "password", "cert", "pam"] {
            assert_eq!(method(name).to_string(), name);
        }
        assert_eq!(method("ldap ldapserver=h ldapprefix=a").to_string(), "ldap");
    }

    proptest! {
        #[test]
        fn any_text_never_panics(
            text in "\\PC*",
            lines in "((local|host|hostssl) ?(all|[\"@a,]{0,4}) (all|\\+?[\"a, ]{0,4}) ([0-9./:a-f]{0,9}|all) (md5|trust|ldap ldapurl=ldap://[a:/?%]{0,6})?[#\\\\]?\n){0,4}",
        ) {
            let _ = (read(&text), read(&lines));
        }

        #[test]
        fn quoted_names_round_trip(name in "[^\"\r\n\\\\]{1,20}") {
            let hba = read(&format!("local \"{name}\" all trust\n")).unwrap();
            prop_assert!(rule(&hba, &client(Peer::Local, "u", &name)).is_some());
        }

        #[test]
        fn a_network_holds_its_addresses(address: u32, other: u32, bits in 0..=32_u32) {
            let (ip, peer) = (std::net::Ipv4Addr::from(address), std::net::Ipv4Addr::from(other));
            let hba = read(&format!("host all all {ip}/{bits} trust\n")).unwrap();
            let differing = (address ^ other).checked_shr(32 - bits).unwrap_or(0);
            let found = rule(&hba, &client(Peer::Ip(peer.into()), "u", "d")).is_some();
            prop_assert_eq!(found, differing == 0);
        }
    }
}
