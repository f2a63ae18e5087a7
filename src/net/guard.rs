//! TLS over connections: what OpenSSL reads and writes is memory, so it does not matter how the sockets are served.
//!
//! What a session sends in one turn leaves as one record, as far as it fits in one. What arrives is opened to its end
//! at once, so nothing that was read stays behind in OpenSSL when a connection is paused.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use openssl::ssl::{Error, ErrorCode, Ssl, SslStream};

use super::{Chunk, ConnId, Event, Home, Owner};
use crate::tls::{Secured, reasons};

/// Most bytes of one record, and from here on bytes are sealed at once and not queued first.
const RECORD: usize = 16 * 1024;

/// Room for what a chunk opens to: a chunk, and what was left of a record before it.
const PLAIN: usize = 96 * 1024;

/// What OpenSSL takes for a socket.
struct Memory {
    input: Option<Chunk>,
    at: usize,
    output: Vec<u8>,
}

impl Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.input.as_ref().and_then(|chunk| chunk.bytes().get(self.at..)).unwrap_or_default();
        if rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = rest.len().min(buffer.len());
        buffer.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        self.at += length;
        Ok(length)
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One connection.
struct Guard {
    generation: u32,
    owner: Owner,
    stream: SslStream<Memory>,
    /// The handshake is done.
    is_open: bool,
    /// To be sealed at the end of the turn, or of the handshake.
    plain: Vec<u8>,
    dirty: bool,
}

/// How a piece of input has ended.
enum End {
    /// More may come.
    Open,
    /// The connection is over, with the reason.
    Over(String),
}

/// All connections with TLS.
#[derive(Default)]
pub(super) struct Guards {
    guards: Vec<Option<Box<Guard>>>,
    count: usize,
    dirty: Vec<ConnId>,
    spare: Vec<Box<[u8]>>,
    pub(super) pending: VecDeque<Event>,
}

impl Guards {
    /// There are none: every question has a cheap answer.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn has(&self, id: ConnId) -> bool {
        self.count > 0
            && matches!(self.guards.get(id.index as usize),
                Some(Some(guard)) if guard.generation == id.generation)
    }

    fn get(&mut self, id: ConnId) -> Option<&mut Guard> {
        self.guards
            .get_mut(id.index as usize)?
            .as_deref_mut()
            .filter(|guard| guard.generation == id.generation)
    }

    pub(super) fn add(&mut self, id: ConnId, owner: Owner, ssl: Ssl) -> Result<(), String> {
        let memory = Memory { input: None, at: 0, output: Vec::new() };
        let stream = SslStream::new(ssl, memory).map_err(|e| reasons(&e))?;
        let index = id.index as usize;
        if self.guards.len() <= index {
            self.guards.resize_with(index + 1, || None);
        }
        let guard = Guard {
            generation: id.generation,
            owner,
            stream,
            is_open: false,
            plain: Vec::new(),
            dirty: false,
        };
        if let Some(place) = self.guards.get_mut(index)
            && place.replace(Box::new(guard)).is_none()
        {
            self.count += 1;
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, id: ConnId) {
        if self.has(id)
            && let Some(place) = self.guards.get_mut(id.index as usize)
        {
            *place = None;
            self.count -= 1;
        }
    }

    /// Takes bytes to be sent; what is sealed goes to `out`.
    pub(super) fn send(&mut self, id: ConnId, bytes: &[u8], out: &mut dyn FnMut(&[u8])) {
        let Some(guard) = self.get(id) else { return };
        if !guard.is_open {
            guard.plain.extend_from_slice(bytes);
            return;
        }
        if guard.plain.len() + bytes.len() > RECORD {
            guard.seal();
        }
        if bytes.len() > RECORD {
            guard.write(bytes);
        } else {
            guard.plain.extend_from_slice(bytes);
        }
        guard.leave(out);
        if !guard.plain.is_empty() && !std::mem::replace(&mut guard.dirty, true) {
            self.dirty.push(id);
        }
    }

    /// The next connection with something to seal.
    pub(super) fn next_dirty(&mut self) -> Option<ConnId> {
        self.dirty.pop()
    }

    /// Seals what waits.
    pub(super) fn seal(&mut self, id: ConnId, out: &mut dyn FnMut(&[u8])) {
        if let Some(guard) = self.get(id).filter(|guard| guard.is_open) {
            guard.dirty = false;
            guard.seal();
            guard.leave(out);
        }
    }

    /// Seals what waits, and that nothing comes after it.
    pub(super) fn finish(&mut self, id: ConnId, out: &mut dyn FnMut(&[u8])) {
        if let Some(guard) = self.get(id) {
            if guard.is_open {
                guard.seal();
                // That the peer did not say goodbye is no matter of ours any more.
                let _ = guard.stream.shutdown();
            }
            guard.leave(out);
        }
        self.remove(id);
    }

    /// Opens what has arrived, or goes on with the handshake. Returns the chunk, and why the connection is over if it is.
    pub(super) fn receive(
        &mut self,
        id: ConnId,
        chunk: Option<Chunk>,
        out: &mut dyn FnMut(&[u8]),
    ) -> (Option<Chunk>, Option<(Owner, String)>) {
        let mut spare = std::mem::take(&mut self.spare);
        let mut events = std::mem::take(&mut self.pending);
        let Some(guard) = self.get(id) else { return (chunk, None) };
        guard.stream.get_mut().input = chunk;
        guard.stream.get_mut().at = 0;
        let mut end = End::Open;
        if !guard.is_open {
            end = guard.shake_hands(id, &mut events);
        }
        if guard.is_open {
            end = guard.open(id, &mut spare, &mut events);
        }
        guard.leave(out);
        let (chunk, owner) = (guard.stream.get_mut().input.take(), guard.owner);
        (self.spare, self.pending) = (spare, events);
        match end {
            End::Open => (chunk, None),
            End::Over(reason) => (chunk, Some((owner, reason))),
        }
    }

    pub(super) fn give_back(&mut self, data: Box<[u8]>) {
        if self.spare.len() < 2 {
            self.spare.push(data);
        }
    }
}

impl Guard {
    fn shake_hands(&mut self, id: ConnId, events: &mut VecDeque<Event>) -> End {
        match self.stream.do_handshake() {
            Ok(()) => {
                self.is_open = true;
                let secured = Box::new(Secured::of(self.stream.ssl()));
                events.push_back(Event::Secured(id, self.owner, secured));
                self.seal();
                End::Open
            }
            Err(error) if error.code() == ErrorCode::WANT_READ => End::Open,
            Err(error) => End::Over(self.reason(&error)),
        }
    }

    /// Opens all that has arrived.
    fn open(&mut self, id: ConnId, spare: &mut Vec<Box<[u8]>>, events: &mut VecDeque<Event>) -> End {
        loop {
            let mut data = spare.pop().unwrap_or_else(|| vec![0; PLAIN].into_boxed_slice());
            let (length, end) = self.fill(&mut data);
            if length > 0 {
                events.push_back(Event::Received(id, self.owner, Chunk { data, length, home: Home::Guards }));
            } else {
                spare.push(data);
            }
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Fills a buffer; without an end there is more than it holds.
    fn fill(&mut self, data: &mut [u8]) -> (usize, Option<End>) {
        let mut length = 0;
        while let Some(room) = data.get_mut(length..).filter(|room| !room.is_empty()) {
            match self.stream.ssl_read(room) {
                Ok(read) => length += read,
                Err(error) => {
                    let end = match error.code() {
                        ErrorCode::WANT_READ => End::Open,
                        ErrorCode::ZERO_RETURN => End::Over("connection closed by peer".to_owned()),
                        _ => End::Over(self.reason(&error)),
                    };
                    return (length, Some(end));
                }
            }
        }
        (length, None)
    }

    /// Seals what waits.
    fn seal(&mut self) {
        let plain = std::mem::take(&mut self.plain);
        self.write(&plain);
        if plain.capacity() <= RECORD {
            self.plain = plain;
            self.plain.clear();
        }
    }

    /// Memory takes everything. A connection that has failed takes nothing more, and its end is told by who reads.
    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.stream.ssl_write(bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(_) => return,
            }
        }
    }

    /// What OpenSSL has written goes to the socket.
    fn leave(&mut self, out: &mut dyn FnMut(&[u8])) {
        let output = &mut self.stream.get_mut().output;
        if !output.is_empty() {
            out(output);
            output.clear();
            if output.capacity() > 2 * RECORD {
                *output = Vec::new();
            }
        }
    }

    fn reason(&self, error: &Error) -> String {
        let verdict = self.stream.ssl().verify_result();
        match error.ssl_error() {
            Some(errors) if verdict.as_raw() != 0 => {
                format!("TLS: {}: {}", reasons(errors), verdict.error_string())
            }
            Some(errors) => format!("TLS: {}", reasons(errors)),
            None => format!("TLS: {error}"),
        }
    }
}
