//! A cursor over the body of one message. Each step takes from the front or says what is missing.
#![forbid(unsafe_code)]

use super::ParseError;

/// Cursor; `message` names what is being read, for errors.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    message: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'static str, body: &'a [u8]) -> Self {
        Self { rest: body, message }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], ParseError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(self.short())?;
        self.rest = rest;
        Ok(taken)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(self.short())?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, ParseError> {
        self.chunk().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ParseError> {
        self.chunk().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ParseError> {
        self.chunk().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, ParseError> {
        self.chunk().map(i32::from_be_bytes)
    }

    pub(super) fn salt(&mut self) -> Result<[u8; 4], ParseError> {
        self.chunk()
    }

    /// The string up to the next NUL, which is passed over.
    pub(super) fn string(&mut self) -> Result<&'a [u8], ParseError> {
        let unterminated = ParseError::Unterminated { message: self.message };
        let end = memchr::memchr(0, self.rest).ok_or(unterminated)?;
        let text = self.take(end)?;
        self.take(1)?;
        Ok(text)
    }

    /// A length word and as many bytes; `None` where the length is -1.
    pub(super) fn value(&mut self) -> Result<Option<&'a [u8]>, ParseError> {
        match self.i32()? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) => self.take(length).map(Some),
                Err(_) => Err(self.invalid("negative length")),
            },
        }
    }

    /// Everything not yet taken.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// The message must be used up.
    pub(super) fn end(&self) -> Result<(), ParseError> {
        match self.rest.is_empty() {
            true => Ok(()),
            false => Err(ParseError::Trailing { message: self.message }),
        }
    }

    pub(super) fn invalid(&self, problem: &'static str) -> ParseError {
        ParseError::Invalid { message: self.message, problem }
    }

    fn short(&self) -> ParseError {
        ParseError::Short { message: self.message }
    }
}
