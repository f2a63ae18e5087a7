//! The manual pages of the tools, made from their help.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::super::man::escaped;
use super::tool::{TOOLS, Tool};

/// What the help has no room for.
const MORE: &str = ".SH PASSWORD
What is typed counts, where somebody can be asked. Otherwise, and with
.BR \\-w ,
it is looked for in the file that
.B PCPPASSFILE
names, or in
.IR ~/.pcppass :
lines of
.IR host : port : user : password ,
in which
.B *
stands for anything. Nobody else may be able to read the file.
.SH EXIT STATUS
0, also where the server refuses what it is asked after the login, as with pgpool\\-II: standard error says so. Not 0 where
nobody can be asked.
.SH NOTES
The tools are one program,
.BR pcp ,
that goes by the name it is called by. They work with pgbalancer and with pgpool\\-II.
.SH SEE ALSO
.BR pgbalancer (8),
.BR bctl (1)
";

/// The page in troff.
fn page(tool: &Tool) -> String {
    let help = tool.help();
    let mut out = String::from(".\\\" Rendered from the help text by a test: UPDATE_MAN=1 writes it anew.\n");
    let name = tool.name;
    let _ = writeln!(out, ".TH {} 1 \"\" \"pgbalancer\" \"\"", name.to_uppercase());
    let mut lines = help.lines();
    let about = lines.next().and_then(|line| line.split_once(" - ")).map_or("", |(_, about)| about);
    let _ = writeln!(out, ".SH NAME\n{name} \\- {}", escaped(about));
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let _ = match line.trim().split_once("  ") {
            _ if line == "Usage:" => writeln!(out, ".SH SYNOPSIS"),
            _ if line == "Options:" => writeln!(out, ".SH OPTIONS"),
            // A term, two blanks or more, and what it means; a line that begins further in goes on.
            Some((term, meaning)) => {
                writeln!(out, ".TP\n.B {}\n{}", escaped(term), escaped(meaning.trim()))
            }
            None => writeln!(out, "{}", escaped(line.trim())),
        };
    }
    out + MORE
}

#[test]
fn the_manual_pages_say_what_the_help_says() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/doc/man");
    for tool in TOOLS {
        let path = format!("{dir}/{}.1", tool.name);
        if std::env::var_os("UPDATE_MAN").is_some() {
            std::fs::write(&path, page(tool)).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == page(tool), "{path} is not what the help makes; write it with UPDATE_MAN=1");
    }
    let pages = std::fs::read_dir(dir).unwrap().flatten();
    let ours = pages.filter(|page| page.file_name().to_string_lossy().starts_with("pcp_"));
    assert_eq!(ours.count(), TOOLS.len());
}
