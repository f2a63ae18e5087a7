//! TLS towards clients and towards servers, with the real psql, real servers and a socket of our own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion};

use crate::harness::balancer::Conf;
use crate::harness::certs::{Authority, Pair};
use crate::harness::tap::Tap;
use crate::harness::tools::{self, Ran};
use crate::harness::{Balancer, Client, Cluster, process, shared, wait};

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

fn quoted(path: &std::path::Path) -> String {
    format!("'{}'", path.display())
}

fn with_tls(conf: Conf, pair: &Pair) -> Conf {
    conf.set("ssl", "on").set("ssl_cert", &quoted(&pair.cert)).set("ssl_key", &quoted(&pair.key))
}

struct Site {
    authority: Authority,
    pair: Pair,
    balancer: Balancer,
}

impl Site {
    fn start(change: impl FnOnce(Conf, &Authority) -> Conf) -> Site {
        let authority = Authority::new();
        let pair = authority.sign("server", "localhost", "DNS:localhost,IP:127.0.0.1");
        let balancer = Balancer::start(change(with_tls(Conf::of(shared()), &pair), &authority));
        Site { authority, pair, balancer }
    }

    /// psql with these connection settings besides.
    fn psql(&self, settings: &str, sql: &str) -> Ran {
        let port = self.balancer.port;
        let conninfo =
            format!("host=localhost hostaddr=127.0.0.1 port={port} user=postgres dbname=postgres {settings}");
        let mut command = Command::new(tools::pg_bin().join("psql"));
        tools::run(command.args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &conninfo, "-c", sql]))
    }
}

#[test]
fn psql_comes_in_over_tls_and_without() {
    let site = Site::start(|conf, _| conf);
    let ca = site.authority.cert();
    let verified = format!("sslmode=verify-full sslrootcert={}", ca.display());
    for settings in ["sslmode=require", "sslmode=disable", "sslmode=prefer", verified.as_str()] {
        let ran = site.psql(settings, "SELECT 'in'").succeeded();
        assert_eq!(ran.out, "in\n", "{settings}");
    }
    for (version, max) in [("TLSv1.2", "TLSv1.2"), ("TLSv1.3", "TLSv1.3")] {
        let settings = format!("{verified} ssl_max_protocol_version={max}");
        let ran = site.psql(&settings, "\\conninfo").succeeded();
        assert!(ran.out.contains(version), "{}", ran.out);
    }
    let stranger = Authority::new();
    let ran = site.psql(&format!("sslmode=verify-ca sslrootcert={}", stranger.cert().display()), "SELECT 1");
    assert!(!ran.ok && ran.err.contains("certificate verify failed"), "{}", ran.err);
}

/// The system's client would refuse to begin, so this is one that does not.
#[test]
fn old_versions_of_tls_are_for_those_who_allow_them() {
    let handshake = |balancer: &Balancer| {
        let (socket, answer) = asked(balancer, b"");
        assert_eq!(answer, b"S");
        let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
        builder.set_verify(SslVerifyMode::NONE);
        builder.set_security_level(0);
        builder.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
        builder.set_min_proto_version(Some(SslVersion::TLS1)).unwrap();
        builder.set_max_proto_version(Some(SslVersion::TLS1_1)).unwrap();
        builder.build().connect("localhost", socket).map(|stream| stream.ssl().version_str())
    };
    let start = |min: &str| {
        let ciphers = "'ALL:@SECLEVEL=0'";
        Site::start(|conf, _| conf.set("ssl_ciphers", ciphers).set("ssl_min_protocol_version", min))
    };
    assert!(handshake(&start("'TLSv1.2'").balancer).is_err());
    assert_eq!(handshake(&start("'TLSv1'").balancer).unwrap(), "TLSv1.1");
}

#[test]
fn bulk_data_passes_whole_in_both_directions() {
    let site = Site::start(|conf, _| conf);
    let sql = "SELECT string_agg(i::text, ',') FROM generate_series(1, 2000000) i";
    let direct = shared().on_primary("postgres", &format!("SELECT md5(({sql}))"));
    let ran = site.psql("sslmode=require", sql).succeeded();
    let text = ran.out.trim_end();
    assert_eq!(text.len(), 14_888_895);
    // And back.
    let database = shared().database("tls");
    shared().prepare(&database, "CREATE TABLE t (a text)");
    let dir = process::server_dir("bulk");
    let file = dir.path().join("data");
    process::write(&file, format!("{text}\n"));
    let conninfo = format!("sslmode=require dbname={database}");
    site.psql(&conninfo, &format!("\\copy t FROM {}", file.display())).succeeded();
    assert_eq!(shared().on_primary(&database, "SELECT md5(a) FROM t"), direct);
}

#[test]
fn a_cancel_request_over_tls_reaches_its_statement() {
    let site = Site::start(|conf, _| conf);
    let ran = tools::run(&mut tools::python(&site.balancer.door("postgres"), "tls_cancel.py")).succeeded();
    assert_eq!(ran.out, "cancelled\n");
}

/// A TCP connection that has asked for TLS with these bytes behind the request.
fn asked(balancer: &Balancer, behind: &[u8]) -> (TcpStream, Vec<u8>) {
    let mut socket = TcpStream::connect(("127.0.0.1", balancer.port)).unwrap();
    socket.set_read_timeout(Some(wait::LIMIT)).unwrap();
    socket.write_all(&[&SSL_REQUEST, behind].concat()).unwrap();
    let mut answer = vec![0; 1024];
    let length = socket.read(&mut answer).unwrap();
    answer.truncate(length);
    (socket, answer)
}

fn start_up() -> Vec<u8> {
    let body = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    [&(body.len() as u32 + 4).to_be_bytes()[..], body].concat()
}

#[test]
fn bytes_before_the_handshake_are_refused() {
    let site = Site::start(|conf, _| conf);
    let (_socket, answer) = asked(&site.balancer, &start_up());
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert!(text.starts_with('E') && text.contains("received unencrypted data after SSL request"), "{text}");
    assert!(text.contains("08P01"), "{text}");
}

#[test]
fn a_handshake_that_does_not_come_ends_and_others_are_served() {
    let site = Site::start(|conf, _| conf.set("authentication_timeout", "2"));
    let (mut silent, answer) = asked(&site.balancer, b"");
    assert_eq!(answer, b"S");
    let (mut garbage, answer) = asked(&site.balancer, b"");
    assert_eq!(answer, b"S");
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    // An alert may come first; a reset is an end, too.
    let _ = garbage.read_to_end(&mut rest);
    assert!(rest.len() < 64, "{rest:?}");
    site.psql("sslmode=require", "SELECT 1").succeeded();
    let _ = silent.read_to_end(&mut rest);
    assert!(rest.len() < 64, "what was not encrypted would be read by others: {rest:?}");
}

fn connector(alpn: Option<&[u8]>) -> SslConnector {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    if let Some(alpn) = alpn {
        builder.set_alpn_protos(alpn).unwrap();
    }
    builder.build()
}

#[test]
fn a_handshake_without_a_request_needs_the_name_of_the_protocol() {
    let site = Site::start(|conf, _| conf);
    for (alpn, in_) in [(Some(&b"\x0apostgresql"[..]), true), (None, false)] {
        let socket = TcpStream::connect(("127.0.0.1", site.balancer.port)).unwrap();
        socket.set_read_timeout(Some(wait::LIMIT)).unwrap();
        let mut stream = connector(alpn).connect("localhost", socket).unwrap();
        let _ = stream.write_all(&start_up());
        let mut answer = vec![0; 8192];
        let length = stream.read(&mut answer).unwrap();
        let kind = char::from(answer[0]);
        let text = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert_eq!(kind, if in_ { 'R' } else { 'E' }, "{text}");
        assert_eq!(text.contains("without ALPN"), !in_, "{text}");
    }
    // Of another protocol nothing is answered.
    let socket = TcpStream::connect(("127.0.0.1", site.balancer.port)).unwrap();
    assert!(connector(Some(b"\x08http/1.1")).connect("localhost", socket).is_err());
}

/// A session that comes back, to whichever process, need not begin anew.
#[test]
fn a_session_is_resumed_in_another_process() {
    let site = Site::start(|conf, _| conf.set("num_init_children", "3").set("sessions_per_child", "1"));
    let ticket = site.authority.path("ticket");
    let connect = |option: &str| {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-starttls", "postgres", "-tls1_2", "-connect"]);
        command.arg(format!("127.0.0.1:{}", site.balancer.port)).arg(option).arg(&ticket);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut first = connect("-sess_out");
    wait::until_true("a ticket", || std::fs::metadata(&ticket).is_ok_and(|about| about.len() > 0));
    // The first process is busy with the first client, so this is another one.
    let second = connect("-sess_in").wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&second.stdout).into_owned();
    assert!(text.contains("\nReused, TLSv1.2"), "{text}");
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn a_reload_brings_a_new_certificate_and_leaves_sessions_alone() {
    let mut site = Site::start(|conf, _| conf);
    let mut old = tools::python(&site.balancer.door("postgres"), "tls_stays.py");
    let mut old = old.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut ask = |number: &str| {
        old.stdin.as_mut().unwrap().write_all(format!("{number}\n").as_bytes()).unwrap();
        let mut answer = [0; 2];
        old.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
        assert_eq!(answer, [number.as_bytes(), b"\n"].concat()[..]);
    };
    ask("1");

    let stranger = Authority::new();
    let pair = stranger.sign("server", "localhost", "DNS:localhost");
    let settings = format!("sslmode=verify-full sslrootcert={}", stranger.cert().display());
    assert!(!site.psql(&settings, "SELECT 1").ok);
    site.balancer
        .rewrite(|conf| conf.set("ssl_cert", &quoted(&pair.cert)).set("ssl_key", &quoted(&pair.key)));
    site.balancer.reload();
    wait::until_true("the new certificate", || site.psql(&settings, "SELECT 1").ok);

    // What cannot be used changes nothing.
    site.balancer.rewrite(|conf| conf.set("ssl_key", &quoted(&site.pair.key)));
    site.balancer.reload();
    site.balancer.wait_log("the old certificates stay in force: ssl_key: ");
    site.psql(&settings, "SELECT 1").succeeded();

    ask("2");
    old.kill().unwrap();
    old.wait().unwrap();
}

/// In the clear, passwords would be for everybody to read: so it must not come to that because of a file.
#[test]
fn a_process_that_replaces_another_has_tls_and_rules_though_the_files_are_spoilt() {
    let authority = Authority::new();
    let pair = authority.sign("server", "localhost", "DNS:localhost");
    let conf = Conf::of(shared()).set("enable_pool_hba", "on").set("num_init_children", "1");
    let rules = "hostssl all alice 127.0.0.1/32 trust\nhost all postgres 127.0.0.1/32 trust\n";
    let balancer = Balancer::start_with(with_tls(conf, &pair), &[("pool_hba.conf", rules)]);
    let settings = format!("user=alice sslmode=verify-full sslrootcert={}", authority.cert().display());
    let site = Site { authority, pair, balancer };
    site.psql(&settings, "SELECT 1").succeeded();
    process::write(&site.pair.cert, "no certificate");
    process::write(&site.balancer.dir.path().join("pool_hba.conf"), "no rules");
    site.balancer.reload();
    site.balancer.wait_log("the old certificates stay in force: ssl_cert: ");
    site.balancer.wait_log("the old rules of pool_hba.conf stay in force: ");
    let worker = site.balancer.worker_of(&Client::connect(&site.balancer.door("postgres")));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(worker), nix::sys::signal::Signal::SIGKILL).unwrap();
    wait::until_true("the worker to be gone", || !site.balancer.children().contains(&worker));
    site.psql(&settings, "SELECT 1").succeeded();
    assert!(!site.psql("user=alice sslmode=disable", "SELECT 1").ok);
}

#[test]
fn a_certificate_that_is_revoked_or_of_a_stranger_opens_nothing() {
    let authority = Authority::new();
    let pair = authority.sign("server", "localhost", "DNS:localhost");
    let [good, bad] = ["good", "bad"].map(|name| authority.sign(name, "postgres", "DNS:client"));
    let stranger = Authority::new();
    let strange = stranger.sign("strange", "postgres", "DNS:client");
    let crl = authority.revoke(&[&bad]);
    let conf = with_tls(Conf::of(shared()), &pair)
        .set("ssl_ca_cert", &quoted(&authority.cert()))
        .set("ssl_crl_file", &quoted(&crl));
    let balancer = Balancer::start(conf);
    let site = Site { authority, pair, balancer };
    site.psql("sslmode=require", "SELECT 'without'").succeeded();
    for (client, says) in [(&good, None), (&bad, Some("revoked")), (&strange, Some("unknown ca"))] {
        let files = format!("sslcert={} sslkey={}", client.cert.display(), client.key.display());
        let ran = site.psql(&format!("sslmode=require {files}"), "SELECT 1");
        assert_eq!(ran.ok, says.is_none(), "{}", ran.err);
        assert!(says.is_none_or(|says| ran.err.contains(says)), "{}", ran.err);
    }
}

#[test]
fn a_locked_key_is_opened_by_the_command() {
    let authority = Authority::new();
    let pair = authority.sign("server", "localhost", "DNS:localhost");
    let locked = authority.locked(&pair, "a passphrase");
    let conf = |command: &str| {
        with_tls(Conf::of(shared()), &pair)
            .set("ssl_key", &quoted(&locked))
            .set("ssl_passphrase_command", &format!("'{command}'"))
    };
    let balancer = Balancer::start(conf("echo a passphrase"));
    let ran = tools::run(
        tools::psql(&balancer.door("postgres")).args(["-c", "SELECT 1"]).env("PGSSLMODE", "require"),
    );
    ran.succeeded();
    for (command, says) in [
        ("echo wrong", "ssl_key: "),
        ("exit 3", "ssl_passphrase_command: the command failed"),
        ("", "needs a passphrase, and no command gives it"),
    ] {
        refuses_to_start(conf(command), says);
    }
}

fn refuses_to_start(conf: Conf, says: &str) {
    let balancer = Balancer::prepared_only(crate::harness::balancer::Program::under_test(), conf);
    let ran = tools::run(&mut balancer.command(&["-n"]));
    assert!(!ran.ok && ran.err.contains(says), "{says}: {}", ran.err);
}

#[test]
fn files_that_cannot_be_used_are_named_at_the_start() {
    let authority = Authority::new();
    let pair = authority.sign("server", "localhost", "DNS:localhost");
    let other = authority.sign("other", "other", "DNS:other");
    let open = authority.sign("open", "open", "DNS:open");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&open.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let good = || with_tls(Conf::of(shared()), &pair);
    refuses_to_start(good().set("ssl_cert", "''"), "ssl_cert: names no file");
    refuses_to_start(good().set("ssl_cert", "'/nowhere'"), "ssl_cert: /nowhere: ");
    refuses_to_start(good().set("ssl_key", &quoted(&other.key)), "ssl_key: ");
    let leaky = with_tls(Conf::of(shared()), &open);
    refuses_to_start(leaky, "others may read it");
    refuses_to_start(good().set("ssl_ca_cert", "'/nowhere'"), "ssl_ca_cert: /nowhere: ");
    refuses_to_start(good().set("ssl_crl_file", "'/nowhere'"), "ssl_crl_file: /nowhere: ");
    refuses_to_start(good().set("ssl_ciphers", "'nonsense'"), "ssl_ciphers: \"nonsense\" cannot be used");
    refuses_to_start(
        good().set("ssl_ecdh_curve", "'nonsense'"),
        "ssl_ecdh_curve: \"nonsense\" cannot be used",
    );
    refuses_to_start(good().set("ssl_dh_params_file", "'/nowhere'"), "ssl_dh_params_file: /nowhere: ");
    refuses_to_start(Conf::of(shared()).set("backend_sslmode0", "verify-ca"), "no authority is named");
}

#[test]
fn the_rules_know_who_has_come_over_tls() {
    let rules =
        "hostssl all all 127.0.0.1/32 trust\nhostnossl all all 127.0.0.1/32 reject\nlocal all all trust\n";
    let authority = Authority::new();
    let pair = authority.sign("server", "localhost", "DNS:localhost");
    let conf = with_tls(Conf::of(shared()).set("enable_pool_hba", "on"), &pair);
    let balancer = Balancer::start_with(conf, &[("pool_hba.conf", rules)]);
    let site = Site { authority, pair, balancer };
    site.psql("sslmode=require", "SELECT 1").succeeded();
    let ran = site.psql("sslmode=disable", "SELECT 1");
    assert!(!ran.ok && ran.err.contains("SSL off"), "{}", ran.err);
}

/// A cluster whose nodes want TLS of everybody who comes over the network but the harness.
struct Secured {
    cluster: Cluster,
    authority: Authority,
}

impl Secured {
    fn new() -> Secured {
        let (cluster, authority) = (Cluster::private(), Authority::new());
        let pair = authority.sign("node", "localhost", "DNS:localhost");
        for node in std::iter::once(cluster.primary()).chain(cluster.standbys()) {
            let mut client = Client::connect(&cluster.door(node.id, "postgres"));
            for sql in [
                format!("ALTER SYSTEM SET ssl_cert_file = {}", quoted(&pair.cert)),
                format!("ALTER SYSTEM SET ssl_key_file = {}", quoted(&pair.key)),
                "ALTER SYSTEM SET ssl = on".to_owned(),
                "SELECT pg_reload_conf()".to_owned(),
            ] {
                client.query(&sql).succeeded();
            }
            wait::until_true("the server to have TLS", || {
                client.query("SHOW ssl").value().as_deref() == Some("on")
            });
        }
        Secured { cluster, authority }
    }

    /// Lets in whom these rules let in, on every node.
    fn rules(&self, rules: &str) {
        for node in std::iter::once(self.cluster.primary()).chain(self.cluster.standbys()) {
            let mut client = Client::connect(&self.cluster.door(node.id, "postgres"));
            let file = client.query("SHOW hba_file").value().unwrap();
            let text = std::fs::read_to_string(&file).unwrap();
            let marker = "# of the test\n";
            let before = text.split_once(marker).map_or(text.as_str(), |(_, before)| before);
            process::write(std::path::Path::new(&file), format!("{rules}{marker}{before}"));
            client.query("SELECT pg_reload_conf()").succeeded();
        }
    }

    /// Whether a session of ours is secured at the node that it works on; or why there is none.
    fn seen(&self, conf: Conf) -> Result<String, String> {
        let balancer = Balancer::start_unready(conf);
        let sql =
            "SELECT ssl::text || ' ' || coalesce(version, '-') FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let ran = tools::run(tools::psql(&balancer.door("postgres")).args(["-c", sql]));
        if ran.ok { Ok(ran.out.trim().to_owned()) } else { Err(ran.err + &balancer.log()) }
    }

    fn conf(&self) -> Conf {
        let mut conf = Conf::of(&self.cluster);
        for node in 0..3 {
            conf = conf.set(&format!("backend_hostname{node}"), "'localhost'");
        }
        conf
    }

    fn each(&self, conf: Conf, mode: &str) -> Conf {
        (0..3).fold(conf, |conf, node| conf.set(&format!("backend_sslmode{node}"), mode))
    }
}

#[test]
fn servers_are_spoken_to_as_their_mode_says() {
    let secured = Secured::new();
    let ca = quoted(&secured.authority.cert());
    let on = Ok("true TLSv1.3".to_owned());
    let off = Ok("false -".to_owned());
    let conf = || secured.conf();
    assert_eq!(secured.seen(conf()), off);
    for mode in ["prefer", "require"] {
        assert_eq!(secured.seen(secured.each(conf(), mode)), on, "{mode}");
    }
    for mode in ["disable", "allow"] {
        assert_eq!(secured.seen(secured.each(conf(), mode)), off, "{mode}");
    }
    for mode in ["verify-ca", "verify-full"] {
        assert_eq!(secured.seen(secured.each(conf().set("ssl_ca_cert", &ca), mode)), on, "{mode}");
    }
    // An authority that did not sign it; a host that it is not for.
    let strangers = Authority::new();
    let stranger = quoted(&strangers.cert());
    let seen = secured.seen(secured.each(conf().set("ssl_ca_cert", &stranger), "verify-ca"));
    assert!(seen.as_ref().is_err_and(|text| text.contains("certificate verify failed")), "{seen:?}");
    let by_number = (0..3).fold(conf().set("ssl_ca_cert", &ca), |conf, node| {
        conf.set(&format!("backend_hostname{node}"), "'127.0.0.1'")
    });
    let seen = secured.seen(secured.each(by_number, "verify-full"));
    assert!(seen.as_ref().is_err_and(|text| text.contains("IP address mismatch")), "{seen:?}");
    // A server may want it of those who would do without, and the other way round. The checks of the nodes come the
    // same way, or nobody would know the primary.
    secured.rules("hostssl all postgres 127.0.0.1/32 reject\n");
    assert_eq!(secured.seen(secured.each(conf(), "prefer")), off);
    Balancer::start(secured.each(conf(), "prefer"));
    secured.rules("hostnossl all postgres 127.0.0.1/32 reject\n");
    let tls_only = Client::try_connect(&secured.cluster.door(0, "postgres"), &[]);
    assert!(tls_only.is_err(), "the rule holds");
    assert_eq!(secured.seen(secured.each(conf(), "allow")), on);
    Balancer::start(secured.each(conf(), "allow"));
}

#[test]
fn a_server_without_tls_is_an_error_where_it_must_have_it() {
    let conf = || Conf::of(shared());
    let all =
        |conf: Conf, mode: &str| (0..3).fold(conf, |conf, n| conf.set(&format!("backend_sslmode{n}"), mode));
    let door_of = |conf: Conf| Balancer::start_unready(conf);
    let balancer = door_of(all(conf(), "prefer"));
    tools::run(tools::psql(&balancer.door("postgres")).args(["-c", "SELECT 1"])).succeeded();
    let balancer = door_of(all(conf(), "require"));
    let ran = tools::run(tools::psql(&balancer.door("postgres")).args(["-c", "SELECT 1"]));
    assert!(!ran.ok && ran.err.contains("does not support TLS"), "{}", ran.err);
}

#[test]
fn a_cancel_request_to_a_server_is_secured_too() {
    let secured = Secured::new();
    // The server takes a cancel request in the clear from anybody, whatever its rules say.
    let tap = Tap::before(&secured.cluster.door(0, "postgres"));
    let conf = secured.conf().set("backend_port0", &tap.door().port.to_string());
    let balancer = Balancer::start(secured.each(conf.weights([1, 0, 0]), "require"));
    let door = balancer.door("postgres");
    let mut client = Client::connect(&door);
    client.simple("SELECT pg_sleep(60)").send();
    let mut other = Client::connect(&door);
    wait::until_true("the statement to run", || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()";
        other.query(&format!("/*NO LOAD BALANCE*/ {sql}")).value().as_deref() != Some("0")
    });
    client.cancel();
    assert_eq!(client.until_ready().error().map(|error| error.code.clone()).as_deref(), Some("57014"));
    let begun = tap.begun();
    assert!(begun.len() > 2 && begun.iter().all(|bytes| *bytes == SSL_REQUEST), "{begun:x?}");
}

#[test]
fn the_rest_api_and_bctl_speak_https() {
    let authority = Authority::new();
    let pair = authority.sign("server", "localhost", "DNS:localhost");
    // Clients of the database are not asked for TLS: the two switches are two.
    let conf = with_tls(Conf::of(shared()), &pair).set("ssl", "off");
    let conf = conf.set("rest_api_enabled", "on").set("rest_api_ssl", "on");
    let mut balancer = Balancer::start(conf);
    let port = balancer.rest_port().to_string();
    let url = format!("https://localhost:{port}/api/v1/status");
    let curl = |url: &str, authority: &Authority| {
        tools::run(Command::new("curl").args(["-sS", "--cacert"]).arg(authority.cert()).arg(url))
    };
    let ran = curl(&url, &authority).succeeded();
    assert!(ran.out.contains("\"status\":\"running\""), "{}", ran.out);
    let strangers = Authority::new();
    let stranger = strangers.cert();
    assert!(curl(&url, &strangers).err.contains("certificate"));
    assert!(!curl(&url.replace("https", "http"), &authority).ok);

    let bctl = |arguments: &[&str]| {
        let home = process::server_dir("home");
        let mut command = Command::new(env!("CARGO_BIN_EXE_bctl"));
        tools::run(command.args(["-H", "localhost", "-p", &port]).args(arguments).env("HOME", home.path()))
    };
    let ca = authority.cert();
    let ran = bctl(&["--cacert", ca.to_str().unwrap(), "status"]).succeeded();
    assert!(ran.out.contains("Status: running"), "{}", ran.out);
    for (arguments, says) in [
        (vec!["--cacert", stranger.to_str().unwrap(), "status"], "certificate verify failed"),
        (vec!["--tls", "status"], "certificate verify failed"),
        (vec!["--cacert", "/nowhere", "status"], "cacert /nowhere"),
    ] {
        let ran = bctl(&arguments);
        assert!(!ran.ok && ran.err.contains(says), "{arguments:?}: {}", ran.err);
    }

    // A new certificate at a reload, and what is of no use is not taken.
    let pair = strangers.sign("server", "localhost", "DNS:localhost");
    balancer.rewrite(|conf| conf.set("ssl_cert", &quoted(&pair.cert)).set("ssl_key", &quoted(&pair.key)));
    balancer.reload();
    wait::until_true("the new certificate", || curl(&url, &strangers).ok);
}

const SCRAM_USER: &str = "user=scram_user password=scram_user_secret";

#[test]
fn scram_is_bound_to_the_certificate_where_the_client_wants_that() {
    let rules = "host all scram_user 127.0.0.1/32 scram-sha-256\nhost all postgres 127.0.0.1/32 trust\n";
    let authority = Authority::new();
    let pair = authority.sign("server", "localhost", "DNS:localhost");
    let conf = Conf::of(shared()).set("enable_pool_hba", "on").set("pool_passwd", "'pool_passwd'");
    let passwords = "scram_user:TEXTscram_user_secret\n";
    let files = [("pool_hba.conf", rules), ("pool_passwd", passwords)];
    let balancer = Balancer::start_with(with_tls(conf, &pair), &files);
    let site = Site { authority, pair, balancer };
    for binding in ["require", "prefer", "disable"] {
        let settings = format!("sslmode=require channel_binding={binding} {SCRAM_USER}");
        assert_eq!(site.psql(&settings, "SELECT current_user").succeeded().out, "scram_user\n", "{binding}");
    }
    let ran = site.psql(&format!("sslmode=disable channel_binding=require {SCRAM_USER}"), "SELECT 1");
    assert!(!ran.ok, "nothing can be bound to without TLS");
    let wrong = "sslmode=require channel_binding=require user=scram_user password=wrong";
    let ran = site.psql(wrong, "SELECT 1");
    assert!(!ran.ok && ran.err.contains("password authentication failed"), "{}", ran.err);
}

/// The server would refuse a binding to anything but its own certificate.
#[test]
fn scram_towards_a_server_is_bound_to_its_certificate() {
    let secured = Secured::new();
    secured.rules("hostssl all scram_user 127.0.0.1/32 scram-sha-256\n");
    let rules = "host all all 127.0.0.1/32 trust\n";
    let conf = secured.each(secured.conf(), "require");
    let conf = conf.set("enable_pool_hba", "on").set("pool_passwd", "'pool_passwd'");
    let passwords = "scram_user:TEXTscram_user_secret\n";
    let balancer = Balancer::start_with(conf, &[("pool_hba.conf", rules), ("pool_passwd", passwords)]);
    let door = balancer.door("postgres").as_user("scram_user");
    assert_eq!(Client::connect(&door).ask("SELECT current_user"), "scram_user");
}

#[test]
fn a_client_certificate_opens_for_the_user_that_it_names() {
    let rules = "hostssl all all 127.0.0.1/32 cert\nlocal all all trust\n";
    let authority = Authority::new();
    let pair = authority.sign("server", "localhost", "DNS:localhost");
    let [own, other] = ["postgres", "somebody"].map(|name| authority.sign(name, name, "DNS:client"));
    let conf = with_tls(Conf::of(shared()).set("enable_pool_hba", "on"), &pair)
        .set("ssl_ca_cert", &quoted(&authority.cert()));
    let balancer = Balancer::start_with(conf, &[("pool_hba.conf", rules)]);
    let site = Site { authority, pair, balancer };
    let with = |pair: &Pair| {
        site.psql(
            &format!("sslmode=require sslcert={} sslkey={}", pair.cert.display(), pair.key.display()),
            "SELECT 'in'",
        )
    };
    assert_eq!(with(&own).succeeded().out, "in\n");
    for ran in [with(&other), site.psql("sslmode=require", "SELECT 1")] {
        assert!(
            !ran.ok && ran.err.contains("certificate authentication failed for user \"postgres\""),
            "{}",
            ran.err
        );
    }
    site.balancer.wait_log("the certificate is for \"somebody\"");
    site.balancer.wait_log("connection has no verified client certificate");
}

#[test]
fn a_map_says_who_may_be_which_user_by_a_certificate() {
    let rules = "hostssl all all 127.0.0.1/32 cert map=staff\n";
    let map = "staff Ann postgres\nstaff /^(.*)@example\\.com$ \\1\nother postgres postgres\n";
    let authority = Authority::new();
    let pair = authority.sign("server", "localhost", "DNS:localhost");
    let names = ["Ann", "postgres@example.com", "postgres", "somebody@example.com"];
    let pairs = names.map(|name| authority.sign(name, name, "DNS:client"));
    let conf = with_tls(Conf::of(shared()).set("enable_pool_hba", "on"), &pair)
        .set("ssl_ca_cert", &quoted(&authority.cert()));
    let balancer = Balancer::start_with(conf, &[("pool_hba.conf", rules), ("pool_ident.conf", map)]);
    let site = Site { authority, pair, balancer };
    for (name, own) in names.iter().zip(&pairs) {
        let ran = site.psql(
            &format!("sslmode=require sslcert={} sslkey={}", own.cert.display(), own.key.display()),
            "SELECT 'in'",
        );
        let comes_in = matches!(*name, "Ann" | "postgres@example.com");
        assert_eq!((ran.ok, ran.out == "in\n"), (comes_in, comes_in), "{name}: {}", ran.err);
    }
    site.balancer.wait_log("the certificate is for \"postgres\", who is not that user by map \"staff\"");
    // A map that is wrong changes nothing.
    std::fs::write(site.balancer.dir.path().join("pool_ident.conf"), "staff /( postgres\n").unwrap();
    site.balancer.reload();
    site.balancer.wait_log("pool_ident.conf:1: regex parse error");
}
