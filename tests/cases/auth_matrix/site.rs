//! What the attempts are made against: a server that wants something else of each user, an LDAP server, a service of PAM,
//! and the files of the program under test.

use std::fmt::Write;
use std::path::Path;

use super::cells::{BACKENDS, Cell, EXPIRED, Form, KINDS, Kind, NOBODY, secret, user};
use crate::harness::balancer::{Conf, Program};
use crate::harness::certs::{Authority, Pair};
use crate::harness::pam::Service;
use crate::harness::slapd::Slapd;
use crate::harness::{Balancer, Client, Cluster, process};

/// The name on our certificate, which opens the server for us.
const OURS: &str = "pgbalancer";

const KEY: &str = "pgpoolkey\n";

pub(super) struct Site {
    cluster: Cluster,
    authority: Authority,
    pair: Pair,
    slapd: Slapd,
    /// None where only root may make one.
    pub(super) pam: Option<Service>,
    pool_passwd: String,
}

impl Site {
    pub(super) fn new() -> Site {
        let (cluster, authority) = (Cluster::alone(), Authority::new());
        let pair = authority.sign("server", OURS, "DNS:localhost,IP:127.0.0.1");
        certificates(&authority);
        let users = each_user().into_iter().filter(|(kind, ..)| kind.name == "ldap");
        let slapd = Slapd::start_with(&users.map(|(_, _, user)| user).collect::<Vec<_>>());
        let pool_passwd = make_users(&cluster);
        secure(&cluster, &authority, &pair);
        Site { cluster, authority, pair, slapd, pam: Service::new(), pool_passwd }
    }

    pub(super) fn start(&self, program: Program, cache: &str) -> Balancer {
        let quoted = |path: &Path| format!("'{}'", path.display());
        let conf = Conf::of(&self.cluster)
            .set("num_init_children", "8")
            .set("max_pool", "2")
            .set("connection_cache", cache)
            .set("enable_pool_hba", "on")
            .set("pool_passwd", "'pool_passwd'")
            .set("ssl", "on")
            .set("ssl_cert", &quoted(&self.pair.cert))
            .set("ssl_key", &quoted(&self.pair.key))
            .set("ssl_ca_cert", &quoted(&self.authority.cert()));
        let (rules, key) = (self.pool_hba(), KEY);
        let files = [("pool_hba.conf", &*rules), ("pool_passwd", &*self.pool_passwd), (".pgpoolkey", key)];
        let balancer = Balancer::start_program(program, conf, &files);
        balancer.wait_roles();
        balancer
    }

    fn pool_hba(&self) -> String {
        let mut text = "host all postgres all trust\n".to_owned();
        for (kind, _, user) in each_user() {
            let options = match (kind.name, &self.pam) {
                ("pam", Some(service)) => format!("pamservice={}", service.name),
                ("pam", None) => continue,
                ("ldap", _) => {
                    let place = "ldapprefix=\"uid=\" ldapsuffix=\",ou=people,dc=test\" backend_use_passwd=1";
                    format!("ldapserver=127.0.0.1 ldapport={} {place}", self.slapd.port)
                }
                _ => String::new(),
            };
            let users = [&user, &format!("{user}{NOBODY}")];
            for user in users {
                let method = kind.method;
                if method == "cert" {
                    writeln!(text, "hostssl all {user} all cert").unwrap();
                } else {
                    writeln!(text, "host all {user} all {method} {options}").unwrap();
                    writeln!(text, "local all {user} {method} {options}").unwrap();
                }
            }
        }
        text
    }

    /// What a client of libpq is told to do.
    pub(super) fn settings(&self, cell: &Cell, balancer: &Balancer) -> serde_json::Value {
        let door = match cell.transport {
            "local" => balancer.local_door("postgres"),
            _ => balancer.door("postgres"),
        };
        let mut settings = serde_json::json!({
            "host": door.host, "port": door.port, "user": cell.user(), "dbname": "postgres",
            "password": cell.password(), "connect_timeout": 60, "gssencmode": "disable",
            "sslmode": if cell.transport == "tls" { "require" } else { "disable" },
        });
        if let Some(name) = cell.certificate() {
            for (setting, ending) in [("sslcert", "crt"), ("sslkey", "key")] {
                let path = self.authority.path(&format!("{name}.{ending}"));
                settings[setting] = path.display().to_string().into();
            }
        }
        if cell.kind.name == "plus" {
            settings["channel_binding"] = "require".into();
        }
        settings
    }
}

/// Each user that the server has.
fn each_user() -> Vec<(&'static Kind, &'static str, String)> {
    let mut all = Vec::new();
    for kind in &KINDS {
        for backend in BACKENDS {
            let name = user(kind, backend);
            all.push((kind, backend, name.clone()));
            all.push((kind, backend, name + EXPIRED));
        }
    }
    all
}

/// Those of clients.
fn certificates(authority: &Authority) {
    let kind = KINDS.iter().find(|kind| kind.name == "cert").unwrap();
    authority.sign("somebody_else", "somebody_else", "DNS:client");
    for backend in BACKENDS {
        let name = user(kind, backend);
        authority.sign(&name, &name, "DNS:client");
        authority.sign_expired(&format!("{name}{EXPIRED}"), &name);
        let nobody = name + NOBODY;
        authority.sign(&nobody, &nobody, "DNS:client");
    }
}

/// The roles of the server; gives the lines of pool_passwd.
fn make_users(cluster: &Cluster) -> String {
    let mut client = Client::connect(&cluster.door(0, "postgres"));
    let mut passwords = String::new();
    let key = pgbalancer::auth::pool_key::PoolKey::new(KEY.trim().as_bytes()).unwrap();
    for (kind, backend, user) in each_user() {
        let secret = secret(&user);
        let until = if user.ends_with(EXPIRED) { "2000-01-01" } else { "infinity" };
        client
            .query(&format!("CREATE ROLE {user} LOGIN PASSWORD '{secret}' VALID UNTIL '{until}'"))
            .succeeded();
        let entry = match kind.form {
            Form::Absent => None,
            Form::Text => Some(format!("TEXT{secret}")),
            Form::Aes => Some(format!("AES{}", key.encrypt(secret.as_bytes()).unwrap())),
            Form::Md5 => Some(client.ask(&format!("SELECT 'md5' || md5('{secret}{user}')"))),
            Form::Verifier => {
                Some(client.ask(&format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'")))
            }
        };
        entry.into_iter().for_each(|entry| writeln!(passwords, "{user}:{entry}").unwrap());
        if backend == "md5" {
            client.query("SET password_encryption = md5").succeeded();
            client.query(&format!("ALTER ROLE {user} PASSWORD '{secret}'")).succeeded();
            client.query("RESET password_encryption").succeeded();
        }
    }
    passwords
}

/// Has the server want of each user what its name says.
fn secure(cluster: &Cluster, authority: &Authority, pair: &Pair) {
    let mut client = Client::connect(&cluster.door(0, "postgres"));
    let files =
        [("ssl_cert_file", &pair.cert), ("ssl_key_file", &pair.key), ("ssl_ca_file", &authority.cert())];
    for (name, path) in files {
        client.query(&format!("ALTER SYSTEM SET {name} = '{}'", path.display())).succeeded();
    }
    client.query("ALTER SYSTEM SET ssl = on").succeeded();
    let path = |client: &mut Client, name: &str| client.ask(&format!("SHOW {name}"));
    let (hba, ident) = (path(&mut client, "hba_file"), path(&mut client, "ident_file"));
    drop(client);
    let (mut rules, mut map) = (String::new(), String::new());
    for (_, backend, user) in each_user() {
        for user in [&user, &format!("{user}{NOBODY}")] {
            let rule = match backend {
                "scram" => format!("host all {user} all scram-sha-256"),
                "cert" => format!("hostssl all {user} all cert map=ours"),
                method => format!("host all {user} all {method}"),
            };
            writeln!(rules, "{rule}").unwrap();
            writeln!(map, "ours {OURS} {user}").unwrap();
        }
    }
    rules += &std::fs::read_to_string(&hba).unwrap();
    process::write(Path::new(&hba), rules);
    process::write(Path::new(&ident), map);
    cluster.primary().stop();
    cluster.primary().start();
}
