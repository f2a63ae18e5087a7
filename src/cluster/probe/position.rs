//! Positions in the write-ahead log, as PostgreSQL writes them.
#![forbid(unsafe_code)]

/// A position in the write-ahead log, as a count of bytes.
pub type Lsn = u64;

/// A position as PostgreSQL writes it: two hexadecimal halves, `16/B374D848`.
pub fn parse_lsn(text: &str) -> Option<Lsn> {
    let (high, low) = text.split_once('/')?;
    let half = |part: &str| u32::from_str_radix(part, 16).ok().filter(|_| part.len() <= 8);
    Some(u64::from(half(high)?) << 32 | u64::from(half(low)?))
}

/// The timeline of a file of the write-ahead log: the first of three numbers in its name.
pub fn parse_timeline(file: &str) -> Option<u32> {
    const LENGTH: usize = 24;
    let digits = file.get(..8).filter(|_| file.len() == LENGTH)?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_positions() {
        let cases = [
            ("0/0", Some(0)),
            ("16/B374D848", Some(0x16_B374_D848)),
            ("FFFFFFFF/FFFFFFFF", Some(u64::MAX)),
            ("", None),
            ("1", None),
            ("1/", None),
            ("123456789/0", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_lsn(text), expected, "{text}");
        }
    }

    #[test]
    fn timelines() {
        let cases = [
            ("0000000A0000000000000016", Some(10)),
            ("0000000A", None),
            ("x000000A0000000000000016", None),
            ("\u{e9}00000A0000000000000016", None),
            ("", None),
        ];
        for (file, expected) in cases {
            assert_eq!(parse_timeline(file), expected, "{file}");
        }
    }
}
