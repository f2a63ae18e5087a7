//! The command line of `bctl`, as clap reads it.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::Number;

/// What `--version` says behind the name.
pub(super) const VERSION: &str = concat!("(pgbalancer) ", env!("CARGO_PKG_VERSION"));

pub(super) const AFTER_HELP: &str = "\
A command of two words may be written as one: `nodes-attach 1` is `nodes attach 1`.
Options stand before or behind the command. What they leave open is taken from the environment
(BCTL_HOST, BCTL_PORT, BCTL_USERNAME, BCTL_PASSWORD_FILE, BCTL_FORMAT, BCTL_TOKEN), then from
~/.config/bctl/config.toml (host, port, tls, cacert, username, password_file, format, token).

Exit codes: 0 done, 1 failed, 2 cannot connect, 3 not allowed, 4 wrong usage.";

/// Manages a running pgbalancer over its REST API.
#[derive(Debug, Parser)]
#[command(name = "bctl", version = VERSION, after_help = AFTER_HELP, arg_required_else_help = true)]
pub(super) struct Line {
    #[command(flatten)]
    pub(super) options: Options,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options of all commands.
#[derive(Debug, Default, Args)]
pub(super) struct Options {
    /// Host of the REST API: a name, an address, or unix:PATH of its socket [default: localhost]
    #[arg(short = 'H', long, global = true, value_name = "HOST")]
    pub(super) host: Option<String>,
    /// Port of the REST API [default: 8080]
    #[arg(short, long, global = true, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// Speak HTTPS; the certificate must be from an authority that this host trusts, or from --cacert
    #[arg(long, global = true)]
    pub(super) tls: bool,
    /// Speak HTTPS with a server whose certificate comes from the authorities in this file
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) cacert: Option<PathBuf>,
    /// User to log in as
    #[arg(short = 'U', long, global = true, value_name = "NAME")]
    pub(super) username: Option<String>,
    /// File with the password in its first line
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
    /// Ask for the password
    #[arg(short = 'W', long, global = true)]
    pub(super) password: bool,
    /// Show requests and answers on standard error
    #[arg(short, long, global = true)]
    pub(super) verbose: bool,
    /// Say nothing of what was done or went wrong
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// Print tables
    #[arg(short, long, global = true)]
    pub(super) table: bool,
    /// Print JSON
    #[arg(short, long, global = true)]
    pub(super) json: bool,
    /// Print no colours
    #[arg(long, global = true)]
    pub(super) no_color: bool,
    /// Do not ask before what cannot be undone
    #[arg(long, global = true)]
    pub(super) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// State of the server
    Status,
    /// Stop the server
    Stop {
        /// Wait for the clients, end their sessions, or end at once
        #[arg(short, long, value_enum, default_value_t = Mode::Smart)]
        mode: Mode,
    },
    /// Have the server read its configuration again
    Reload,
    /// Begin a new log file
    Logrotate,
    /// Hold new transactions
    Pause,
    /// Let held transactions go on
    Resume,
    /// The PostgreSQL servers; one of them with its ID
    Nodes {
        #[command(subcommand)]
        command: Option<Nodes>,
        /// Show this node
        id: Option<u16>,
    },
    /// The worker processes; one of them with its PID
    Processes {
        #[command(subcommand)]
        command: Option<Processes>,
        /// Show this process
        pid: Option<u32>,
    },
    /// Connections to the nodes that are kept open
    Pools,
    /// Statements of each node, user and database
    Traffic,
    /// What routing has learnt of the nodes
    Ai {
        #[command(subcommand)]
        command: Option<Ai>,
    },
    /// Results of the health checks
    Health {
        #[command(subcommand)]
        command: Option<Health>,
    },
    /// The clients
    Sessions {
        #[command(subcommand)]
        command: Option<Sessions>,
    },
    /// The query cache
    Cache {
        #[command(subcommand)]
        command: Option<Cache>,
    },
    /// The watchdog
    Watchdog {
        #[command(subcommand)]
        command: Option<Watchdog>,
    },
    /// What has happened lately, or happens
    Events {
        /// Go on with what happens from now on
        #[arg(short, long)]
        follow: bool,
        /// Begin behind the event of this number
        #[arg(long, value_name = "NUMBER")]
        since: Option<u64>,
        /// Results of health checks, statistics and processes that start, instead of what changes something
        #[arg(short, long)]
        readings: bool,
    },
    /// Parameters: of the server, and of a file here
    Config {
        #[command(subcommand)]
        command: Config,
    },
    /// Which node a statement would go to, and why
    Route {
        sql: String,
        /// As this user of the database
        #[arg(long, default_value = "")]
        user: String,
        /// In this database
        #[arg(long, default_value = "")]
        database: String,
        /// From a program of this name
        #[arg(long, default_value = "")]
        application: String,
    },
    /// Get a token and keep it for the commands to come
    Login,
    /// Forget the token
    Logout,
    /// A screen of nodes and sessions, drawn every two seconds; q ends it
    Top {
        /// Print it once
        #[arg(long)]
        once: bool,
    },
    /// Hashes of passwords
    #[command(arg_required_else_help = true, subcommand_negates_reqs = true)]
    Password {
        #[command(subcommand)]
        command: Option<Password>,
        #[command(flatten)]
        hash: Option<Hash>,
    },
    /// Print what makes a shell complete the words of this program
    Completion { shell: Shell },
    /// The connection to the MQTT broker, and what is published there
    Mqtt {
        #[command(subcommand)]
        command: Option<Mqtt>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Mqtt {
    /// Show the connection, its counts and the topics
    Info,
    /// Print messages, a line each, until it is ended
    Subscribe {
        /// The topic; + stands for one word of it, # at its end for any number
        topic: String,
        #[command(flatten)]
        at: Broker,
    },
    /// Print all messages of pgbalancer until it is ended
    Monitor {
        #[command(flatten)]
        at: Broker,
    },
    /// Publish a message
    Publish {
        topic: String,
        message: String,
        /// Have the broker keep it for those who subscribe later
        #[arg(short, long)]
        retain: bool,
        #[command(flatten)]
        at: Broker,
    },
}

/// Where the broker is, and as whom.
#[derive(Debug, Args)]
pub(super) struct Broker {
    /// The broker: HOST, HOST:PORT, mqtt://HOST:PORT or mqtts://HOST:PORT [default: the server's]
    #[arg(short, long, value_name = "BROKER", conflicts_with = "file")]
    pub(super) broker: Option<String>,
    /// Take broker, user, password and files from this configuration file
    #[arg(short, long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// User at the broker
    #[arg(long, value_name = "NAME")]
    pub(super) mqtt_user: Option<String>,
    /// File with the password of that user in its first line
    #[arg(long, value_name = "FILE")]
    pub(super) mqtt_password_file: Option<PathBuf>,
    /// Authorities that the broker's certificate may come from
    #[arg(long, value_name = "FILE")]
    pub(super) cafile: Option<PathBuf>,
    /// Own certificate for the broker
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(super) cert: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(super) key: Option<PathBuf>,
    /// Speak MQTT 5 instead of 3.1.1
    #[arg(long)]
    pub(super) mqtt5: bool,
    /// Quality of service: 0, 1 or 2
    #[arg(long, value_name = "QOS", value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(super) qos: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    Smart,
    Fast,
    Immediate,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Subcommand)]
pub(super) enum Nodes {
    /// List all nodes
    List,
    /// Show one node
    Info { id: u16 },
    /// Print how many nodes there are
    Count,
    /// Use a node
    Attach { id: u16 },
    /// Use a node no longer
    Detach {
        id: u16,
        /// Let transactions end first
        #[arg(short, long)]
        gracefully: bool,
    },
    /// Set up a node anew from the primary
    Recovery { id: u16 },
    /// Make a standby the primary
    Promote {
        id: u16,
        /// Have the present primary become a standby
        #[arg(short, long)]
        switchover: bool,
        /// Let transactions end first
        #[arg(short, long)]
        gracefully: bool,
    },
    /// Set a node's share of the reads
    Weight {
        id: u16,
        #[arg(value_parser = weight)]
        weight: Number,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Processes {
    /// List all processes
    List,
    /// Show one process and its connections
    Info { pid: u32 },
    /// Print how many processes there are
    Count,
}

#[derive(Debug, Subcommand)]
pub(super) enum Health {
    /// Show all results
    Stats,
}

#[derive(Debug, Subcommand)]
pub(super) enum Ai {
    /// Show it
    Stats,
    /// Forget it
    Reset,
}

#[derive(Debug, Subcommand)]
pub(super) enum Sessions {
    /// List all sessions
    List,
    /// Cancel the statement that a session runs
    Cancel { id: String },
    /// End a session
    Terminate { id: String },
}

#[derive(Debug, Subcommand)]
pub(super) enum Cache {
    /// Show how the cache is used
    Stats,
    /// Empty the cache
    Invalidate,
}

#[derive(Debug, Subcommand)]
pub(super) enum Watchdog {
    /// Show its members
    Info,
    /// Show its state
    Status,
    /// Start it
    Start,
    /// Stop it
    Stop,
}

#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Show the server's parameters, or one of them
    Show { name: Option<String> },
    /// Check a file on this host
    Check { file: PathBuf },
    /// Compare a file on this host with the server's parameters
    Diff { file: PathBuf },
}

#[derive(Debug, Subcommand)]
pub(super) enum Password {
    /// Print the MD5 form of a password
    Hash(Hash),
    #[command(hide = true)]
    Encrypt { words: Vec<String> },
}

#[derive(Debug, Args)]
pub(super) struct Hash {
    /// Name of the user, which is part of what is hashed
    pub(super) user: String,
    /// The password; it is asked for if it is not given
    #[arg(value_name = "PASSWORD")]
    pub(super) secret: Option<String>,
}

fn weight(text: &str) -> Result<Number, String> {
    let number: Option<Number> = text.parse().ok();
    let usable = |number: &Number| number.as_f64().is_some_and(|weight| (0.0..=1e9).contains(&weight));
    number.filter(usable).ok_or_else(|| "a weight is a number that is not negative".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights() {
        for good in ["0", "1", "2.5", "1e3"] {
            assert!(weight(good).is_ok(), "{good}");
        }
        for bad in ["", "-1", "x", "1e10", "NaN", "1 2"] {
            assert!(weight(bad).is_err(), "{bad}");
        }
    }
}
