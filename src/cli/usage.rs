//! The help text, the version line, and where the configuration lies if nobody says.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use crate::identity;

/// The version line, as scripts parse it.
pub(super) fn version() -> String {
    format!("{} version {}", identity::product(), identity::version())
}

/// pgpool-II's file in the place of Debian, and of the packages of its makers.
const POOL_CONFIGS: [&str; 2] = ["/etc/pgpool2/pgpool.conf", "/etc/pgpool-II/pgpool.conf"];
const CONFIG: &str = "/etc/pgbalancer/pgbalancer.conf";

/// The configuration file without `-f`.
pub(super) fn default_config() -> PathBuf {
    let pool = POOL_CONFIGS.iter().filter(|_| identity::is_pool()).find(|path| Path::new(path).exists());
    PathBuf::from(pool.unwrap_or(&CONFIG))
}

/// That of the tools that read it without `-f`: ours, or else pgpool-II's.
pub(super) fn default_config_of_tools() -> PathBuf {
    let known = [CONFIG].into_iter().chain(POOL_CONFIGS).find(|path| Path::new(path).exists());
    PathBuf::from(known.unwrap_or(CONFIG))
}

/// What `--help` prints.
pub(super) fn text() -> String {
    let program = identity::program();
    let version = version();
    let config = default_config();
    let config = config.display();
    format!(
        "{version},
  load balancer and connection pooler for PostgreSQL

Usage:
  {program} [-f FILE] [-a FILE] [-F FILE] [-k FILE] [-n] [-D] [-C] [-d]    start
  {program} [-f FILE] [-m MODE] stop
  {program} [-f FILE] reload
  {program} [-f FILE] --upgrade
  {program} [-f FILE] -t
  {program} --migrate FILE > NEW_FILE

Common options:
  -f, --config-file=FILE  configuration file
                          (default: {config})
  -a, --hba-file=FILE     client authentication rules
                          (default: pool_hba.conf beside the configuration file)
  -F, --pcp-file=FILE     users of the pcp port
                          (default: pcp.conf beside the configuration file)
  -k, --key-file=FILE     key of the encrypted passwords in pool_passwd
                          (default: $PGPOOLKEYFILE, or ~/.pgpoolkey)
  -t, --test-config       check the configuration, print what is wrong with it, and exit
      --upgrade           have the running one replaced by this version, without a client noticing
      --migrate=FILE      print a configuration file of any version of pgpool-II in today's names
  -v, --version           print the version and exit
  -h, --help              print this help and exit

Options of the start:
  -n, --dont-detach       stay in the foreground, log to standard error
  -D, --discard-status    forget which nodes were down
  -C, --clear-oidmaps     clear the invalidation maps of the query cache in memcached
  -d, --debug             log debug messages
  -x, --debug-assertions  accepted, without effect

Options of stop:
  -m, --mode=MODE         smart (default), fast or immediate

Shutdown modes are:
  smart       quit after all clients have disconnected
  fast        quit now, in order
  immediate   quit now
"
    )
}
