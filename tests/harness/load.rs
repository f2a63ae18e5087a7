//! Many clients at work side by side, and what becomes of what they do while the cluster changes below them.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::message::{Reply, Report};
use super::{Client, Door};

/// What the clients have met. Times count from the start.
#[derive(Default, Debug)]
pub(crate) struct Met {
    /// Pieces of work done.
    pub(crate) done: u64,
    /// Errors that a server or the program told, with the time.
    pub(crate) errors: Vec<(Duration, Report)>,
    /// Connections that broke.
    pub(crate) disconnects: Vec<(Duration, String)>,
    /// When a piece of work was done.
    times: Vec<Duration>,
}

impl Met {
    /// When work went on: the first that was done behind `moment`.
    pub(crate) fn first_after(&self, moment: Duration) -> Option<Duration> {
        self.times.iter().copied().filter(|at| *at > moment).min()
    }
}

/// Why a piece of work was not done.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The client goes on with the next piece.
    Told(Report),
    /// The client connects again.
    Broken(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Broken(error)
    }
}

/// Runs a statement; an error is an error.
pub(crate) fn run(client: &mut Client, sql: &str) -> Result<Reply, Failed> {
    let reply = client.try_query(sql)?;
    match reply.error() {
        Some(report) => Err(Failed::Told(report)),
        None => Ok(reply),
    }
}

/// Clients at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    started: Instant,
    met: Arc<Mutex<Met>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// So many clients do `work` (client, its number, the round) again and again until `end`.
    pub(crate) fn start(
        door: &Door,
        clients: usize,
        work: impl Fn(&mut Client, usize, u64) -> Result<(), Failed> + Send + Sync + 'static,
    ) -> Load {
        let (stop, met, work) = (Arc::new(AtomicBool::new(false)), Arc::default(), Arc::new(work));
        let started = Instant::now();
        let thread = |number: usize| {
            let (door, stop, met, work) =
                (door.clone(), Arc::clone(&stop), Arc::clone(&met), Arc::clone(&work));
            thread::spawn(move || {
                labour(&door, &stop, started, &met, |client, round| work(client, number, round))
            })
        };
        let threads = (0..clients).map(thread).collect();
        Load { stop, started, met, threads }
    }

    /// How long it has been running.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Pieces of work done by now.
    pub(crate) fn done(&self) -> u64 {
        self.met.lock().unwrap().done
    }

    /// Ends the work and tells what was met.
    pub(crate) fn end(mut self) -> Met {
        self.stop.store(true, Ordering::Relaxed);
        std::mem::take(&mut self.threads).into_iter().for_each(|thread| thread.join().unwrap());
        std::mem::take(&mut self.met.lock().unwrap())
    }
}

/// A test that failed has nobody left to work for.
impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn labour(
    door: &Door,
    stop: &AtomicBool,
    started: Instant,
    met: &Mutex<Met>,
    work: impl Fn(&mut Client, u64) -> Result<(), Failed>,
) {
    let mut client = None;
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let result = match client.take().map_or_else(|| Client::try_connect(door, &[]), Ok) {
            Ok(mut connected) => {
                let result = work(&mut connected, round);
                client = (!matches!(result, Err(Failed::Broken(_)))).then_some(connected);
                result
            }
            Err(report) => Err(Failed::Told(report)),
        };
        let at = started.elapsed();
        let mut met = met.lock().unwrap();
        match result {
            Ok(()) => {
                met.done += 1;
                met.times.push(at);
            }
            Err(Failed::Told(report)) => met.errors.push((at, report)),
            Err(Failed::Broken(error)) => met.disconnects.push((at, error.to_string())),
        }
    }
}
