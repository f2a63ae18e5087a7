//! The start-up of a backend connection, from the first packet to ReadyForQuery. Pure: frames in, bytes out.
#![forbid(unsafe_code)]

use super::Failure;
use crate::auth::backend_leg::{self, AsKind, LoginError};
use crate::auth::pool_passwd::Secret;
use crate::auth::scram::SaltedKeys;
use crate::wire::{backend, frame::Header, frontend};

/// What a frame brought.
pub enum Progress {
    /// More frames must come; bytes to send may stand in the output.
    More,
    /// ReadyForQuery: the connection may be used.
    Ready,
}

/// A login under way.
pub struct Login {
    leg: backend_leg::Login,
    /// The process and secret of the server's side.
    pub pid: i32,
    pub cancel_key: Vec<u8>,
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Login {
    /// Begins; the start-up packet is in `out`.
    pub fn start(
        user: &str,
        database: &str,
        application_name: Option<&str>,
        options: &[(String, String)],
        secret: Option<&Secret>,
        nonce: String,
        out: &mut Vec<u8>,
    ) -> Login {
        let mut packet = vec![("user", user), ("database", database)];
        packet.extend(options.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        packet.extend(application_name.map(|name| ("application_name", name)));
        frontend::put_startup(out, crate::wire::PROTOCOL_3_0, &packet);
        Login {
            leg: backend_leg::Login::new(user, secret, nonce),
            pid: 0,
            cancel_key: Vec::new(),
            parameters: Vec::new(),
        }
    }

    /// Over a connection that is secured by the certificate of this hash.
    pub fn over(mut self, end_point: Option<Vec<u8>>) -> Login {
        self.leg = self.leg.over(end_point);
        self
    }

    /// How the backend asked for a proof.
    pub fn asked(&self) -> AsKind {
        self.leg.asked()
    }

    /// Takes one frame.
    ///
    /// # Errors
    /// The server refused, or does not speak the protocol.
    pub fn on(
        &mut self,
        header: Header,
        frame: &[u8],
        out: &mut Vec<u8>,
        keys: &mut SaltedKeys,
    ) -> Result<Progress, Failure> {
        let body = frame.get(5..).unwrap_or_default();
        let broken =
            |e: &dyn std::fmt::Display| Failure::protocol(format!("start-up answer not understood: {e}"));
        match header.kind {
            b'R' => {
                let message = backend::authentication(body).map_err(|e| broken(&e))?;
                self.leg.on(message, out, keys).map_err(|e| match e {
                    LoginError::NoSecret { .. } => Failure::no_password(e.to_string()),
                    _ => Failure::protocol(e.to_string()),
                })?;
            }
            b'S' => {
                let (name, value) = backend::parameter_status(body).map_err(|e| broken(&e))?;
                self.parameters.push((name.to_vec(), value.to_vec()));
            }
            b'K' => {
                let (pid, key) = backend::key_data(body).map_err(|e| broken(&e))?;
                self.pid = pid;
                self.cancel_key = key.to_vec();
            }
            b'Z' => return Ok(Progress::Ready),
            b'E' => {
                let fields = backend::error(body).map_err(|e| broken(&e))?;
                return Err(Failure::refused(frame.to_vec(), &fields));
            }
            b'N' | b'v' => {}
            kind => {
                return Err(Failure::protocol(format!("unexpected message {:?} at start-up", kind as char)));
            }
        }
        Ok(Progress::More)
    }
}
