//! Authorities and certificates for a test, made by the `openssl` command.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{process, tools};

/// An authority in a directory of its own, and what it has signed.
pub(crate) struct Authority {
    dir: tempfile::TempDir,
}

/// A certificate and its key.
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let authority = Authority { dir: process::server_dir("certs") };
        let options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=authority \
                       -keyout ca.key -out ca.crt";
        authority.openssl(&options.split_whitespace().collect::<Vec<_>>());
        authority.give("ca.crt");
        let conf = "[ca]\ndefault_ca=me\n[me]\ndatabase=index\nserial=serial\ndefault_md=sha256\ndefault_crl_days=2\n\
                    certificate=ca.crt\nprivate_key=ca.key\ncrlnumber=number\n";
        process::write(&authority.path("ca.conf"), conf);
        process::write(&authority.path("index"), "");
        process::write(&authority.path("number"), "01\n");
        authority
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The certificate of the authority.
    pub(crate) fn cert(&self) -> PathBuf {
        self.path("ca.crt")
    }

    /// A certificate of this common name for these hosts (`DNS:localhost,IP:127.0.0.1`).
    pub(crate) fn sign(&self, file: &str, common_name: &str, hosts: &str) -> Pair {
        self.sign_for(file, common_name, hosts, 2)
    }

    /// One that has never been valid.
    pub(crate) fn sign_expired(&self, file: &str, common_name: &str) -> Pair {
        self.sign_for(file, common_name, "DNS:client", -1)
    }

    fn sign_for(&self, file: &str, common_name: &str, hosts: &str, days: i32) -> Pair {
        let (key, cert, request) = (format!("{file}.key"), format!("{file}.crt"), format!("{file}.csr"));
        let subject = format!("/CN={common_name}");
        self.openssl(&[
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            &subject,
            "-keyout",
            &key,
            "-out",
            &request,
        ]);
        let extensions = format!("{file}.ext");
        process::write(&self.path(&extensions), format!("subjectAltName={hosts}\n"));
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            &days.to_string(),
            "-sha256",
            "-extfile",
            &extensions,
            "-out",
            &cert,
        ]);
        self.give(&key);
        self.give(&cert);
        Pair { cert: self.path(&cert), key: self.path(&key) }
    }

    /// The same key behind a passphrase.
    pub(crate) fn locked(&self, pair: &Pair, passphrase: &str) -> PathBuf {
        let locked = pair.key.with_extension("locked");
        let pass = format!("pass:{passphrase}");
        let (from, to) = (pair.key.to_str().unwrap(), locked.to_str().unwrap());
        self.openssl(&["pkey", "-in", from, "-aes256", "-passout", &pass, "-out", to]);
        own(&locked);
        locked
    }

    /// A list that revokes these.
    pub(crate) fn revoke(&self, pairs: &[&Pair]) -> PathBuf {
        for pair in pairs {
            self.openssl(&["ca", "-config", "ca.conf", "-revoke", pair.cert.to_str().unwrap()]);
        }
        self.openssl(&["ca", "-config", "ca.conf", "-gencrl", "-out", "ca.crl"]);
        self.give("ca.crl");
        self.path("ca.crl")
    }

    fn openssl(&self, arguments: &[&str]) {
        tools::run(Command::new("openssl").args(arguments).current_dir(self.dir.path())).succeeded();
    }

    fn give(&self, name: &str) {
        own(&self.path(name));
    }
}

fn own(path: &Path) {
    process::give_to_server_user(path);
    if path.is_file() {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}
