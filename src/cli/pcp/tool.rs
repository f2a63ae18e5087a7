//! The tools: names, options, and what each asks the server.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::client::Question;
use super::options::Options;

/// What becomes of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// It says that it is done.
    Command,
    NodeCount,
    NodeInfo,
    HealthStats,
    ProcessCount,
    ProcessInfo,
    PoolStatus,
    WatchdogInfo,
}

/// What a word that is no option means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Id {
    /// Nothing.
    None,
    /// A node, and there must be one.
    Node,
    /// A node, or all.
    AnyNode,
    /// A process, or all.
    Process,
    /// A member of the watchdog, or all.
    Member,
}

/// A tool.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) act: Act,
    /// The letter of the request; gracefully, or for the whole cluster, it is a small one.
    kind: u8,
    /// The letter that its debug line shows, which need not be that one.
    shown: &'static str,
    pub(super) id: Id,
    /// Its own options besides those of all.
    pub(super) letters: &'static str,
    about: &'static str,
}

const fn tool(
    name: &'static str,
    act: Act,
    (kind, shown): (u8, &'static str),
    id: Id,
    letters: &'static str,
    about: &'static str,
) -> Tool {
    Tool { name, act, kind, shown, id, letters, about }
}

pub(super) const TOOLS: &[Tool] = &[
    tool("pcp_attach_node", Act::Command, (b'C', "C"), Id::Node, "n", "attach a node from pgpool-II"),
    tool("pcp_detach_node", Act::Command, (b'D', "D"), Id::Node, "ng", "detach a node from pgpool-II"),
    tool(
        "pcp_node_count",
        Act::NodeCount,
        (b'L', "L"),
        Id::None,
        "",
        "display the total number of nodes under pgpool-II's control",
    ),
    tool(
        "pcp_node_info",
        Act::NodeInfo,
        (b'I', "I"),
        Id::AnyNode,
        "na",
        "display a pgpool-II node's information",
    ),
    tool(
        "pcp_health_check_stats",
        Act::HealthStats,
        (b'H', "L"),
        Id::Node,
        "n",
        "display a pgpool-II health check stats data",
    ),
    tool(
        "pcp_pool_status",
        Act::PoolStatus,
        (b'B', "B"),
        Id::None,
        "",
        "display pgpool configuration and status",
    ),
    tool(
        "pcp_proc_count",
        Act::ProcessCount,
        (b'N', "N"),
        Id::None,
        "",
        "display the list of pgpool-II child process PIDs",
    ),
    tool(
        "pcp_proc_info",
        Act::ProcessInfo,
        (b'P', "P"),
        Id::Process,
        "Pa",
        "display a pgpool-II child process' information",
    ),
    tool(
        "pcp_promote_node",
        Act::Command,
        (b'J', "E"),
        Id::Node,
        "ngs",
        "promote a node as new main from pgpool-II",
    ),
    tool("pcp_recovery_node", Act::Command, (b'O', "D"), Id::Node, "n", "recover a node"),
    tool("pcp_stop_pgpool", Act::Command, (b'T', "T"), Id::None, "mca", "terminate pgpool-II"),
    tool("pcp_reload_config", Act::Command, (b'Z', "Z"), Id::None, "c", "reload a pgpool-II config file"),
    tool("pcp_log_rotate", Act::Command, (b'V', "V"), Id::None, "c", "rotate the Pgpool-II's log file"),
    tool("pcp_invalidate_query_cache", Act::Command, (b'G', "G"), Id::None, "c", "invalidate query cache"),
    tool(
        "pcp_watchdog_info",
        Act::WatchdogInfo,
        (b'W', "W"),
        Id::Member,
        "n",
        "display a pgpool-II watchdog's information",
    ),
];

impl Tool {
    pub(super) fn named(name: &str) -> Option<&'static Tool> {
        TOOLS.iter().find(|tool| tool.name == name)
    }

    /// What to ask.
    pub(super) fn request(&self, options: &Options) -> Question {
        let small = self.kind.to_ascii_lowercase();
        let id = options.id.map_or_else(|| "-1".to_owned(), |id| id.to_string());
        let (kind, body) = match self.name {
            "pcp_promote_node" => {
                let option = if options.switchover { 's' } else { 'n' };
                let kind = if options.gracefully { small } else { self.kind };
                (kind, format!("{id} \0{option}"))
            }
            "pcp_detach_node" if options.gracefully => (small, format!("{id}\0")),
            "pcp_stop_pgpool" => {
                let kind = if options.cluster { small } else { self.kind };
                (kind, options.mode.to_string())
            }
            "pcp_proc_info" => (self.kind, format!("{}\0", options.id.unwrap_or(0))),
            "pcp_reload_config" | "pcp_log_rotate" => {
                (self.kind, if options.cluster { "c" } else { "l" }.to_owned())
            }
            _ if self.id == Id::None => (self.kind, String::new()),
            _ => (self.kind, format!("{id}\0")),
        };
        let who = if self.act == Act::PoolStatus { " pcp_pool_status" } else { "" };
        Question { kind, body: body.into_bytes(), shown: format!("DEBUG{who}: send: tos=\"{}\"", self.shown) }
    }

    /// The help, word for word.
    pub(super) fn help(&self) -> String {
        let argument = match self.id {
            Id::None | Id::AnyNode => "",
            Id::Node => "[node-id]",
            Id::Process => "[process-id]",
            Id::Member => "[watchdog-id]",
        };
        let mut out =
            format!("{0} - {1}\nUsage:\n{0} [OPTION...] {argument}\nOptions:\n", self.name, self.about);
        out += COMMON;
        let has = |letter| self.letters.contains(letter);
        if self.id == Id::Member {
            out += MEMBER;
        } else if has('n') {
            out += "  -n, --node-id=NODEID   ID of a backend node\n";
        }
        if has('P') {
            out += "  -P, --process-id=PID   PID of the child process to get information for (optional)\n";
        }
        if has('m') {
            out += "  -m, --mode=MODE        MODE can be \"smart\", \"fast\", or \"immediate\"\n";
        }
        if has('c') {
            out += SCOPE;
        }
        if has('g') {
            out += "  -g, --gracefully       promote gracefully (optional)\n";
        }
        if has('s') {
            out += "  -s, --switchover       switchover primary to specified node (optional)\n";
        }
        if self.act == Act::NodeInfo {
            out += "  -a, --all              display all backend nodes information\n";
        }
        if self.act == Act::ProcessInfo {
            out +=
                "  -a, --all              display all child processes and their available connection slots\n";
        }
        let _ = write!(out, "{LAST}\n\n");
        out
    }
}

const COMMON: &str = "  -U, --username=NAME    username for PCP authentication
  -h, --host=HOSTNAME    pgpool-II host
  -p, --port=PORT        PCP port number
  -w, --no-password      never prompt for password
  -W, --password         force password prompt (should happen automatically)
";

const MEMBER: &str = "  -n, --watchdog-id=ID   ID of a other pgpool to get information for
                         ID 0 for the local watchdog
                         If omitted then get information of all watchdog nodes
";

const SCOPE: &str = "  -s, --scope=SCOPE      SCOPE can be \"cluster\", or \"local\"
                         cluster scope do operations on all Pgpool-II nodes
                         part of the watchdog cluster
";

const LAST: &str = "  -d, --debug            enable debug message (optional)
  -v, --verbose          output verbose messages
  -?, --help             print this help";
