//! A real broker of MQTT on a free port, and its clients `mosquitto_sub` and `mosquitto_pub`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{ports, process, tools, wait};

/// A broker; gone when dropped.
pub(crate) struct Mosquitto {
    pub(crate) port: u16,
    pub(crate) dir: tempfile::TempDir,
    child: Child,
    /// What clients of the broker need to be let in.
    pub(crate) options: Vec<String>,
}

/// A message, as a subscriber gets it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Got {
    pub(crate) topic: String,
    pub(crate) payload: String,
    /// It was kept by the broker.
    pub(crate) retained: bool,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.payload).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}

impl Mosquitto {
    /// One that lets everybody in.
    pub(crate) fn start() -> Mosquitto {
        Mosquitto::start_with("allow_anonymous true\n", Vec::new())
    }

    /// With these lines of the configuration besides the listener's; `DIR` stands for the directory.
    pub(crate) fn start_with(lines: &str, options: Vec<String>) -> Mosquitto {
        let dir = process::server_dir("mosquitto");
        let port = ports::free();
        let lines = lines.replace("DIR", &dir.path().display().to_string());
        let text = format!("listener {port} 127.0.0.1\nmax_queued_messages 0\nlog_type all\n{lines}");
        process::write(&dir.path().join("mosquitto.conf"), text);
        let child = spawn(dir.path());
        let broker = Mosquitto { port, dir, child, options };
        broker.wait_listens();
        broker
    }

    fn wait_listens(&self) {
        let port = self.port;
        wait::until_true("mosquitto to listen", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    /// Its end, as by a power cut.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// After `kill`.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(self.dir.path());
        self.wait_listens();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) {
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// `mosquitto_sub` with these arguments, which gets messages from now on; the retained ones come first.
    pub(crate) fn subscribe(&self, arguments: &[&str]) -> Subscriber {
        let mut command = process::as_server_user(Path::new("mosquitto_sub"));
        command.args(["-h", "localhost", "-p", &self.port.to_string(), "-q", "2", "-F", "%r %t %p"]);
        command.args(&self.options).args(arguments).args(["-t", "probe/#"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let got = Arc::new(Mutex::new(Vec::new()));
        let (lines, all) = (BufReader::new(child.stdout.take().unwrap()).lines(), Arc::clone(&got));
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut parts = line.splitn(3, ' ');
                let retained = parts.next() == Some("1");
                let [topic, payload] =
                    [parts.next(), parts.next()].map(|part| part.unwrap_or_default().to_owned());
                all.lock().unwrap().push(Got { topic, payload, retained });
            }
        });
        let subscriber = Subscriber { got, child };
        let probe = format!("probe/{}", subscriber.child.id());
        // It is not known from outside when the broker has taken the subscription.
        wait::until_true("the subscription", || {
            self.publish(&probe, "?");
            subscriber.got.lock().unwrap().iter().any(|got: &Got| got.topic == probe)
        });
        subscriber
    }

    pub(crate) fn publish(&self, topic: &str, message: &str) {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "localhost", "-p", &self.port.to_string()]).args(&self.options);
        tools::run(command.args(["-t", topic, "-m", message])).succeeded();
    }
}

fn spawn(dir: &Path) -> Child {
    let path = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let mut command = process::as_server_user(Path::new(path.unwrap_or("mosquitto")));
    command.arg("-c").arg(dir.join("mosquitto.conf"));
    let log = File::options().create(true).append(true).open(dir.join("log")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "---- the end of the broker's log\n{}\n----",
                lines[lines.len().saturating_sub(15)..].join("\n")
            );
        }
    }
}

/// `mosquitto_sub` at work; gone when dropped.
pub(crate) struct Subscriber {
    got: Arc<Mutex<Vec<Got>>>,
    child: Child,
}

impl Subscriber {
    /// All that has come, but for probes.
    pub(crate) fn all(&self) -> Vec<Got> {
        let got = self.got.lock().unwrap();
        got.iter().filter(|got| !got.topic.starts_with("probe/")).cloned().collect()
    }

    /// The first message that fits.
    pub(crate) fn wait(&self, what: &str, fits: impl Fn(&Got) -> bool) -> Got {
        wait::until(what, wait::LIMIT, || self.all().into_iter().find(|got| fits(got)))
    }

    /// The first message of a topic that fits.
    pub(crate) fn wait_on(&self, topic: &str, fits: impl Fn(&Got) -> bool) -> Got {
        self.wait(topic, |got| got.topic == topic && fits(got))
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let all = self.all();
            eprintln!(
                "---- the end of what the subscriber got\n{:#?}\n----",
                &all[all.len().saturating_sub(15)..]
            );
        }
    }
}
