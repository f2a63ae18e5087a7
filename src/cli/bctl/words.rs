//! A command of two words may be written as one with a hyphen: `nodes-attach 1` is `nodes attach 1`. And the command line
//! without what is in no help.
#![forbid(unsafe_code)]

use clap::{CommandFactory, Parser};

use super::args::{AFTER_HELP, Line, VERSION};

/// The command line without what is in no help: for completion and the man page.
pub(super) fn shown() -> clap::Command {
    without_hidden(&Line::command()).version(VERSION).after_help(AFTER_HELP)
}

fn without_hidden(command: &clap::Command) -> clap::Command {
    let about = command.get_about().cloned().unwrap_or_default();
    let seen = command.get_subcommands().filter(|command| !command.is_hide_set());
    clap::Command::new(command.get_name().to_owned())
        .about(about)
        .args(command.get_arguments().cloned())
        .subcommands(seen.map(without_hidden))
}

/// A command line, and whether its command was written as one word.
pub(super) fn parse(words: Vec<String>) -> Result<(Line, bool), clap::Error> {
    let (words, joined) = apart(words);
    Line::try_parse_from(words).map(|line| (line, joined))
}

/// Takes a command of two words apart that is written as one: the first word that belongs to no option.
fn apart(mut words: Vec<String>) -> (Vec<String>, bool) {
    let line = Line::command();
    let takes_value = |word: &str| {
        line.get_arguments().filter(|option| option.get_action().takes_values()).any(|option| {
            option.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long))
                || option.get_short().is_some_and(|short| ends_in_short(&line, word, short))
        })
    };
    let mut at = 1;
    while let Some(word) = words.get(at) {
        if !word.starts_with('-') {
            break;
        }
        at += if takes_value(word) { 2 } else { 1 };
    }
    let parts = words.get(at).and_then(|word| word.split_once('-'));
    let Some((first, second)) = parts.map(|(first, second)| (first.to_owned(), second.to_owned())) else {
        return (words, false);
    };
    let known =
        line.find_subcommand(&first).is_some_and(|command| command.find_subcommand(&second).is_some());
    if known {
        words.splice(at..=at, [first, second]);
    }
    (words, known)
}

/// `-H`, or flags that end in it, so that its value is the next word.
fn ends_in_short(line: &clap::Command, word: &str, short: char) -> bool {
    let is_flag = |letter| {
        let mut flags = line.get_arguments().filter(|option| !option.get_action().takes_values());
        flags.any(|flag| flag.get_short() == Some(letter))
    };
    let flags = |letters: &str| letters.chars().all(is_flag);
    let letters = word.strip_prefix('-').and_then(|letters| letters.strip_suffix(short));
    letters.is_some_and(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn one_word_is_taken_apart_wherever_options_stand() {
        for (typed, apart_as, joined) in [
            ("bctl nodes-attach 1", "bctl nodes attach 1", true),
            ("bctl -v -H h -p 1 nodes-attach 1 -j", "bctl -v -H h -p 1 nodes attach 1 -j", true),
            ("bctl -U nodes-count nodes-count", "bctl -U nodes-count nodes count", true),
            ("bctl -vH nodes-count nodes", "bctl -vH nodes-count nodes", false),
            ("bctl --host=h --yes watchdog-stop", "bctl --host=h --yes watchdog stop", true),
            ("bctl -Hh processes-count", "bctl -Hh processes count", true),
            ("bctl password-hash nodes-attach x", "bctl password hash nodes-attach x", true),
            ("bctl mqtt-publish t m", "bctl mqtt publish t m", true),
            ("bctl nodes-fly", "bctl nodes-fly", false),
            ("bctl nodes attach 1", "bctl nodes attach 1", false),
            ("bctl -v", "bctl -v", false),
            ("bctl -H", "bctl -H", false),
        ] {
            assert_eq!(apart(words(typed)), (words(apart_as), joined), "{typed}");
        }
    }

    #[test]
    fn the_tables_of_clap_are_in_order() {
        Line::command().debug_assert();
    }
}
