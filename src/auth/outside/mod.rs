//! What only others know of a client: its host's name, and whether LDAP or PAM takes its password. They may answer
//! late or never, so they are asked in threads: no loop waits for them. All is bounded, since whoever connects makes
//! us ask. Not pure, unlike the rest of `auth`; a worker owns one [`Outside`].
#![forbid(unsafe_code)]

#[cfg(feature = "ldap")]
mod ldap;

use std::collections::VecDeque;
use std::net::{IpAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::hba;
use super::password::Password;
use crate::net::Waker;
use crate::sys::names::host_name;

/// Most threads of one lane. An LDAP server that hangs costs so many, and not those that look up names.
const MOST_THREADS: usize = 16;

/// Most questions of one lane that wait for a thread.
const MOST_WAITING: usize = 1024;

/// Bytes of a thread's stack: PAM modules and TLS are no deeper.
const STACK: usize = 1 << 20;

/// Which session asks: its slot and its number.
pub type Asker = (u32, u64);

/// What is asked.
#[derive(Debug)]
pub enum Question {
    /// The name of the host at this address.
    Host(IpAddr),
    Pam {
        options: Arc<hba::Pam>,
        user: String,
        password: Password,
        /// Where the client comes from; its name is looked up if the options say so.
        from: Option<IpAddr>,
    },
    Ldap {
        options: Arc<hba::Ldap>,
        user: String,
        password: Password,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The name, if there is one that leads back to the address.
    Host(Option<String>),
    /// The password is right, or why nobody is let in, for the log.
    Checked(Result<(), String>),
    /// Nobody could be asked; the text says why.
    Failed(String),
}

/// Questions of one kind.
#[derive(Default)]
struct Lane {
    running: usize,
    waiting: VecDeque<(Asker, Question)>,
}

/// The questions of this process.
pub struct Outside {
    waker: Waker,
    sender: Sender<(bool, Asker, Answer)>,
    receiver: Receiver<(bool, Asker, Answer)>,
    ask: fn(Question) -> Answer,
    names: Lane,
    passwords: Lane,
}

impl Outside {
    /// Rings `waker` for every answer.
    pub fn new(waker: Waker) -> Self {
        Self::with(waker, answer)
    }

    fn with(waker: Waker, ask: fn(Question) -> Answer) -> Self {
        let (sender, receiver) = channel();
        Self { waker, sender, receiver, ask, names: Lane::default(), passwords: Lane::default() }
    }

    /// Asks; the answer comes with [`Outside::collect`].
    ///
    /// # Errors
    /// Too many questions wait, or there is no thread for it.
    pub fn ask(&mut self, asker: Asker, question: Question) -> Result<(), String> {
        let is_name = matches!(question, Question::Host(_));
        let lane = self.lane(is_name);
        if lane.running < MOST_THREADS {
            return self.start(is_name, asker, question);
        }
        if lane.waiting.len() >= MOST_WAITING {
            return Err(format!("{MOST_WAITING} other clients wait for an answer already"));
        }
        lane.waiting.push_back((asker, question));
        Ok(())
    }

    /// The answers that have come in; called when the waker rang. What waited is asked now, unless its session is
    /// over, which `is_there` tells.
    pub fn collect(&mut self, is_there: impl Fn(Asker) -> bool) -> Vec<(Asker, Answer)> {
        let mut found = Vec::new();
        while let Ok((is_name, asker, answer)) = self.receiver.try_recv() {
            self.lane(is_name).running -= 1;
            found.push((asker, answer));
        }
        for is_name in [true, false] {
            while self.lane(is_name).running < MOST_THREADS
                && let Some((asker, question)) = self.lane(is_name).waiting.pop_front()
            {
                if is_there(asker)
                    && let Err(text) = self.start(is_name, asker, question)
                {
                    found.push((asker, Answer::Failed(text)));
                }
            }
        }
        found
    }

    fn lane(&mut self, is_name: bool) -> &mut Lane {
        if is_name { &mut self.names } else { &mut self.passwords }
    }

    fn start(&mut self, is_name: bool, asker: Asker, question: Question) -> Result<(), String> {
        let ask = self.ask;
        let started = self.waker.after("outside", STACK, &self.sender, move || {
            let answer = catch_unwind(AssertUnwindSafe(|| ask(question)));
            let answer =
                answer.unwrap_or_else(|_| Answer::Failed("the thread that asked has panicked".into()));
            (is_name, asker, answer)
        });
        started.map_err(|e| format!("cannot start a thread for it: {e}"))?;
        self.lane(is_name).running += 1;
        Ok(())
    }
}

/// Asks and waits.
fn answer(question: Question) -> Answer {
    match question {
        Question::Host(ip) => Answer::Host(verified_name(ip)),
        Question::Pam { options, user, password, from } => {
            Answer::Checked(ask_pam(&options, &user, &password, from))
        }
        Question::Ldap { options, user, password } => Answer::Checked(ask_ldap(&options, &user, &password)),
    }
}

/// As PostgreSQL: whoever rules over the addresses may say that they have any name, so it must lead back.
fn verified_name(ip: IpAddr) -> Option<String> {
    let ip = ip.to_canonical();
    let name = host_name(ip)?;
    let mut found = (name.as_str(), 0).to_socket_addrs().ok()?;
    found.any(|address| address.ip().to_canonical() == ip).then_some(name)
}

#[cfg(feature = "pam")]
fn ask_pam(options: &hba::Pam, user: &str, password: &str, from: Option<IpAddr>) -> Result<(), String> {
    let host = from.map(|ip| match options.use_hostname {
        true => host_name(ip).unwrap_or_else(|| ip.to_string()),
        false => ip.to_string(),
    });
    let host = host.as_deref().or(Some("[local]"));
    crate::ffi::pam::check(&options.service, user, password, host)
}

#[cfg(not(feature = "pam"))]
fn ask_pam(_: &hba::Pam, _: &str, _: &str, _: Option<IpAddr>) -> Result<(), String> {
    Err("this program was built without PAM".to_owned())
}

#[cfg(feature = "ldap")]
use ldap::check as ask_ldap;

#[cfg(not(feature = "ldap"))]
fn ask_ldap(_: &hba::Ldap, _: &str, _: &str) -> Result<(), String> {
    Err("this program was built without LDAP".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use super::*;

    static DAM: Mutex<()> = Mutex::new(());

    fn slow(question: Question) -> Answer {
        match question {
            Question::Host(ip) => Answer::Host(Some(ip.to_string())),
            Question::Pam { user, .. } => {
                assert_ne!(user, "panic");
                Answer::Checked(Err(user))
            }
            Question::Ldap { .. } => {
                drop(DAM.lock());
                Answer::Checked(Ok(()))
            }
        }
    }

    fn ldap() -> Question {
        let finding = hba::Finding::Made { prefix: String::new(), suffix: String::new() };
        let options = hba::Ldap {
            servers: Vec::new(),
            port: 0,
            is_ldaps: false,
            start_tls: false,
            finding,
            backend_use_password: false,
        };
        Question::Ldap {
            options: Arc::new(options),
            user: "ann".into(),
            password: Password::new("pw".to_owned().into()),
        }
    }

    fn pam(user: &str) -> Question {
        let options = Arc::new(hba::Pam { service: "x".into(), use_hostname: false });
        Question::Pam {
            options,
            user: user.into(),
            password: Password::new("pw".to_owned().into()),
            from: None,
        }
    }

    /// All answers up to this many, of sessions whose slots are below 2000.
    fn collect(outside: &mut Outside, count: usize) -> Vec<(Asker, Answer)> {
        let begin = Instant::now();
        let mut found = Vec::new();
        while found.len() < count {
            assert!(begin.elapsed() < Duration::from_secs(20), "{}", found.len());
            found.extend(outside.collect(|(slot, _)| slot < 2000));
            std::thread::yield_now();
        }
        found
    }

    #[test]
    fn one_that_does_not_answer_holds_only_its_own_kind_up() {
        let mut outside = Outside::with(Waker::new().unwrap(), slow);
        let held = DAM.lock().unwrap();
        let all = MOST_THREADS + MOST_WAITING;
        for slot in 0..all {
            assert_eq!(outside.ask((slot as u32, 1), ldap()), Ok(()));
        }
        assert!(outside.ask((9999, 1), ldap()).is_err(), "no more than that wait");
        let ip = IpAddr::from([10, 0, 0, 1]);
        outside.ask((7, 7), Question::Host(ip)).unwrap();
        assert_eq!(collect(&mut outside, 1), [((7, 7), Answer::Host(Some("10.0.0.1".into())))]);
        drop(held);
        assert!(collect(&mut outside, all).iter().all(|(_, answer)| *answer == Answer::Checked(Ok(()))));
        assert_eq!((outside.passwords.running, outside.names.running), (0, 0));
    }

    #[test]
    fn what_waits_for_a_client_who_has_gone_is_not_asked() {
        let mut outside = Outside::with(Waker::new().unwrap(), slow);
        let held = DAM.lock().unwrap();
        for slot in 0..MOST_THREADS {
            outside.ask((slot as u32, 1), ldap()).unwrap();
        }
        outside.ask((2000, 1), pam("gone")).unwrap();
        outside.ask((1999, 1), pam("there")).unwrap();
        drop(held);
        let found = collect(&mut outside, MOST_THREADS + 1);
        assert!(found.contains(&((1999, 1), Answer::Checked(Err("there".into())))));
        assert!(found.iter().all(|((slot, _), _)| *slot != 2000));
    }

    #[test]
    fn a_panic_is_an_answer_too() {
        let mut outside = Outside::with(Waker::new().unwrap(), slow);
        outside.ask((1, 1), pam("panic")).unwrap();
        assert!(matches!(&collect(&mut outside, 1)[..], [(_, Answer::Failed(_))]));
    }

    #[test]
    fn a_name_must_lead_back() {
        assert!(verified_name("127.0.0.1".parse().unwrap()).is_some_and(|name| name.contains("localhost")));
        assert_eq!(verified_name("192.0.2.77".parse().unwrap()), None);
    }
}
