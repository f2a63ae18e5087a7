//! libpam: is this the password of this user, and may the account be used? Blocks as long as the modules like, and
//! these may sleep on purpose after a wrong password: never call it in a loop that serves others.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;

use zeroize::Zeroizing;

const SUCCESS: c_int = 0;
const CONVERSATION_ERROR: c_int = 19;
const RHOST: c_int = 4;

// Styles of messages (Linux-PAM's pam_appl.h).
const PROMPT_ECHO_OFF: c_int = 1;
const ERROR_MSG: c_int = 3;
const TEXT_INFO: c_int = 4;

/// Most messages of one call (PAM_MAX_NUM_MSG).
const MOST_MESSAGES: c_int = 32;

#[repr(C)]
struct Message {
    style: c_int,
    text: *const c_char,
}

#[repr(C)]
struct Response {
    text: *mut c_char,
    code: c_int,
}

#[repr(C)]
struct Conversation {
    call: unsafe extern "C" fn(c_int, *mut *const Message, *mut *mut Response, *mut c_void) -> c_int,
    data: *mut c_void,
}

/// Opaque to us.
enum Handle {}

#[link(name = "pam")]
unsafe extern "C" {
    fn pam_start(
        service: *const c_char,
        user: *const c_char,
        conversation: *const Conversation,
        handle: *mut *mut Handle,
    ) -> c_int;
    fn pam_end(handle: *mut Handle, status: c_int) -> c_int;
    fn pam_set_item(handle: *mut Handle, item: c_int, value: *const c_void) -> c_int;
    fn pam_authenticate(handle: *mut Handle, flags: c_int) -> c_int;
    fn pam_acct_mgmt(handle: *mut Handle, flags: c_int) -> c_int;
    fn pam_strerror(handle: *mut Handle, code: c_int) -> *const c_char;
}

/// Asks the service. `host` is where the user comes from, if not from here.
///
/// # Errors
/// What was refused and why, in PAM's words.
pub fn check(service: &str, user: &str, password: &str, host: Option<&str>) -> Result<(), String> {
    let no_nul = |_| "a name or the password has a zero byte".to_owned();
    let (service, user) = (CString::new(service).map_err(no_nul)?, CString::new(user).map_err(no_nul)?);
    let host = host.map(CString::new).transpose().map_err(no_nul)?;
    // Not into_bytes and back: each copy of a password must be wiped.
    let mut bytes = Zeroizing::new(Vec::with_capacity(password.len() + 1));
    bytes.extend_from_slice(password.as_bytes());
    bytes.push(0);
    let password =
        CStr::from_bytes_with_nul(&bytes).map_err(|_| "the password has a zero byte".to_owned())?;
    let conversation = Conversation { call: converse, data: password.as_ptr().cast_mut().cast() };
    let mut handle = ptr::null_mut();
    // SAFETY: the texts end with NUL; they, the conversation and the password live until pam_end.
    let started = unsafe { pam_start(service.as_ptr(), user.as_ptr(), &conversation, &mut handle) };
    if started != SUCCESS || handle.is_null() {
        return Err(format!("could not create PAM authenticator: {}", text(handle, started)));
    }
    let status = host.as_ref().map_or(SUCCESS, |host| {
        // SAFETY: pam_start made the handle; PAM copies the text.
        unsafe { pam_set_item(handle, RHOST, host.as_ptr().cast()) }
    });
    let mut failed = (status != SUCCESS).then_some(("pam_set_item(PAM_RHOST)", status));
    let steps: [(&str, unsafe extern "C" fn(*mut Handle, c_int) -> c_int); 2] =
        [("pam_authenticate", pam_authenticate), ("pam_acct_mgmt", pam_acct_mgmt)];
    for (name, step) in steps {
        if failed.is_none() {
            // SAFETY: pam_start made the handle, and all that its conversation needs is alive.
            let status = unsafe { step(handle, 0) };
            failed = (status != SUCCESS).then_some((name, status));
        }
    }
    let result = match failed {
        Some((step, status)) => Err(format!("{step} failed: {}", text(handle, status))),
        None => Ok(()),
    };
    // SAFETY: pam_start made the handle, and it is not used again.
    unsafe { pam_end(handle, failed.map_or(SUCCESS, |(_, status)| status)) };
    result
}

fn text(handle: *mut Handle, status: c_int) -> String {
    // SAFETY: Linux-PAM looks at the code alone; the text that it returns is constant.
    let text = unsafe { pam_strerror(handle, status) };
    if text.is_null() {
        return format!("error {status}");
    }
    // SAFETY: not null, so a text that ends with NUL.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Gives the password to whoever asks for something that is not to be seen, and says nothing to messages. Whatever
/// else is asked we cannot answer.
unsafe extern "C" fn converse(
    count: c_int,
    messages: *mut *const Message,
    responses: *mut *mut Response,
    data: *mut c_void,
) -> c_int {
    let Some(wanted) = usize::try_from(count).ok().filter(|_| (1..=MOST_MESSAGES).contains(&count)) else {
        return CONVERSATION_ERROR;
    };
    // SAFETY: the array is all zeros, so no text in it points anywhere. PAM frees it.
    let answers = unsafe { libc::calloc(wanted, size_of::<Response>()) }.cast::<Response>();
    if answers.is_null() {
        return CONVERSATION_ERROR;
    }
    for at in 0..wanted {
        // SAFETY: Linux-PAM gives `count` pointers to messages.
        let style = unsafe { (**messages.add(at)).style };
        match style {
            PROMPT_ECHO_OFF => {
                // SAFETY: `data` is the password of `check`, which waits for us; `at` is within the array.
                unsafe { (*answers.add(at)).text = libc::strdup(data.cast::<c_char>()) };
            }
            ERROR_MSG | TEXT_INFO => {}
            _ => {
                // SAFETY: the texts are ours, from strdup or null, and so is the array; nobody else has them.
                unsafe {
                    (0..at).for_each(|at| libc::free((*answers.add(at)).text.cast()));
                    libc::free(answers.cast());
                }
                return CONVERSATION_ERROR;
            }
        }
    }
    // SAFETY: PAM gives a place for the pointer.
    unsafe { *responses = answers };
    SUCCESS
}
