//! The manual page, made from the help text, so that the two cannot say different things.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::usage;

/// What the help has no room for.
const MORE: &str = ".SH SIGNALS
.TP
.B TERM
Smart shutdown.
.TP
.B INT
Fast shutdown.
.TP
.B QUIT
Immediate shutdown.
.TP
.B HUP
Read the configuration again.
.TP
.B USR2
As
.BR \\-\\-upgrade .
.SH ENVIRONMENT
.TP
.BR NOTIFY_SOCKET \", \" WATCHDOG_USEC
Where a service manager listens, and how long it waits for a sign of life; see
.BR sd_notify (3).
.TP
.B PGPOOLKEYFILE
The key of encrypted passwords, without
.BR \\-k .
.TP
.B PGBALANCER_DUMPABLE
If set, the memory of the program, where passwords lie, is open to debuggers and core dumps.
.SH SEE ALSO
The parameters are described in
.I doc/ref/configuration.md
and in the comments of
.IR pgbalancer.conf.sample .
";

/// The page in troff.
fn page() -> String {
    let text = usage::text();
    let mut lines = text.lines().peekable();
    let version = lines.next().unwrap_or_default().trim_end_matches(',');
    let about = lines.next().unwrap_or_default().trim();
    let mut out = String::from(".\\\" Rendered from the help text by a test: UPDATE_MAN=1 writes it anew.\n");
    let _ = writeln!(
        out,
        ".TH PGBALANCER 8 \"\" \"{version}\" \"\"\n.SH NAME\npgbalancer \\- {}",
        escaped(about)
    );
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        if let Some(title) = line.strip_suffix(':').filter(|_| !line.starts_with(' ')) {
            let in_synopsis = title == "Usage";
            let title = if in_synopsis { "SYNOPSIS" } else { title.trim_end_matches(" are") };
            let _ = writeln!(out, ".SH {}", escaped(&title.to_uppercase()));
            if in_synopsis {
                out.push_str(".nf\n");
                while let Some(line) = lines.next_if(|line| !line.is_empty()) {
                    let _ = writeln!(out, "{}", escaped(line.trim()));
                }
                out.push_str(".fi\n");
            }
            continue;
        }
        // A term, two blanks or more, and what it means; a line that begins further in goes on.
        match line.trim().split_once("  ") {
            Some((term, meaning)) => {
                let _ = writeln!(out, ".TP\n.B {}\n{}", escaped(term), escaped(meaning.trim()));
            }
            None => {
                let _ = writeln!(out, "{}", escaped(line.trim()));
            }
        }
    }
    out + MORE
}

/// A dash is a minus, and a line that begins with a dot or a quote is no request.
pub(super) fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[test]
fn the_manual_page_says_what_the_help_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/doc/man/pgbalancer.8");
    if std::env::var_os("UPDATE_MAN").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == page(), "{path} is not what the help text makes; write it with UPDATE_MAN=1");
}

#[test]
fn what_troff_would_take_for_something_else_is_escaped() {
    assert_eq!(escaped("-m, --mode"), "\\-m, \\-\\-mode");
    assert_eq!(escaped(".x\\y"), "\\&.x\\ey");
}
