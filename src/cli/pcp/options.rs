//! The command line, as getopt_long(3) reads it: options and other words in any order, long names cut short.
#![forbid(unsafe_code)]

use super::tool::{Id, Tool};
use crate::error::exit;

/// What a command line wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Empty: none was given.
    pub(super) host: String,
    pub(super) port: u16,
    /// None: that of the operating system.
    pub(super) user: Option<String>,
    pub(super) never_prompt: bool,
    pub(super) verbose: bool,
    pub(super) debug: bool,
    /// Node, process or member.
    pub(super) id: Option<i64>,
    pub(super) all: bool,
    pub(super) gracefully: bool,
    pub(super) switchover: bool,
    /// All members of the watchdog, not only the one that is asked.
    pub(super) cluster: bool,
    /// How to stop: `s`, `f` or `i`.
    pub(super) mode: char,
}

/// A command line that was not understood: what is said about it, and the exit code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misuse {
    pub(super) text: String,
    pub(super) code: u8,
}

const PORT: u16 = 9898;

/// Highest number that is taken for a node.
const MAX_NODE: i64 = 128;

/// Long names, their letter, and whether a value follows. `c` stands for the scope, whose letter is `s` as well.
const LONG: &[(&str, char, bool)] = &[
    ("help", '?', false),
    ("debug", 'd', false),
    ("host", 'h', true),
    ("port", 'p', true),
    ("process-id", 'P', true),
    ("username", 'U', true),
    ("no-password", 'w', false),
    ("password", 'W', false),
    ("mode", 'm', true),
    ("scope", 'c', true),
    ("gracefully", 'g', false),
    ("switchover", 's', false),
    ("verbose", 'v', false),
    ("all", 'a', false),
    ("node-id", 'n', true),
    ("watchdog-id", 'n', true),
];

/// Letters of every tool.
const COMMON: &str = "hpUwWvd";

struct Reading<'a> {
    tool: &'static Tool,
    /// As the tool was called.
    called: &'a str,
    options: Options,
}

/// Reads the words behind the name; the warnings are to be printed.
pub(super) fn parse(
    tool: &'static Tool,
    called: &str,
    words: Vec<String>,
) -> Result<(Options, Vec<String>), Misuse> {
    let options = Options {
        host: String::new(),
        port: PORT,
        user: None,
        never_prompt: false,
        verbose: false,
        debug: false,
        id: None,
        all: false,
        gracefully: false,
        switchover: false,
        cluster: false,
        mode: 's',
    };
    let mut reading = Reading { tool, called, options };
    let mut others = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.strip_prefix('-') {
            Some("-") => {
                others.extend(words.by_ref());
            }
            None | Some("") => others.push(word),
            Some(rest) => match rest.strip_prefix('-') {
                Some(long) => reading.long(long, &mut words)?,
                None => reading.short(rest, &mut words)?,
            },
        }
    }
    let warnings = reading.others(others)?;
    Ok((reading.options, warnings))
}

impl Reading<'_> {
    fn short(&mut self, letters: &str, words: &mut impl Iterator<Item = String>) -> Result<(), Misuse> {
        let mut rest = letters;
        while let Some(shown) = rest.chars().next() {
            rest = rest.get(shown.len_utf8()..).unwrap_or_default();
            let letter = match shown {
                's' if self.tool.letters.contains('c') => 'c',
                'c' => return Err(self.hint(format!("{}: invalid option -- 'c'\n", self.called))),
                letter => letter,
            };
            if !COMMON.contains(letter) && !self.tool.letters.contains(letter) {
                return Err(self.hint(format!("{}: invalid option -- '{shown}'\n", self.called)));
            }
            if !takes_value(letter) {
                self.set(letter, "")?;
                continue;
            }
            let value = if rest.is_empty() { words.next() } else { Some(rest.to_owned()) };
            let missing = || format!("{}: option requires an argument -- '{shown}'\n", self.called);
            let value = value.ok_or_else(|| self.hint(missing()))?;
            return self.set(letter, &value);
        }
        Ok(())
    }

    fn long(&mut self, word: &str, words: &mut impl Iterator<Item = String>) -> Result<(), Misuse> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word, None),
        };
        let called = self.called;
        let (name, letter, takes) = match self.find_long(name).as_slice() {
            [found] => *found,
            [] => return Err(self.hint(format!("{called}: unrecognized option '--{name}'\n"))),
            several => {
                let names: Vec<String> = several.iter().map(|(name, ..)| format!("'--{name}'")).collect();
                let names = names.join(" ");
                let text = format!("{called}: option '--{name}' is ambiguous; possibilities: {names}\n");
                return Err(self.hint(text));
            }
        };
        let value = match (takes, value) {
            (false, Some(_)) => {
                return Err(self.hint(format!("{called}: option '--{name}' doesn't allow an argument\n")));
            }
            (false, None) => String::new(),
            (true, Some(value)) => value,
            (true, None) => words
                .next()
                .ok_or_else(|| self.hint(format!("{called}: option '--{name}' requires an argument\n")))?,
        };
        self.set(letter, &value)
    }

    /// The options that this may be the beginning of; a whole name is that one.
    fn find_long(&self, name: &str) -> Vec<(&'static str, char, bool)> {
        let is_ours =
            |letter: char| letter == '?' || COMMON.contains(letter) || self.tool.letters.contains(letter);
        let ours: Vec<_> = LONG.iter().copied().filter(|(_, letter, _)| is_ours(*letter)).collect();
        match ours.iter().find(|(whole, ..)| *whole == name) {
            Some(found) => vec![*found],
            None => ours.into_iter().filter(|(whole, ..)| whole.starts_with(name)).collect(),
        }
    }

    fn set(&mut self, letter: char, value: &str) -> Result<(), Misuse> {
        let name = self.tool.name;
        match letter {
            'h' => self.options.host = value.to_owned(),
            'U' => self.options.user = Some(value.to_owned()),
            'w' => self.options.never_prompt = true,
            'W' => self.options.never_prompt = false,
            'v' => self.options.verbose = true,
            'd' => self.options.debug = true,
            'a' => self.options.all = true,
            'g' => self.options.gracefully = true,
            's' => self.options.switchover = true,
            'n' | 'P' => self.options.id = Some(self.id(value)?),
            'p' => match u16::try_from(number(value)).ok().filter(|port| *port > 1024) {
                Some(port) => self.options.port = port,
                None => {
                    let text = "must be between 1024 and 65535";
                    return Err(mild(format!("{name}: Invalid port number \"{value}\", {text}\n")));
                }
            },
            'm' => match value {
                "s" | "smart" => self.options.mode = 's',
                "f" | "fast" => self.options.mode = 'f',
                "i" | "immediate" => self.options.mode = 'i',
                _ => {
                    let text = "must be either \"smart\" \"immediate\" or \"fast\" ";
                    return Err(severe(format!("{name}: Invalid shutdown mode \"{value}\", {text}\n")));
                }
            },
            'c' => match value {
                "c" | "cluster" => self.options.cluster = true,
                "l" | "local" => self.options.cluster = false,
                _ => {
                    let text = "must be either \"cluster\" or \"local\" ";
                    return Err(severe(format!("{name}: Invalid command scope \"{value}\", {text}\n")));
                }
            },
            _ => return Err(self.hint(String::new())),
        }
        Ok(())
    }

    /// As atoi(3): what begins with no number is 0.
    fn id(&self, value: &str) -> Result<i64, Misuse> {
        let (name, id) = (self.tool.name, number(value));
        let (what, good, range) = match self.tool.id {
            Id::Process => ("process-id", id > 0, "greater than 0"),
            Id::Member => ("watchdog-id", id >= 0, "a positive number or zero for a local watchdog node"),
            Id::None | Id::Node | Id::AnyNode => {
                ("node-id", (0..=MAX_NODE).contains(&id), "between 0 and 128")
            }
        };
        match good {
            true => Ok(id),
            false => Err(mild(format!("{name}: Invalid {what} \"{value}\", must be {range}\n"))),
        }
    }

    /// The words that are no options.
    fn others(&mut self, words: Vec<String>) -> Result<Vec<String>, Misuse> {
        let mut words = words.into_iter();
        if self.tool.id != Id::None && self.options.id.is_none() {
            self.options.id = words.next().map(|word| self.id(&word)).transpose()?;
        }
        if self.tool.id == Id::Node && self.options.id.is_none() {
            return Err(self.hint(format!("{}: missing node-id\n", self.tool.name)));
        }
        let name = self.tool.name;
        Ok(words
            .map(|word| format!("{name}: Warning: extra command-line argument \"{word}\" ignored"))
            .collect())
    }

    fn hint(&self, text: String) -> Misuse {
        severe(format!("{text}Try \"{} --help\" for more information.\n\n", self.tool.name))
    }
}

/// The tools go out as if nothing were wrong.
fn mild(text: String) -> Misuse {
    Misuse { text, code: exit::OK }
}

fn severe(text: String) -> Misuse {
    Misuse { text, code: exit::USAGE }
}

fn takes_value(letter: char) -> bool {
    LONG.iter().any(|(_, of, takes)| *of == letter && *takes)
}

fn number(text: &str) -> i64 {
    let text = text.trim_start();
    let digits = text.trim_start_matches(['-', '+']);
    let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
    let number: i64 = digits.get(..end).and_then(|digits| digits.parse().ok()).unwrap_or(0);
    if text.starts_with('-') { -number } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(Options, Vec<String>), Misuse> {
        let mut words = line.split(' ').map(str::to_owned);
        let name = words.next().unwrap();
        parse(Tool::named(&name).unwrap(), &name, words.filter(|word| !word.is_empty()).collect())
    }

    fn good(line: &str) -> Options {
        read(line).unwrap().0
    }

    #[test]
    fn options_in_all_their_forms() {
        for line in [
            "pcp_detach_node -h a -p 5000 -U u -w -v -d -g -n 3",
            "pcp_detach_node 3 -ha -p5000 -Uu -wvdg",
            "pcp_detach_node --host=a --port 5000 --username=u --no-password --verbose --debug --gracefully 3",
            "pcp_detach_node --ho=a --po=5000 --u=u --no-p --verb --deb --grace --node=3",
        ] {
            let options = good(line);
            assert_eq!(
                (options.host.as_str(), options.port, options.user.as_deref()),
                ("a", 5000, Some("u"))
            );
            assert!(options.never_prompt && options.verbose && options.debug && options.gracefully, "{line}");
            assert_eq!(options.id, Some(3), "{line}");
        }
        let stop = good("pcp_stop_pgpool -m fast -s c -a");
        assert_eq!((stop.mode, stop.cluster, stop.all), ('f', true, true));
        let promote = good("pcp_promote_node -s 1");
        assert_eq!((promote.switchover, promote.cluster), (true, false));
        assert_eq!(good("pcp_node_info -n abc").id, Some(0));
        assert_eq!(good("pcp_node_info").id, None);
        let (_, warnings) = read("pcp_node_count 1 2").unwrap();
        assert_eq!(warnings.len(), 2);
    }

    #[test]
    fn mistakes_are_told_as_getopt_tells_them() {
        let help = |name: &str| format!("Try \"{name} --help\" for more information.\n\n");
        for (line, text, code) in [
            ("pcp_node_info -z", "pcp_node_info: invalid option -- 'z'\n", 1),
            ("pcp_node_info -c", "pcp_node_info: invalid option -- 'c'\n", 1),
            ("pcp_node_count -n 1", "pcp_node_count: invalid option -- 'n'\n", 1),
            ("pcp_node_info -vp", "pcp_node_info: option requires an argument -- 'p'\n", 1),
            ("pcp_node_info --bogus", "pcp_node_info: unrecognized option '--bogus'\n", 1),
            ("pcp_node_info --port", "pcp_node_info: option '--port' requires an argument\n", 1),
            ("pcp_node_info --all=1", "pcp_node_info: option '--all' doesn't allow an argument\n", 1),
            (
                "pcp_proc_info --p",
                "pcp_proc_info: option '--p' is ambiguous; possibilities: '--port' '--process-id' '--password'\n",
                1,
            ),
            ("pcp_node_info -v --help", "", 1),
            ("pcp_attach_node", "pcp_attach_node: missing node-id\n", 1),
        ] {
            let name = line.split(' ').next().unwrap();
            let misuse = read(line).unwrap_err();
            assert_eq!((misuse.text, misuse.code), (format!("{text}{}", help(name)), code), "{line}");
        }
        for (line, text, code) in [
            (
                "pcp_node_info -p 1024",
                "pcp_node_info: Invalid port number \"1024\", must be between 1024 and 65535\n",
                0,
            ),
            (
                "pcp_attach_node 129",
                "pcp_attach_node: Invalid node-id \"129\", must be between 0 and 128\n",
                0,
            ),
            ("pcp_proc_info -P x", "pcp_proc_info: Invalid process-id \"x\", must be greater than 0\n", 0),
            (
                "pcp_stop_pgpool -m x",
                "pcp_stop_pgpool: Invalid shutdown mode \"x\", must be either \"smart\" \"immediate\" or \"fast\" \n",
                1,
            ),
            (
                "pcp_reload_config --scope=x",
                "pcp_reload_config: Invalid command scope \"x\", must be either \"cluster\" or \"local\" \n",
                1,
            ),
        ] {
            assert_eq!(read(line).unwrap_err(), Misuse { text: text.to_owned(), code }, "{line}");
        }
    }

    #[test]
    fn numbers_as_atoi_reads_them() {
        for (text, value) in
            [("12", 12), (" 7x", 7), ("-3", -3), ("x", 0), ("", 0), ("+5", 5), ("99999999999999999999", 0)]
        {
            assert_eq!(number(text), value, "{text}");
        }
    }
}
