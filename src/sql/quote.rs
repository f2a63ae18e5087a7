//! How a value is written into a statement of ours.
#![forbid(unsafe_code)]

/// A literal that reads the same under both settings of standard_conforming_strings.
pub fn literal(text: &str) -> String {
    let escaped = text.replace('\'', "''");
    if escaped.contains('\\') {
        format!("E'{}'", escaped.replace('\\', "\\\\"))
    } else {
        format!("'{escaped}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes() {
        let cases = [("", "''"), ("plain", "'plain'"), ("o'clock", "'o''clock'"), (r"a\'b", r"E'a\\''b'")];
        for (text, expected) in cases {
            assert_eq!(literal(text), expected);
        }
    }
}
