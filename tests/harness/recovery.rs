//! What a site sets up for online recovery: the functions in a database, the scripts in a data directory.

use std::path::{Path, PathBuf};

use super::cluster::{Cluster, Door, Node};
use super::{process, tools};

/// A file of the tree.
pub(crate) fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Our functions in a database.
pub(crate) fn install_functions(door: &Door) {
    let mut psql = tools::psql(door);
    psql.args(["-q", "-1", "-v", "ON_ERROR_STOP=1", "-f"]).arg(source("compat/sql/pgpool_recovery.sql"));
    tools::run(&mut psql).succeeded();
}

impl Node {
    /// A script in the data directory, for its server.
    pub(crate) fn script(&self, name: &str, text: &str) {
        process::write_script(&self.data().join(name), text);
    }

    /// A script of conf-samples as it is, but for settings, which stand as `NAME=VALUE` lines.
    pub(crate) fn sample_script(&self, name: &str, settings: &[(&str, &str)]) {
        self.script(name, &with_settings(&source("conf-samples").join(name), settings));
    }
}

/// The text of a script with other settings.
pub(crate) fn with_settings(script: &Path, settings: &[(&str, &str)]) -> String {
    let text = std::fs::read_to_string(script).unwrap();
    for (name, _) in settings {
        let start = format!("{name}=");
        assert_eq!(text.lines().filter(|line| line.starts_with(&start)).count(), 1, "{name}");
    }
    let line = |line: &str| {
        let set = settings.iter().find(|(name, _)| line.starts_with(&format!("{name}=")));
        set.map_or_else(|| line.to_owned(), |(name, value)| format!("{name}={value}")) + "\n"
    };
    text.lines().map(line).collect()
}

impl Cluster {
    /// Our functions in the database `postgres`, our scripts in the primary's data directory.
    pub(crate) fn prepare_recovery(&self) {
        install_functions(&self.door(0, "postgres"));
        let bin = self.nodes[0].bin.to_str().unwrap().to_owned();
        self.primary()
            .sample_script("recovery_1st_stage", &[("PGBIN", &bin), ("REPLICATION_USER", "postgres")]);
        self.primary().sample_script("pgpool_remote_start", &[("PGBIN", &bin)]);
    }
}
