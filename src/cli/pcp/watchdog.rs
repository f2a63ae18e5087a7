//! What `pcp_watchdog_info` shows: the server sends it in JSON.
#![forbid(unsafe_code)]

use std::fmt::Write;

use serde_json::Value;

use super::client::Answer;
use super::options::Options;
use super::rows;

/// None: the answer lacks something.
pub(super) fn print(answer: &Answer, options: &Options) -> Option<String> {
    let text = rows(answer, "CommandComplete").first()?.first()?;
    let root: Value = serde_json::from_str(text).ok()?;
    let nodes: Vec<&Value> = root.get("WatchdogNodes")?.as_array()?.iter().collect();
    if number(&root, "NodeCount")? != i64::try_from(nodes.len()).ok()? {
        return None;
    }
    let mut out = if options.verbose { cluster_in_full(&root)? } else { cluster(&root)? };
    if options.verbose {
        out += "Watchdog Node Information \n";
    }
    for node in nodes {
        out += &if options.verbose { node_in_full(node)? } else { self::node(node)? };
    }
    Some(out)
}

fn number(of: &Value, name: &str) -> Option<i64> {
    let value = of.get(name)?;
    value.as_i64().or_else(|| value.as_bool().map(i64::from))
}

fn text<'a>(of: &'a Value, name: &str) -> Option<&'a str> {
    of.get(name)?.as_str()
}

/// Older servers do not tell members that count from others.
fn members(root: &Value) -> Option<i64> {
    number(root, "MemberRemoteNodeCount").or_else(|| number(root, "RemoteNodeCount"))
}

fn yes_or_no(value: i64) -> &'static str {
    if value == 0 { "NO" } else { "YES" }
}

fn cluster(root: &Value) -> Option<String> {
    Some(format!(
        "{} {} {} {} {}\n\n",
        number(root, "RemoteNodeCount")? + 1,
        members(root)? + 1,
        yes_or_no(number(root, "Escalated")?),
        text(root, "LeaderNodeName")?,
        text(root, "LeaderHostName")?,
    ))
}

fn cluster_in_full(root: &Value) -> Option<String> {
    let quorum = match number(root, "QuorumStatus")? {
        1 => "QUORUM EXIST",
        0 => "QUORUM IS ON THE EDGE",
        -1 => "QUORUM ABSENT",
        -2 => "NO LEADER NODE",
        _ => "UNKNOWN",
    };
    let rows = [
        ("Total Nodes", (number(root, "RemoteNodeCount")? + 1).to_string()),
        ("Remote Nodes", number(root, "RemoteNodeCount")?.to_string()),
        ("Member Remote Nodes", members(root)?.to_string()),
        ("Alive Remote Nodes", number(root, "AliveNodeCount")?.to_string()),
        ("Nodes required for quorum", number(root, "NodesRequireForQuorum").unwrap_or(0).to_string()),
        ("Quorum state", quorum.to_owned()),
        ("Local node escalation", yes_or_no(number(root, "Escalated")?).to_owned()),
        ("Leader Node Name", text(root, "LeaderNodeName")?.to_owned()),
        ("Leader Host Name", text(root, "LeaderHostName")?.to_owned()),
    ];
    Some(listed("Watchdog Cluster Information \n".to_owned(), 25, &rows))
}

fn node(node: &Value) -> Option<String> {
    let lifecheck = number(node, "LifecheckStarted").map(|on| format!(" {}", yes_or_no(on)));
    Some(format!(
        "{} {} {} {} {} {} {} {}{}\n",
        text(node, "NodeName")?,
        text(node, "HostName")?,
        number(node, "PgpoolPort")?,
        number(node, "WdPort")?,
        number(node, "State")?,
        text(node, "StateName")?,
        number(node, "Membership").unwrap_or(0),
        text(node, "MembershipString").unwrap_or_default(),
        lifecheck.unwrap_or_default(),
    ))
}

fn node_in_full(node: &Value) -> Option<String> {
    let mut rows = vec![
        ("Node Name", text(node, "NodeName")?.to_owned()),
        ("Host Name", text(node, "HostName")?.to_owned()),
        ("Delegate IP", text(node, "DelegateIP")?.to_owned()),
        ("Pgpool port", number(node, "PgpoolPort")?.to_string()),
        ("Watchdog port", number(node, "WdPort")?.to_string()),
        ("Node priority", number(node, "Priority")?.to_string()),
        ("Status", number(node, "State")?.to_string()),
        ("Status Name", text(node, "StateName")?.to_owned()),
        ("Membership Status", text(node, "MembershipString").unwrap_or_default().to_owned()),
    ];
    rows.extend(number(node, "LifecheckStarted").map(|on| ("Lifecheck Started", yes_or_no(on).to_owned())));
    Some(listed(String::new(), 18, &rows))
}

fn listed(mut out: String, width: usize, rows: &[(&str, String)]) -> String {
    for (label, value) in rows {
        let _ = writeln!(out, "{label:width$}: {value}");
    }
    out + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::pcp::options;
    use crate::cli::pcp::tool::Tool;

    /// As pgpool-II 4.3 sends it, and what version 4.8 adds.
    fn sent(more: &str) -> Answer {
        let json = format!(
            r#"{{"RemoteNodeCount":1,"MemberRemoteNodeCount":1,"NodesRequireForQuorum":1,"QuorumStatus":0,
            "AliveNodeCount":0,"Escalated":1,"LeaderNodeName":"l:1 Linux vm","LeaderHostName":"l","NodeCount":1,
            "WatchdogNodes":[{{"ID":0,"State":4,"Membership":0,"MembershipString":"MEMBER","NodeName":"l:1 Linux vm",
            "HostName":"l","StateName":"LEADER","DelegateIP":"Not_Set","WdPort":9,"PgpoolPort":1,"Priority":1{more}}}]}}"#
        );
        vec![vec!["CommandComplete".to_owned(), json]]
    }

    fn shown(answer: &Answer, line: &str) -> Option<String> {
        let words = line.split_whitespace().map(str::to_owned).collect();
        let tool = Tool::named("pcp_watchdog_info").unwrap();
        print(answer, &options::parse(tool, tool.name, words).unwrap().0)
    }

    #[test]
    fn members_as_the_tools_show_them() {
        let head = "2 2 YES l:1 Linux vm l\n\nl:1 Linux vm l 1 9 4 LEADER 0 MEMBER";
        assert_eq!(shown(&sent(""), ""), Some(format!("{head}\n")));
        assert_eq!(shown(&sent(r#","LifecheckStarted":1"#), ""), Some(format!("{head} YES\n")));
        let full = shown(&sent(""), "-v").unwrap();
        assert!(full.starts_with("Watchdog Cluster Information \nTotal Nodes              : 2\n"), "{full}");
        assert!(full.contains("\nQuorum state             : QUORUM IS ON THE EDGE\n"), "{full}");
        assert!(
            full.contains("\n\nWatchdog Node Information \nNode Name         : l:1 Linux vm\n"),
            "{full}"
        );
        assert!(full.ends_with("\nMembership Status : MEMBER\n\n"), "{full}");
    }

    #[test]
    fn what_is_no_such_answer_is_not_understood() {
        for text in ["", "{}", "[]", r#"{"NodeCount":1,"WatchdogNodes":[]}"#, "\u{0}"] {
            assert_eq!(shown(&vec![vec!["CommandComplete".to_owned(), text.to_owned()]], ""), None);
        }
        assert_eq!(shown(&Answer::new(), "-v"), None);
    }
}
