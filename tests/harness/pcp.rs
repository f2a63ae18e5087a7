//! Clients of the PCP port: pgpool-II's own tools, and one that speaks the protocol by hand.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use pgbalancer::auth::pcp_conf;

use super::Balancer;
use super::tools::{Ran, run};
use super::wait;

/// Debian's tools; those of this version know the older layout of a node's row.
const TOOLS: &str = "/usr/sbin";

/// Our own tools under all their names, in a directory.
pub(crate) fn own_tools() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for tool in std::fs::read_dir(TOOLS).unwrap() {
        let name = tool.unwrap().file_name();
        if name.to_string_lossy().starts_with("pcp_") {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pcp"), dir.path().join(name)).unwrap();
        }
    }
    dir
}

pub(crate) const USER: &str = "operator";
pub(crate) const PASSWORD: &str = "operator_secret";

/// pcp.conf with the user: the digits are the MD5 of the password.
pub(crate) const CONF: (&str, &str) = ("pcp.conf", "# users\noperator:e627748cbde4b7f6884323adf5981000\n");

/// A tool with these arguments; it finds the password in a file.
pub(crate) fn tool(balancer: &Balancer, line: &str) -> Ran {
    run(&mut tool_command(balancer, line))
}

pub(crate) fn tool_command(balancer: &Balancer, line: &str) -> Command {
    let words = format!("{line} -w -U {USER}");
    bare_tool(balancer, &words, &format!("*:*:{USER}:{PASSWORD}"))
}

/// A tool as a line has it, with the line of a password file.
pub(crate) fn bare_tool(balancer: &Balancer, line: &str, password: &str) -> Command {
    tool_of(Path::new(TOOLS), balancer, line, password)
}

/// The same from another directory.
pub(crate) fn tool_of(tools: &Path, balancer: &Balancer, line: &str, password: &str) -> Command {
    let mut words = line.split_whitespace();
    // They wait for ever themselves; in the foreground they may ask at a terminal.
    let mut command = Command::new("timeout");
    command.args(["--foreground", "60"]).arg(tools.join(words.next().unwrap())).args(words);
    if !line.contains("-h ") {
        command.args(["-h", "localhost"]);
    }
    if !line.contains("-p ") {
        command.arg("-p").arg(balancer.pcp_port().to_string());
    }
    // A file for each: tools that run side by side must not read what another one's is written over.
    let file = balancer.dir.path().join(format!("pcppass.{}", password.replace([':', '*', '/'], "_")));
    if !file.exists() {
        std::fs::write(&file, format!("{password}\n")).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    command.env("PCPPASSFILE", file).stdin(Stdio::null());
    command
}

/// The numbers of `pcp_node_info`'s line of a node: status, and what stands behind the weight.
pub(crate) fn node(balancer: &Balancer, id: usize) -> Vec<String> {
    let line = tool(balancer, &format!("pcp_node_info {id}")).succeeded().out;
    line.split_whitespace().map(str::to_owned).collect()
}

/// A connection by hand.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
}

impl Raw {
    pub(crate) fn open(port: u16) -> Raw {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the PCP port");
        stream.set_read_timeout(Some(wait::LIMIT)).unwrap();
        stream.set_write_timeout(Some(wait::LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Raw { stream }
    }

    pub(crate) fn log_in(port: u16) -> Raw {
        let mut raw = Raw::open(port);
        raw.authenticate(USER, PASSWORD);
        assert_eq!(raw.receive(), Some(('r', b"AuthenticationOK\0".to_vec())));
        raw
    }

    /// Asks for a salt and says who it is; the answer is to be received.
    pub(crate) fn authenticate(&mut self, user: &str, password: &str) {
        self.send('M', b"");
        let Some(('m', salt)) = self.receive() else { panic!("no salt") };
        let said = pcp_conf::answer(user.as_bytes(), password.as_bytes(), salt.try_into().unwrap());
        self.send('R', format!("{user}\0{}\0", *said).as_bytes());
    }

    pub(crate) fn send(&mut self, kind: char, body: &[u8]) {
        self.write(&packet(kind, body));
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next packet; nothing when the connection is closed.
    pub(crate) fn receive(&mut self) -> Option<(char, Vec<u8>)> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body).ok()?;
        Some((char::from(head[0]), body))
    }

    /// The next packet is an error: its severity, text and detail.
    #[track_caller]
    pub(crate) fn refused(&mut self) -> [String; 3] {
        let Some(('E', body)) = self.receive() else { panic!("no error") };
        let text = String::from_utf8(body).unwrap();
        let field = |letter: char| {
            let mut fields = text.split('\0').filter_map(|field| field.strip_prefix(letter));
            fields.next().unwrap_or_default().to_owned()
        };
        ['S', 'M', 'D'].map(field)
    }

    /// Whether it is served.
    #[track_caller]
    pub(crate) fn is_served(&mut self) {
        self.send('L', b"");
        assert_eq!(self.receive(), Some(('l', b"CommandComplete\x003\0".to_vec())));
    }

    /// Waits for the end of the connection.
    #[track_caller]
    pub(crate) fn is_closed(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let ended = self.stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{rest:?}");
        if let Err(error) = ended {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    }
}

pub(crate) fn packet(kind: char, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[u8::try_from(kind).unwrap()][..], &length.to_be_bytes(), body].concat()
}
