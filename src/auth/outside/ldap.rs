//! Whether an LDAP server takes a user's password: binds as the entry whose name is made of the user's, or looks for
//! the entry first. Each step has a limit of time; a server that cannot be had makes us try the next one.
#![forbid(unsafe_code)]

use std::time::Duration;

use ldap3::{
    LdapConn, LdapConnSettings, LdapError, LdapResult, SearchEntry, SearchOptions, SearchResult, ldap_escape,
};

use crate::auth::hba::{Finding, Ldap, Scope};

/// How long one step may take: to connect with TLS, to bind, to search.
const LIMIT: Duration = Duration::from_secs(10);

/// sizeLimitExceeded (RFC 4511, 4.1.9).
const TOO_MANY: u32 = 4;

/// Why a server did not say yes.
enum Failure {
    /// It cannot be had: another one may say more.
    Away(String),
    /// It has spoken.
    Final(String),
}

/// Asks the servers in turn.
///
/// # Errors
/// Why the user is not let in, for the log.
pub(super) fn check(options: &Ldap, user: &str, password: &str) -> Result<(), String> {
    if password.is_empty() {
        // A bind without a password is anonymous, and every server takes it.
        return Err("client provided an empty password".to_owned());
    }
    let mut away = Vec::new();
    for server in &options.servers {
        match ask(options, server, user, password) {
            Ok(()) => return Ok(()),
            Err(Failure::Final(text)) => return Err(text),
            Err(Failure::Away(text)) => away.push(text),
        }
    }
    Err(away.join("; "))
}

fn ask(options: &Ldap, server: &str, user: &str, password: &str) -> Result<(), Failure> {
    let settings = LdapConnSettings::new().set_conn_timeout(LIMIT).set_starttls(options.start_tls);
    let scheme = if options.is_ldaps { "ldaps" } else { "ldap" };
    let port = if options.port == 0 { String::new() } else { format!(":{}", options.port) };
    let away = |error: LdapError| {
        // OpenSSL's reason, such as a certificate that is not trusted, may end as a mere broken pipe.
        let tls = options.is_ldaps || options.start_tls;
        let hint = if tls {
            " (if it can be reached, look at its certificate and at the trusted ones of this host)"
        } else {
            ""
        };
        Failure::Away(format!("could not connect to LDAP server \"{server}\": {error}{hint}"))
    };
    let mut ldap = LdapConn::with_settings(settings, &format!("{scheme}://{server}{port}")).map_err(away)?;
    let dn = match &options.finding {
        Finding::Made { prefix, suffix } => format!("{prefix}{user}{suffix}"),
        Finding::Searched { .. } => find(options, &mut ldap, server, user)?,
    };
    let result = ldap.with_timeout(LIMIT).simple_bind(&dn, password).map_err(away)?;
    let refused = format!("LDAP login failed for user \"{dn}\" on server \"{server}\"");
    let _ = ldap.unbind();
    accepted(result).map_err(|why| Failure::Final(format!("{refused}: {why}")))
}

/// The name of the user's entry, which must be the only one.
fn find(options: &Ldap, ldap: &mut LdapConn, server: &str, user: &str) -> Result<String, Failure> {
    let Finding::Searched { base, scope, filter, bind_dn, bind_password } = &options.finding else {
        return Err(Failure::Final("nothing to search for".to_owned()));
    };
    let away = |what: &str, error: LdapError| {
        Failure::Away(format!("could not {what} on LDAP server \"{server}\": {error}"))
    };
    let result = ldap.with_timeout(LIMIT).simple_bind(bind_dn, bind_password).map_err(|e| away("bind", e))?;
    accepted(result).map_err(|why| {
        let text = "could not perform initial LDAP bind for ldapbinddn";
        Failure::Final(format!("{text} \"{bind_dn}\" on server \"{server}\": {why}"))
    })?;
    let scope = match scope {
        Scope::Base => ldap3::Scope::Base,
        Scope::One => ldap3::Scope::OneLevel,
        Scope::Subtree => ldap3::Scope::Subtree,
    };
    let filter = filter.replace("$username", &ldap_escape(user));
    // Two are enough to see that it is not the only one; "1.1" stands for no attributes.
    let search = ldap.with_timeout(LIMIT).with_search_options(SearchOptions::new().sizelimit(2));
    let SearchResult(entries, result) =
        search.search(base, scope, &filter, vec!["1.1"]).map_err(|e| away("search", e))?;
    if result.rc != TOO_MANY {
        accepted(result).map_err(|why| {
            Failure::Final(format!(
                "could not search LDAP for filter \"{filter}\" on server \"{server}\": {why}"
            ))
        })?;
    }
    let found = entries.into_iter().filter(|entry| !entry.is_ref() && !entry.is_intermediate());
    let mut names = found.map(|entry| SearchEntry::construct(entry).dn);
    let searched = format!("LDAP search for filter \"{filter}\" on server \"{server}\"");
    match (names.next(), names.next()) {
        (None, _) => Err(Failure::Final(format!(
            "LDAP user \"{user}\" does not exist: {searched} returned no entries."
        ))),
        (Some(_), Some(_)) => Err(Failure::Final(format!(
            "LDAP user \"{user}\" is not unique: {searched} returned more than one entry."
        ))),
        // A bind to the empty name would be anonymous.
        (Some(name), None) if name.is_empty() => {
            Err(Failure::Final(format!("{searched} returned an entry without a name.")))
        }
        (Some(name), None) => Ok(name),
    }
}

/// Only a plain success will do: a referral or a half-finished bind is none.
fn accepted(result: LdapResult) -> Result<(), String> {
    match result.rc {
        0 => Ok(()),
        _ if result.text.is_empty() => Err(format!("result code {}", result.rc)),
        _ => Err(format!("result code {}: {}", result.rc, result.text)),
    }
}
