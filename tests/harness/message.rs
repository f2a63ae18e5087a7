//! Messages of the PostgreSQL protocol as the tests see them: a kind and its bytes, and what a reply says.
//!
//! Written apart from the program's own codec, so that a fault of one does not hide in the other.

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: char,
    pub(crate) body: Vec<u8>,
}

/// An error or notice of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) severity: String,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Message {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.body.strip_suffix(&[0]).unwrap_or(&self.body)).into_owned()
    }

    pub(crate) fn report(&self) -> Report {
        let field = |code: u8| {
            let mut fields = self.body.split(|byte| *byte == 0);
            let found = fields.find(|field| field.first() == Some(&code));
            found.map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).unwrap_or_default()
        };
        Report { severity: field(b'S'), code: field(b'C'), message: field(b'M') }
    }

    /// The values of a DataRow, as text.
    fn values(&self) -> Vec<Option<String>> {
        let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
        self.raw_values().into_iter().map(|value| value.map(text)).collect()
    }

    /// The values of a DataRow.
    pub(crate) fn raw_values(&self) -> Vec<Option<Vec<u8>>> {
        let count = u16::from_be_bytes([self.body[0], self.body[1]]);
        let mut rest = &self.body[2..];
        let mut values = Vec::new();
        for _ in 0..count {
            let (length, after) = rest.split_at(4);
            let length = i32::from_be_bytes(length.try_into().unwrap());
            rest = after;
            if length < 0 {
                values.push(None);
                continue;
            }
            let (value, after) = rest.split_at(length as usize);
            values.push(Some(value.to_vec()));
            rest = after;
        }
        values
    }

    /// A RowDescription without the numbers of tables.
    pub(crate) fn without_tables(&self) -> Vec<u8> {
        let mut out = self.body[..2].to_vec();
        let mut rest = &self.body[2..];
        while let Some(end) = rest.iter().position(|byte| *byte == 0) {
            out.extend(&rest[..end]);
            out.extend(&rest[end + 5..end + 19]);
            rest = &rest[end + 19..];
        }
        out
    }

    /// The column names of a RowDescription.
    fn names(&self) -> Vec<String> {
        let count = u16::from_be_bytes([self.body[0], self.body[1]]);
        let mut rest = &self.body[2..];
        let mut names = Vec::new();
        for _ in 0..count {
            let end = rest.iter().position(|byte| *byte == 0).unwrap();
            names.push(String::from_utf8_lossy(&rest[..end]).into_owned());
            rest = &rest[end + 1 + 18..];
        }
        names
    }
}

/// All messages up to and with ReadyForQuery.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) messages: Vec<Message>,
}

impl Reply {
    /// The kinds in order, e.g. `TDCZ`.
    pub(crate) fn kinds(&self) -> String {
        self.messages.iter().map(|message| message.kind).collect()
    }

    fn of(&self, kind: char) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(move |message| message.kind == kind)
    }

    pub(crate) fn rows(&self) -> Vec<Vec<Option<String>>> {
        self.of('D').map(Message::values).collect()
    }

    pub(crate) fn columns(&self) -> Vec<String> {
        self.of('T').next().map(Message::names).unwrap_or_default()
    }

    /// The values of the column of this name, a row each.
    pub(crate) fn column(&self, name: &str) -> Vec<String> {
        let at = self.columns().iter().position(|column| column == name);
        let at = at.unwrap_or_else(|| panic!("no column {name} in {:?}", self.columns()));
        self.rows().into_iter().map(|row| row[at].clone().unwrap_or_default()).collect()
    }

    /// First value of the first row.
    pub(crate) fn value(&self) -> Option<String> {
        self.of('D').next().and_then(|row| row.values().into_iter().next().flatten())
    }

    pub(crate) fn tags(&self) -> Vec<String> {
        self.of('C').map(Message::text).collect()
    }

    pub(crate) fn error(&self) -> Option<Report> {
        self.of('E').next().map(Message::report)
    }

    pub(crate) fn error_code(&self) -> String {
        self.error().unwrap_or_else(|| panic!("no error in {}", self.kinds())).code
    }

    pub(crate) fn notices(&self) -> Vec<Report> {
        self.of('N').map(Message::report).collect()
    }

    /// Of the last ReadyForQuery: `I`, `T` or `E`.
    pub(crate) fn status(&self) -> char {
        self.messages.last().filter(|last| last.kind == 'Z').expect("ReadyForQuery").body[0] as char
    }

    /// Fails the test when the server reported an error.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Reply {
        if let Some(error) = self.error() {
            panic!("the server says {error:?}");
        }
        self
    }
}

/// A message under construction.
#[derive(Default)]
pub(crate) struct Body(pub(crate) Vec<u8>);

impl Body {
    pub(crate) fn text(mut self, text: &str) -> Body {
        self.0.extend(text.as_bytes());
        self.0.push(0);
        self
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Body {
        self.0.extend(bytes);
        self
    }

    pub(crate) fn int16(self, value: i16) -> Body {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn int32(self, value: i32) -> Body {
        self.bytes(&value.to_be_bytes())
    }
}
