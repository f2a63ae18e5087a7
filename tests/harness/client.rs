//! A small blocking client that speaks the protocol by hand, so that a test can send and see every message.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::cluster::Door;
use super::message::{Body, Message, Reply, Report};
use super::wait;

pub(crate) const PROTOCOL_3_0: i32 = 0x3_0000;
const CANCEL_REQUEST: i32 = 80_877_102;

pub(crate) struct Client {
    stream: TcpStream,
    out: Vec<u8>,
    port: u16,
    pub(crate) pid: i32,
    pub(crate) key: Vec<u8>,
    pub(crate) parameters: BTreeMap<String, String>,
    /// Messages that came with the start-up besides authentication, parameters and the key.
    pub(crate) greeting: Vec<Message>,
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(door: &Door) -> Client {
        Client::try_connect(door, &[]).unwrap_or_else(|error| panic!("connecting: {error:?}"))
    }

    /// Logs in without a password. `options` are further start-up parameters.
    pub(crate) fn try_connect(door: &Door, options: &[(&str, &str)]) -> Result<Client, Report> {
        Client::start(door, PROTOCOL_3_0, options)
    }

    pub(crate) fn start(door: &Door, version: i32, options: &[(&str, &str)]) -> Result<Client, Report> {
        let mut client = Client::open(door);
        client.introduce(door, version, options)?;
        Ok(client)
    }

    /// Logs in on an open connection.
    pub(crate) fn introduce(
        &mut self,
        door: &Door,
        version: i32,
        options: &[(&str, &str)],
    ) -> Result<(), Report> {
        let mut packet = Body::default().int32(version).text("user").text(&door.user);
        packet = packet.text("database").text(&door.database);
        for (name, value) in options {
            packet = packet.text(name).text(value);
        }
        self.send_packet(&packet.bytes(&[0]).0);
        self.log_in()
    }

    /// A connection on which nothing was said yet.
    pub(crate) fn open(door: &Door) -> Client {
        let stream = TcpStream::connect((door.host.as_str(), door.port)).expect("a listening server");
        stream.set_read_timeout(Some(wait::LIMIT)).unwrap();
        stream.set_write_timeout(Some(wait::LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client {
            stream,
            out: Vec::new(),
            port: door.port,
            pid: 0,
            key: Vec::new(),
            parameters: BTreeMap::new(),
            greeting: Vec::new(),
        }
    }

    fn log_in(&mut self) -> Result<(), Report> {
        loop {
            let message = self.read().map_err(|error| Report {
                severity: "CLOSED".to_owned(),
                code: String::new(),
                message: error.to_string(),
            })?;
            match message.kind {
                'R' if message.body == 0i32.to_be_bytes() => {}
                'R' => panic!("the server asks for a password: {:?}", message.body),
                'E' => return Err(message.report()),
                'K' => {
                    self.pid = i32::from_be_bytes(message.body[..4].try_into().unwrap());
                    self.key = message.body[4..].to_vec();
                }
                'S' => self.note_parameter(&message),
                'Z' => return Ok(()),
                _ => self.greeting.push(message),
            }
        }
    }

    fn note_parameter(&mut self, message: &Message) {
        let text = message.text();
        let (name, value) = text.split_once('\0').unwrap();
        self.parameters.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn local_port(&self) -> u16 {
        self.stream.local_addr().unwrap().port()
    }

    // Sending. Everything is collected until `send`.

    pub(crate) fn message(&mut self, kind: char, body: Body) -> &mut Client {
        self.out.push(kind as u8);
        self.out.extend((body.0.len() as i32 + 4).to_be_bytes());
        self.out.extend(body.0);
        self
    }

    pub(crate) fn parse(&mut self, name: &str, sql: &str) -> &mut Client {
        self.message('P', Body::default().text(name).text(sql).int16(0))
    }

    pub(crate) fn bind(&mut self, portal: &str, statement: &str, values: &[&str]) -> &mut Client {
        let mut body = Body::default().text(portal).text(statement).int16(0).int16(values.len() as i16);
        for value in values {
            body = body.int32(value.len() as i32).bytes(value.as_bytes());
        }
        self.message('B', body.int16(0))
    }

    /// `kind` is `S` for a statement, `P` for a portal.
    pub(crate) fn describe(&mut self, kind: char, name: &str) -> &mut Client {
        self.message('D', Body(vec![kind as u8]).text(name))
    }

    pub(crate) fn close(&mut self, kind: char, name: &str) -> &mut Client {
        self.message('C', Body(vec![kind as u8]).text(name))
    }

    pub(crate) fn execute(&mut self, portal: &str, max_rows: i32) -> &mut Client {
        self.message('E', Body::default().text(portal).int32(max_rows))
    }

    pub(crate) fn sync(&mut self) -> &mut Client {
        self.message('S', Body::default())
    }

    pub(crate) fn flush(&mut self) -> &mut Client {
        self.message('H', Body::default())
    }

    pub(crate) fn simple(&mut self, sql: &str) -> &mut Client {
        self.message('Q', Body::default().text(sql))
    }

    pub(crate) fn send(&mut self) -> &mut Client {
        let out = std::mem::take(&mut self.out);
        self.stream.write_all(&out).expect("sending");
        self
    }

    pub(crate) fn try_send(&mut self) -> io::Result<()> {
        let out = std::mem::take(&mut self.out);
        self.stream.write_all(&out)
    }

    /// A packet without a kind, as in the start-up.
    pub(crate) fn send_packet(&mut self, body: &[u8]) {
        self.out.extend((body.len() as i32 + 4).to_be_bytes());
        self.out.extend(body);
        self.send();
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sending");
    }

    // Receiving.

    pub(crate) fn read(&mut self) -> io::Result<Message> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head)?;
        let length = i32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body)?;
        Ok(Message { kind: head[0] as char, body })
    }

    pub(crate) fn read_bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Everything up to the first message of this kind, that one included. Parameters are noted and left out.
    #[track_caller]
    pub(crate) fn until(&mut self, kind: char) -> Reply {
        let mut reply = Reply::default();
        loop {
            let message = self.read().unwrap_or_else(|error| panic!("{error} after {:?}", reply.kinds()));
            if message.kind == 'S' {
                self.note_parameter(&message);
                continue;
            }
            let last = message.kind == kind;
            reply.messages.push(message);
            if last {
                return reply;
            }
        }
    }

    /// As `query`, for a server that may go away: the error is that of the connection.
    pub(crate) fn try_query(&mut self, sql: &str) -> io::Result<Reply> {
        self.simple(sql).try_send()?;
        let mut reply = Reply::default();
        while reply.messages.last().is_none_or(|message| message.kind != 'Z') {
            match self.read()? {
                message if message.kind == 'S' => self.note_parameter(&message),
                message => reply.messages.push(message),
            }
        }
        Ok(reply)
    }

    #[track_caller]
    pub(crate) fn until_ready(&mut self) -> Reply {
        self.until('Z')
    }

    /// Whether something has come that was not read yet.
    pub(crate) fn has_answer(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let there = matches!(self.stream.peek(&mut [0]), Ok(1..));
        self.stream.set_nonblocking(false).unwrap();
        there
    }

    /// True when the server has closed the connection; whatever came before is thrown away.
    pub(crate) fn is_closed_within(&mut self, limit: Duration) -> bool {
        self.stream.set_read_timeout(Some(limit)).unwrap();
        let end = Instant::now() + limit;
        let mut scrap = [0; 65536];
        let closed = loop {
            match self.stream.read(&mut scrap) {
                Ok(0) => break true,
                Ok(_) if Instant::now() > end => break false,
                Ok(_) => {}
                Err(error) => {
                    break !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
                }
            }
        };
        self.stream.set_read_timeout(Some(wait::LIMIT)).unwrap();
        closed
    }

    // Whole exchanges.

    #[track_caller]
    pub(crate) fn query(&mut self, sql: &str) -> Reply {
        self.simple(sql).send().until_ready()
    }

    /// The first value of a query that must succeed.
    #[track_caller]
    pub(crate) fn ask(&mut self, sql: &str) -> String {
        self.query(sql).succeeded().value().unwrap_or_default()
    }

    /// Parse, Bind, Describe, Execute and Sync with unnamed statement and portal.
    #[track_caller]
    pub(crate) fn extended(&mut self, sql: &str, values: &[&str]) -> Reply {
        self.parse("", sql).bind("", "", values).describe('P', "").execute("", 0).sync().send().until_ready()
    }

    /// Asks, over a connection of its own, to cancel what this client runs.
    pub(crate) fn cancel(&self) {
        let key = self.key.clone();
        self.cancel_with(&key);
    }

    pub(crate) fn cancel_with(&self, key: &[u8]) {
        let host = self.stream.peer_addr().unwrap().ip();
        let mut stream = TcpStream::connect((host, self.port)).unwrap();
        let body = Body::default().int32(CANCEL_REQUEST).int32(self.pid).bytes(key).0;
        let mut packet = (body.len() as i32 + 4).to_be_bytes().to_vec();
        packet.extend(body);
        stream.write_all(&packet).unwrap();
        stream.set_read_timeout(Some(wait::LIMIT)).unwrap();
        let _ = stream.read(&mut [0]);
    }

    /// Says goodbye; without it the connection just breaks.
    pub(crate) fn terminate(mut self) {
        self.message('X', Body::default());
        let _ = self.try_send();
        self.is_closed_within(Duration::from_secs(5));
    }
}
