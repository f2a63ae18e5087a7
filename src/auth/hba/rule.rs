//! One rule: from the fields of a line to what can be compared with a client.
#![forbid(unsafe_code)]

use std::io;
use std::net::IpAddr;

use super::address::Address;
use super::token::{Field, Token, names};
use super::{Client, Peer, Rule, method};

/// How deep `@` files may name others.
const MAX_DEPTH: u32 = 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Connection {
    Local,
    Host { tls: Option<bool>, address: Address },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Database {
    All,
    SameUser,
    Name(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum User {
    All,
    Name(String),
}

type Include<'a> = &'a mut dyn FnMut(&str) -> io::Result<String>;

/// Fields of a line, taken from the front.
struct Fields<'a> {
    rest: std::slice::Iter<'a, Field>,
}

impl<'a> Fields<'a> {
    fn list(&mut self, what: &str) -> Result<&'a Field, String> {
        self.rest.next().ok_or_else(|| format!("end of line before {what}"))
    }

    /// A field of one name.
    fn one(&mut self, what: &str) -> Result<&'a Token, String> {
        match self.list(what)?.as_slice() {
            [token] => Ok(token),
            _ => Err(format!("multiple values specified for {what}")),
        }
    }
}

/// Reads a line.
pub(super) fn read(line: u32, fields: &[Field], include: Include<'_>) -> Result<Rule, String> {
    let mut fields = Fields { rest: fields.iter() };
    let kind = fields.one("connection type")?;
    let tls = match kind.text.as_str() {
        "local" | "host" => None,
        "hostssl" => Some(true),
        "hostnossl" => Some(false),
        other => return Err(format!("invalid connection type \"{other}\"")),
    };
    let databases = list(fields.list("database")?, include, database)?;
    let users = list(fields.list("user")?, include, user)?;
    let connection = match kind.text.as_str() {
        "local" => Connection::Local,
        _ => Connection::Host { tls, address: address(&mut fields)? },
    };
    let method = method::read(fields.one("method")?, fields.rest, tls == Some(true), include)?;
    Ok(Rule { line, method, connection, databases, users })
}

fn list<T>(
    field: &Field,
    include: Include<'_>,
    read: fn(&Token) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let mut found = Vec::new();
    expand(field, include, 0, &mut |token| {
        found.push(read(token)?);
        Ok(())
    })?;
    Ok(found)
}

/// Gives each name of a field to `take`, those of `@` files too.
fn expand(
    field: &Field,
    include: Include<'_>,
    depth: u32,
    take: &mut dyn FnMut(&Token) -> Result<(), String>,
) -> Result<(), String> {
    for token in field {
        match token.text.strip_prefix('@').filter(|name| !token.quoted && !name.is_empty()) {
            None => take(token)?,
            Some(name) if depth >= MAX_DEPTH => {
                return Err(format!("\"@\" files are nested too deeply at \"{name}\""));
            }
            Some(name) => {
                let text =
                    include(name).map_err(|error| format!("could not open file \"{name}\": {error}"))?;
                expand(&names(&text)?, include, depth + 1, take)?;
            }
        }
    }
    Ok(())
}

fn database(token: &Token) -> Result<Database, String> {
    match token.text.as_str() {
        _ if token.is("all") => Ok(Database::All),
        _ if token.is("sameuser") => Ok(Database::SameUser),
        name if token.is("samegroup") || token.is("samerole") => {
            Err(format!("database \"{name}\" is not supported"))
        }
        name => Ok(Database::Name(name.to_owned())),
    }
}

fn user(token: &Token) -> Result<User, String> {
    match token.text.as_str() {
        _ if token.is("all") => Ok(User::All),
        name if name.starts_with('+') && !token.quoted => Err(format!("group \"{name}\" is not supported")),
        name => Ok(User::Name(name.to_owned())),
    }
}

fn address(fields: &mut Fields<'_>) -> Result<Address, String> {
    let token = fields.one("IP address")?;
    let text = token.text.as_str();
    if token.is("all") {
        return Ok(Address::All);
    }
    if token.is("samehost") {
        return Ok(Address::SameHost);
    }
    if token.is("samenet") {
        return Ok(Address::SameNet);
    }
    if let Some((ip, bits)) = text.split_once('/') {
        let ip: IpAddr = ip.parse().map_err(|_| format!("invalid IP address \"{text}\""))?;
        let network = bits.parse().ok().and_then(|bits| Address::prefixed(ip, bits));
        return network.ok_or_else(|| format!("invalid CIDR mask in address \"{text}\""));
    }
    let Ok(ip) = text.parse() else {
        // No name of a host: a mistake in an address must not become a rule that fits nobody.
        if text.contains(':') || !text.contains(|c: char| c.is_ascii_alphabetic()) {
            return Err(format!("invalid IP address \"{text}\""));
        }
        return Ok(Address::Name(text.to_owned()));
    };
    let mask = fields.one("IP mask")?.text.as_str();
    let mask = mask.parse().map_err(|_| format!("invalid IP mask \"{mask}\""))?;
    Address::masked(ip, mask).ok_or_else(|| "IP address and mask do not match".to_owned())
}

impl Rule {
    /// Whether the rule is for this client; `None` where its host's name must be known to say so.
    pub(super) fn fits(&self, client: &Client<'_>) -> Option<bool> {
        let names = self.databases.iter().any(|wanted| match wanted {
            Database::All => true,
            Database::SameUser => client.user == client.database,
            Database::Name(name) => name == client.database,
        }) && self.users.iter().any(|wanted| match wanted {
            User::All => true,
            User::Name(name) => name == client.user,
        });
        match (&self.connection, client.peer) {
            (Connection::Local, Peer::Local) => Some(names),
            (Connection::Host { tls, address }, Peer::Ip(ip)) if names => {
                match tls.is_none_or(|wanted| wanted == client.tls) {
                    true => address.holds(ip, client),
                    false => Some(false),
                }
            }
            _ => Some(false),
        }
    }
}
