//! The man page, rendered from the command line; a test compares `doc/man/bctl.1` with it, and writes it with UPDATE_MAN=1.
#![forbid(unsafe_code)]

use std::path::Path;

use clap::{Arg, Command};
use clap_mangen::Man;

use super::words;

fn page() -> String {
    let mut command = words::shown().version(env!("CARGO_PKG_VERSION"));
    command.build();
    let man = Man::new(command.clone()).date("").source("pgbalancer").manual("pgbalancer");
    let mut out = Vec::new();
    man.render_title(&mut out).unwrap();
    man.render_name_section(&mut out).unwrap();
    man.render_synopsis_section(&mut out).unwrap();
    man.render_options_section(&mut out).unwrap();
    let mut text = String::from_utf8(out).unwrap();
    text.push_str(".SH COMMANDS\n");
    commands(&command, "", &mut text);
    let mut notes = Vec::new();
    man.render_extra_section(&mut notes).unwrap();
    text + &String::from_utf8(notes).unwrap().replace(".SH EXTRA", ".SH NOTES")
}

/// All commands with their arguments and options, in the order of the help.
fn commands(command: &Command, before: &str, text: &mut String) {
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        let own = |arg: &&Arg| !arg.is_global_set() && !matches!(arg.get_id().as_str(), "help" | "version");
        let mut usage = format!("{before}{}", command.get_name());
        let mut options = String::new();
        for arg in command.get_arguments().filter(own) {
            let names = arg.get_value_names().unwrap_or_default();
            let value = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            match arg.get_long() {
                None if arg.is_required_set() => usage += &format!(" {value}"),
                None => usage += &format!(" [{value}]"),
                Some(long) => {
                    let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
                    let value =
                        if arg.get_action().takes_values() { format!(" {value}") } else { String::new() };
                    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                    options += &format!(".br\n{}\n", escaped(&format!("{short}--{long}{value}: {help}")));
                }
            }
        }
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        *text += &format!(".TP\n\\fB{}\\fR\n{}\n{options}", escaped(&usage), escaped(&about));
        commands(command, &format!("{before}{} ", command.get_name()), text);
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

#[test]
fn the_man_page_is_the_one_of_the_command_line() {
    let text = page();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("doc/man/bctl.1");
    if std::env::var_os("UPDATE_MAN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap() == text, "run this test with UPDATE_MAN=1");
}
