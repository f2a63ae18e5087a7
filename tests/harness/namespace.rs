//! A test in network and mount namespaces of its own: there it may drop packets and fill disks, which only root may do.

use std::path::Path;
use std::process::Command;

use nix::unistd::Uid;

use super::cluster::Node;
use super::tools;

/// Says to the test that it runs inside.
const INSIDE: &str = "PGBALANCER_TEST_NAMESPACE";

/// Runs the test of this name once more, inside, where this is true.
pub(crate) fn inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        ip(&["link", "set", "lo", "up"]);
        // Rules of ours have to come before the one that finds local addresses.
        ip(&["rule", "add", "pref", "100", "lookup", "local"]);
        ip(&["rule", "del", "pref", "0"]);
        return true;
    }
    if !Uid::effective().is_root() {
        eprintln!("skipped: only root may drop packets and fill disks for a test");
        return false;
    }
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--include-ignored"]).env(INSIDE, "1");
    let ran = tools::run(&mut command);
    eprintln!("{}", ran.err);
    assert!(ran.ok && ran.out.contains("1 passed"), "inside:\n{}\n{}", ran.out, ran.err);
    false
}

fn ip(arguments: &[&str]) {
    tools::run(Command::new("ip").args(arguments)).succeeded();
}

/// Whatever is sent from this address gets lost, without a word to anybody.
pub(crate) fn cut_off(address: &str) {
    ip(&["rule", "add", "pref", "50", "from", address, "blackhole"]);
}

/// It arrives again.
pub(crate) fn reconnect(address: &str) {
    ip(&["rule", "del", "pref", "50", "from", address]);
}

/// A disk of this size, with what is in the directory now.
pub(crate) fn small_disk(directory: &Path, size: &str) {
    let script = r#"
        owner=$(stat -c %U:%G "$1") && mv "$1" "$1.before" && mkdir -m 700 "$1" &&
        mount -t tmpfs -o "size=$2,mode=700" none "$1" && chown "$owner" "$1" &&
        cp -a "$1.before/." "$1" && rm -r "$1.before""#;
    tools::run(Command::new("sh").args(["-ec", script, "sh"]).arg(directory).arg(size)).succeeded();
}

impl Node {
    /// The server listens on all addresses of the machine from now on.
    pub(crate) fn listen_everywhere(&self) {
        self.stop();
        let conf = self.data().join("postgresql.conf");
        let text = std::fs::read_to_string(&conf).unwrap() + "\nlisten_addresses = '*'\n";
        super::process::write(&conf, text);
        self.start();
    }
}
