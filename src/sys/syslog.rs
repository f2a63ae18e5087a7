//! syslog(3) of libc: it knows the local socket, the time format and the tag; we hand over text.

use std::ffi::{CString, c_int};
use std::sync::Mutex;

/// Facility LOCAL0 to LOCAL7 by number; others are taken as LOCAL0.
pub fn local_facility(number: u8) -> c_int {
    const FACILITIES: [c_int; 8] = [
        libc::LOG_LOCAL0,
        libc::LOG_LOCAL1,
        libc::LOG_LOCAL2,
        libc::LOG_LOCAL3,
        libc::LOG_LOCAL4,
        libc::LOG_LOCAL5,
        libc::LOG_LOCAL6,
        libc::LOG_LOCAL7,
    ];
    FACILITIES.get(usize::from(number)).copied().unwrap_or(libc::LOG_LOCAL0)
}

/// How urgent a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
}

// libc keeps the pointer of the last openlog, so the text must live until the next one.
static IDENT: Mutex<Option<CString>> = Mutex::new(None);

/// Opens the log under this name.
pub fn open(ident: &str, facility: c_int) {
    let ident = CString::new(ident.replace('\0', "")).unwrap_or_default();
    let mut kept = IDENT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // SAFETY: the text moves into IDENT below (a CString does not move its bytes), and the one libc had
    // until now is dropped only after libc took the new one.
    unsafe { libc::openlog(ident.as_ptr(), libc::LOG_PID | libc::LOG_NDELAY, facility) };
    *kept = Some(ident);
}

/// Hands one line over.
pub fn write(priority: Priority, line: &str) {
    let priority = match priority {
        Priority::Debug => libc::LOG_DEBUG,
        Priority::Info => libc::LOG_INFO,
        Priority::Notice => libc::LOG_NOTICE,
        Priority::Warning => libc::LOG_WARNING,
        Priority::Error => libc::LOG_ERR,
        Priority::Critical => libc::LOG_CRIT,
    };
    let Ok(line) = CString::new(line.replace('\0', " ")) else { return };
    // SAFETY: the format takes exactly one string, which lives until the call returns.
    unsafe { libc::syslog(priority, c"%s".as_ptr(), line.as_ptr()) };
}
