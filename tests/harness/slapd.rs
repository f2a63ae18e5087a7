//! A real LDAP server with a few users, on a free port.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{ports, process, tools, wait};

/// Each user's password is its name and `_secret`. `twin` stands there twice.
const USERS: [&str; 4] = ["alice", "scram_user", "star*user", "postgres"];

/// Gone when dropped.
pub(crate) struct Slapd {
    pub(crate) port: u16,
    pub(crate) tls_port: u16,
    pub(crate) dir: tempfile::TempDir,
    child: Child,
}

impl Slapd {
    pub(crate) fn start() -> Slapd {
        Slapd::start_with(&[])
    }

    /// With these users besides.
    pub(crate) fn start_with(users: &[String]) -> Slapd {
        let dir = process::server_dir("slapd");
        let path = dir.path().display().to_string();
        certificate(dir.path());
        let conf = dir.path().join("slapd.conf");
        process::write(
            &conf,
            format!(
                "include /etc/ldap/schema/core.schema\n\
                 TLSCertificateFile {path}/cert.pem\nTLSCertificateKeyFile {path}/key.pem\n\
                 access to attrs=userPassword by anonymous auth by * none\naccess to * by * read\n\
                 database ldif\nsuffix dc=test\ndirectory {path}\n"
            ),
        );
        let ldif = dir.path().join("users.ldif");
        process::write(&ldif, entries(users));
        let add = process::as_server_user(Path::new("/usr/sbin/slapadd"))
            .arg("-f")
            .arg(&conf)
            .arg("-l")
            .arg(&ldif)
            .output()
            .unwrap();
        assert!(add.status.success(), "{}", String::from_utf8_lossy(&add.stderr));
        let (port, tls_port) = (ports::free(), ports::free());
        let child = process::as_server_user(Path::new("/usr/sbin/slapd"))
            .args(["-d", "0", "-f"])
            .arg(&conf)
            .args(["-h", &format!("ldap://127.0.0.1:{port} ldaps://127.0.0.1:{tls_port}")])
            .spawn()
            .unwrap();
        wait::until_true("slapd to listen", || {
            [port, tls_port].iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
        });
        Slapd { port, tls_port, dir, child }
    }

    /// Holds it up, or lets it go on.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Signed by itself; whoever trusts it needs it as a file.
fn certificate(dir: &Path) {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
    openssl.args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]);
    tools::run(openssl.current_dir(dir)).succeeded();
    for name in ["key.pem", "cert.pem"] {
        process::give_to_server_user(&dir.join(name));
    }
}

fn entries(more: &[String]) -> String {
    let mut text =
        String::from("dn: dc=test\nobjectClass: dcObject\nobjectClass: organization\ndc: test\no: test\n\n");
    for ou in ["people", "others"] {
        text += &format!("dn: ou={ou},dc=test\nobjectClass: organizationalUnit\nou: {ou}\n\n");
    }
    let users = USERS.into_iter().chain(more.iter().map(String::as_str)).map(|user| (user, "people"));
    for (user, ou) in users.chain([("twin", "people"), ("twin", "others")]) {
        text += &format!(
            "dn: uid={user},ou={ou},dc=test\nobjectClass: person\nobjectClass: uidObject\nuid: {user}\n\
             cn: {user}\nsn: {user}\nuserPassword: {user}_secret\n\n"
        );
    }
    text
}
