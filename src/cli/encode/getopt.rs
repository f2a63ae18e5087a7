//! A command line as getopt_long(3) reads it: options and other words in any order, long names cut short.
#![forbid(unsafe_code)]

/// What stands on a command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// Letters with their values (empty: the option has none).
    pub(super) options: Vec<(char, String)>,
    /// Words that are no options.
    pub(super) others: Vec<String>,
}

/// An option: long name, letter, and whether a value follows.
type Known = (&'static str, char, bool);

/// Reads the words behind the name that the program was called by; the error is getopt's line.
pub(super) fn parse(called: &str, known: &[Known], words: Vec<String>) -> Result<Words, String> {
    let mut found = Words::default();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.strip_prefix('-') {
            Some("-") => found.others.extend(words.by_ref()),
            None | Some("") => found.others.push(word),
            Some(rest) => {
                let read = match rest.strip_prefix('-') {
                    Some(long) => read_long(known, long, &mut words, &mut found),
                    None => read_short(known, rest, &mut words, &mut found),
                };
                read.map_err(|text| format!("{called}: {text}\n"))?;
            }
        }
    }
    Ok(found)
}

fn read_short(
    known: &[Known],
    letters: &str,
    words: &mut impl Iterator<Item = String>,
    found: &mut Words,
) -> Result<(), String> {
    for (at, letter) in letters.char_indices() {
        let of = known.iter().find(|(_, of, _)| *of == letter);
        let (.., takes_value) = of.ok_or(format!("invalid option -- '{letter}'"))?;
        if !takes_value {
            found.options.push((letter, String::new()));
            continue;
        }
        let rest = letters.get(at + letter.len_utf8()..).filter(|rest| !rest.is_empty());
        let value = rest.map(str::to_owned).or_else(|| words.next());
        let value = value.ok_or(format!("option requires an argument -- '{letter}'"))?;
        found.options.push((letter, value));
        break;
    }
    Ok(())
}

fn read_long(
    known: &[Known],
    word: &str,
    words: &mut impl Iterator<Item = String>,
    found: &mut Words,
) -> Result<(), String> {
    let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
    let (name, letter, takes_value) = match candidates(known, name).as_slice() {
        [one] => *one,
        [] => return Err(format!("unrecognized option '--{name}'")),
        several => {
            let names: Vec<String> = several.iter().map(|(name, ..)| format!("'--{name}'")).collect();
            return Err(format!("option '--{name}' is ambiguous; possibilities: {}", names.join(" ")));
        }
    };
    let value = match (takes_value, value) {
        (false, Some(_)) => return Err(format!("option '--{name}' doesn't allow an argument")),
        (false, None) => String::new(),
        (true, Some(value)) => value.to_owned(),
        (true, None) => words.next().ok_or(format!("option '--{name}' requires an argument"))?,
    };
    found.options.push((letter, value));
    Ok(())
}

/// The options that this may be the beginning of; a whole name is that one.
fn candidates(known: &[Known], name: &str) -> Vec<Known> {
    match known.iter().find(|(whole, ..)| *whole == name) {
        Some(found) => vec![*found],
        None => known.iter().copied().filter(|(whole, ..)| whole.starts_with(name)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Known] =
        &[("prompt", 'p', false), ("prompt-for-key", 'P', false), ("username", 'u', true)];

    fn read(line: &str) -> Result<Words, String> {
        parse("x", KNOWN, line.split(' ').map(str::to_owned).collect())
    }

    #[test]
    fn options_and_words_in_any_order() {
        for line in ["-pu ann a b", "a -p b -uann", "--prompt a --user ann b", "-p --username=ann -- a b"] {
            let mut found = read(line).unwrap();
            found.options.sort();
            assert_eq!(found.options, [('p', String::new()), ('u', "ann".to_owned())], "{line}");
            assert_eq!(found.others, ["a", "b"], "{line}");
        }
    }

    #[test]
    fn mistakes() {
        for (line, text) in [
            ("-x", "x: invalid option -- 'x'\n"),
            ("-pu", "x: option requires an argument -- 'u'\n"),
            ("--user", "x: option '--username' requires an argument\n"),
            ("--p", "x: option '--p' is ambiguous; possibilities: '--prompt' '--prompt-for-key'\n"),
            ("--prompt=1", "x: option '--prompt' doesn't allow an argument\n"),
            ("--nosuch", "x: unrecognized option '--nosuch'\n"),
        ] {
            assert_eq!(read(line).unwrap_err(), text);
        }
    }
}
