//! The command lines of an operator's scripts: what stands for the placeholders.
//!
//! As pgpool-II 4.3 has them. Newer versions put a blank before the numbers, which `d=%d` and `"%d"` do not bear.
//! A value that is not there is `""`, so that the words behind it keep their places; a data directory that nobody
//! configured is, too.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::node::Node;
use crate::error::NodeId;

/// What stands for a value that is not there.
const NOTHING: &str = "\"\"";

/// The nodes that a command is told of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    /// The node that it is about.
    pub(super) node: &'a Node,
    /// The main node from now on: of the lowest number, the one to be promoted, or the new primary.
    pub(super) new_main: Option<&'a Node>,
    /// The main node before.
    pub(super) old_main: Option<NodeId>,
    /// The primary before.
    pub(super) old_primary: Option<&'a Node>,
}

/// Puts the values in. `%` and a letter without meaning vanish.
pub(super) fn expand(template: &str, told: &Told<'_>) -> String {
    let mut line = String::with_capacity(template.len() + 64);
    let mut letters = template.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '%' => put(&mut line, letters.next(), told),
            other => line.push(other),
        }
    }
    line
}

fn put(line: &mut String, letter: Option<char>, told: &Told<'_>) {
    let node = Some(told.node);
    let id = |node: Option<&Node>| node.map(|node| node.id);
    match letter {
        Some('d') => put_id(line, id(node)),
        Some('h') => put_text(line, node.map(|node| node.host.as_str())),
        Some('p') => put_port(line, node),
        Some('D') => put_text(line, node.map(|node| node.data_directory.as_str())),
        Some('m') => put_id(line, id(told.new_main)),
        Some('H') => put_text(line, told.new_main.map(|node| node.host.as_str())),
        Some('M') => put_id(line, told.old_main),
        Some('P') => put_id(line, id(told.old_primary)),
        Some('r') => put_port(line, told.new_main),
        Some('R') => put_text(line, told.new_main.map(|node| node.data_directory.as_str())),
        Some('N') => put_text(line, told.old_primary.map(|node| node.host.as_str())),
        Some('S') => put_port(line, told.old_primary),
        Some('%') => line.push('%'),
        _ => {}
    }
}

/// Scripts compare the number of a node that is not there with -1.
fn put_id(line: &mut String, id: Option<NodeId>) {
    match id {
        // Writing to a string cannot fail.
        Some(id) => drop(write!(line, "{id}")),
        None => line.push_str("-1"),
    }
}

fn put_text(line: &mut String, text: Option<&str>) {
    line.push_str(text.filter(|text| !text.is_empty()).unwrap_or(NOTHING));
}

fn put_port(line: &mut String, node: Option<&Node>) {
    match node {
        Some(node) => drop(write!(line, "{}", node.port)),
        None => line.push_str(NOTHING),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "%d %h %p %D %m %H %M %P %r %R %N %S";

    fn node(id: NodeId) -> Node {
        Node {
            data_directory: format!("/data/{id}"),
            ..Node::named(id, &format!("host{id}"), 5432 + u16::try_from(id).unwrap())
        }
    }

    #[test]
    fn every_placeholder_has_its_value() {
        let (failed, main) = (node(0), node(1));
        let told =
            Told { node: &failed, new_main: Some(&main), old_main: Some(0), old_primary: Some(&failed) };
        assert_eq!(expand(ALL, &told), "0 host0 5432 /data/0 1 host1 0 0 5433 /data/1 host0 5432");
    }

    #[test]
    fn what_is_not_there_keeps_its_place() {
        let failed = Node { data_directory: String::new(), ..node(2) };
        let told = Told { node: &failed, new_main: None, old_main: None, old_primary: None };
        assert_eq!(expand(ALL, &told), r#"2 host2 5434 "" -1 "" -1 -1 "" "" "" """#);
    }

    #[test]
    fn other_text_stays_and_unknown_letters_vanish() {
        let node = node(1);
        let told = Told { node: &node, new_main: None, old_main: None, old_primary: None };
        for (template, line) in [
            ("fo.sh [%] [%%] [%q] [%d] %5 \"%h\" %", "fo.sh [ [%] [] [1]  \"host1\" "),
            ("", ""),
            ("echo ä %ä|", "echo ä |"),
        ] {
            assert_eq!(expand(template, &told), line);
        }
    }
}
