//! A service of PAM whose judge is a script.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::process;

/// A service of PAM in the system's directory, gone when dropped.
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) dir: tempfile::TempDir,
    path: PathBuf,
}

impl Service {
    /// Who has a password of the own name and `_secret` comes in, but not `locked` and names that end in `_expired`, for
    /// their account, and none that ends in `_nobody`. `None`: only root may make one.
    pub(crate) fn new() -> Option<Service> {
        if !nix::unistd::Uid::effective().is_root() {
            eprintln!("skipped: only root may make a service of PAM");
            return None;
        }
        let (dir, script) = process::script(
            "check",
            "#!/bin/sh\ncase $PAM_TYPE in\n\
             account) case $PAM_USER in locked|*_expired) exit 1 ;; esac ;;\n\
             *) case $PAM_USER in *_nobody) exit 1 ;; esac\n\
             echo \"$PAM_USER from $PAM_RHOST\" >>\"$(dirname \"$0\")/seen\"\n\
             [ \"$(tr -d '\\0')\" = \"${PAM_USER}_secret\" ] ;;\nesac\n",
        );
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("pgbalancer_test_{}_{number}", std::process::id());
        let path = PathBuf::from("/etc/pam.d").join(&name);
        let script = script.display();
        let rules = format!(
            "auth required pam_exec.so quiet expose_authtok {script}\naccount required pam_exec.so quiet {script}\n"
        );
        std::fs::write(&path, rules).unwrap();
        Some(Service { name, dir, path })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
