//! The words of a command: names, quoted texts, and what follows them.
#![forbid(unsafe_code)]

/// A run of the letters an SQL name may have, and what follows.
pub(super) fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let end = text.iter().position(|byte| !is_letter(byte)).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(word, _)| !word.is_empty())
}

/// Between quotes, and what follows. A doubled quote is one.
pub(super) fn quoted(text: &[u8]) -> Option<(String, &[u8])> {
    let (quote, mut rest) = text.split_first()?;
    let mut found = Vec::new();
    loop {
        let end = rest.iter().position(|byte| byte == quote)?;
        let (part, after) = rest.split_at_checked(end)?;
        found.extend_from_slice(part);
        match after {
            [_, second, ..] if second == quote => {
                found.push(*quote);
                rest = after.get(2..)?;
            }
            _ => return Some((String::from_utf8(found).ok()?, after.get(1..)?)),
        }
    }
}

/// A name and what follows; as in SQL, quoted it keeps its case.
pub(super) fn name(text: &[u8]) -> Option<(String, &[u8])> {
    let text = text.trim_ascii_start();
    match text {
        [b'"', ..] => quoted(text).filter(|(name, _)| !name.is_empty()),
        _ => {
            let (name, rest) = word(text)?;
            Some((String::from_utf8(name.to_ascii_lowercase()).ok()?, rest))
        }
    }
}

/// A name with nothing after it.
pub(super) fn lone_name(text: &[u8]) -> Option<String> {
    name(text).filter(|(_, rest)| is_end(rest)).map(|(name, _)| name)
}

/// Whether there is nothing but blanks and semicolons.
pub(super) fn is_end(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_whitespace() || *byte == b';')
}
