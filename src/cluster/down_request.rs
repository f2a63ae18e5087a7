//! The file in which a test declares nodes dead (`health_check_test`): `NODE<tab>down` a line, which becomes
//! `NODE<tab>already_down` once the node is out, so that it is taken out once only. Text in, text out.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use crate::error::NodeId;

/// Name of the file, in `work_dir`.
pub const FILE: &str = "backend_down_request";

const OPEN: &str = "down";
const DONE: &str = "already_down";

/// Whether the file declares this node dead.
pub fn declares(text: &str, node: NodeId) -> bool {
    text.lines().any(|line| is_request(line, node))
}

/// The file, with the request for this node done.
pub fn ended(text: &str, node: NodeId) -> String {
    text.split_inclusive('\n').map(|line| after(line, node)).collect()
}

fn after(line: &str, node: NodeId) -> Cow<'_, str> {
    match is_request(line, node) {
        true => Cow::Owned(format!("{node}\t{DONE}\n")),
        false => Cow::Borrowed(line),
    }
}

fn is_request(line: &str, node: NodeId) -> bool {
    let mut words = line.split_whitespace();
    words.next().and_then(|id| id.parse().ok()) == Some(node) && words.next() == Some(OPEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_found_and_ended() {
        let cases = [
            ("1\tdown\n", true, "1\talready_down\n"),
            ("0\tdown\n1\tdown\n", true, "0\tdown\n1\talready_down\n"),
            ("1 down", true, "1\talready_down\n"),
            ("1\tdown\r\n2\tdown\n", true, "1\talready_down\n2\tdown\n"),
            ("1\talready_down\n", false, "1\talready_down\n"),
            ("1\tdownwards\n11\tdown\nx\tdown\n\n1\n", false, "1\tdownwards\n11\tdown\nx\tdown\n\n1\n"),
            ("", false, ""),
        ];
        for (text, declared, after) in cases {
            assert_eq!((declares(text, 1), ended(text, 1).as_str()), (declared, after), "{text:?}");
            assert!(!declares(&ended(text, 1), 1), "{text:?}");
        }
    }
}
