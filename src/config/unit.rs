//! Whole numbers with units: `5min`, `64MB`, `0777`, `0x10`. A suffix is spelled as in PostgreSQL.
#![forbid(unsafe_code)]

/// What the number of a parameter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Just a number.
    None,
    /// A number that is written as octal: a file mode.
    Octal,
    /// Bytes.
    Bytes,
    /// Units of 1024 bytes.
    Kilobytes,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
}

/// Suffixes and how many bytes they are, largest first.
const MEMORY: &[(&str, i128)] =
    &[("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10), ("B", 1)];

/// Suffixes and how many microseconds they are, largest first.
const TIME: &[(&str, i128)] = &[
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("min", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

impl Unit {
    /// The suffixes it takes.
    fn suffixes(self) -> &'static [(&'static str, i128)] {
        match self {
            Unit::None | Unit::Octal => &[],
            Unit::Bytes | Unit::Kilobytes => MEMORY,
            Unit::Milliseconds | Unit::Seconds | Unit::Minutes => TIME,
        }
    }

    /// What one is, as a suffix. Empty for plain numbers.
    pub fn suffix(self) -> &'static str {
        match self {
            Unit::None | Unit::Octal => "",
            Unit::Bytes => "B",
            Unit::Kilobytes => "kB",
            Unit::Milliseconds => "ms",
            Unit::Seconds => "s",
            Unit::Minutes => "min",
        }
    }

    /// How many of the smallest suffix one is.
    fn base(self) -> i128 {
        factor(self, self.suffix()).unwrap_or(1)
    }
}

fn factor(unit: Unit, suffix: &str) -> Option<i128> {
    unit.suffixes().iter().find(|(name, _)| *name == suffix).map(|(_, factor)| *factor)
}

/// Reads a number, with or without a suffix, into `unit`.
pub fn parse(text: &str, unit: Unit) -> Result<i64, String> {
    let (number, suffix) =
        split_number(text.trim()).ok_or_else(|| format!("\"{text}\" is not a whole number"))?;
    let suffix = suffix.trim();
    if suffix.is_empty() {
        return i64::try_from(number).map_err(|_| format!("\"{text}\" is too large"));
    }
    let Some(factor) = factor(unit, suffix) else {
        let known: Vec<&str> = unit.suffixes().iter().rev().map(|(name, _)| *name).collect();
        return Err(match known.as_slice() {
            [] => format!("\"{text}\" is not a whole number (this parameter has no unit)"),
            known => format!("\"{text}\" has an unknown unit: use {}", known.join(", ")),
        });
    };
    let converted = number.checked_mul(factor).map(|all| nearest(all, unit.base()));
    converted.and_then(|number| i64::try_from(number).ok()).ok_or_else(|| format!("\"{text}\" is too large"))
}

/// To the nearest whole unit. What is not zero does not become zero: zero often means "never".
fn nearest(all: i128, base: i128) -> i128 {
    let half = base / 2 * all.signum();
    match (all.saturating_add(half)) / base {
        0 => all.signum(),
        number => number,
    }
}

/// The number as C's strtol with base 0 reads it, and what follows it.
fn split_number(text: &str) -> Option<(i128, &str)> {
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (if text.starts_with('-') { -1 } else { 1 }, rest),
        None => (1, text),
    };
    let (radix, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(rest) => (16, rest),
        None if digits.starts_with('0') => (8, digits),
        None => (10, digits),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    i128::from_str_radix(digits, radix).ok().map(|number| (sign * number, rest))
}

/// Writes the number with the largest suffix that is exact.
pub fn show(number: i64, unit: Unit) -> String {
    if unit == Unit::Octal {
        return format!("0{number:03o}");
    }
    if number <= 0 {
        return number.to_string();
    }
    let all = i128::from(number) * unit.base();
    match unit.suffixes().iter().find(|(_, factor)| all % factor == 0) {
        Some((suffix, factor)) => format!("{}{suffix}", all / factor),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_and_units() {
        for (text, unit, number) in [
            ("9999", Unit::None, 9999),
            ("0x10", Unit::None, 16),
            ("0777", Unit::Octal, 511),
            ("-1", Unit::Seconds, -1),
            ("5min", Unit::Seconds, 300),
            ("1 h", Unit::Seconds, 3600),
            ("1d", Unit::Minutes, 1440),
            ("30s", Unit::Minutes, 1),
            ("90s", Unit::Minutes, 2),
            ("500ms", Unit::Seconds, 1),
            ("1700ms", Unit::Seconds, 2),
            ("1us", Unit::Seconds, 1),
            ("0ms", Unit::Seconds, 0),
            ("10s", Unit::Milliseconds, 10_000),
            ("64MB", Unit::Bytes, 67_108_864),
            ("10MB", Unit::Kilobytes, 10_240),
        ] {
            assert_eq!(parse(text, unit), Ok(number), "{text}");
        }
        let bad =
            ["", "x", "-", "1.5GB", "08", "5 parsecs", "1KB", "99999999999999999999", "9999999999TB", "0x"];
        for text in bad {
            assert!(parse(text, Unit::Bytes).is_err(), "{text}");
        }
        assert_eq!(
            parse("5s", Unit::None),
            Err("\"5s\" is not a whole number (this parameter has no unit)".into())
        );
        assert_eq!(
            parse("5m", Unit::Seconds),
            Err("\"5m\" has an unknown unit: use us, ms, s, min, h, d".into())
        );
    }

    #[test]
    fn shown_in_the_largest_exact_unit() {
        for (number, unit, text) in [
            (300, Unit::Seconds, "5min"),
            (90, Unit::Seconds, "90s"),
            (0, Unit::Seconds, "0"),
            (-1, Unit::Seconds, "-1"),
            (1440, Unit::Minutes, "1d"),
            (1500, Unit::Milliseconds, "1500ms"),
            (409_600, Unit::Bytes, "400kB"),
            (0o600, Unit::Octal, "0600"),
            (32, Unit::None, "32"),
        ] {
            assert_eq!(show(number, unit), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(number in any::<i64>(), which in 0..7_usize) {
            use Unit::*;
            let unit = [None, Octal, Bytes, Kilobytes, Milliseconds, Seconds, Minutes][which];
            let number = if unit == Octal { number & 0o7777 } else { number };
            prop_assert_eq!(parse(&show(number, unit), unit), Ok(number));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse(&text, Unit::Seconds);
        }
    }
}
