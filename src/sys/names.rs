//! The name of a host by its address, as the system's resolver knows it.

use std::ffi::CStr;
use std::net::{IpAddr, SocketAddr};

use nix::sys::socket::{SockaddrLike, SockaddrStorage};

/// The name of the host at this address. Waits for name servers: never call it in a loop that serves others.
pub fn host_name(ip: IpAddr) -> Option<String> {
    let address = SockaddrStorage::from(SocketAddr::new(ip, 0));
    let mut name = [0; libc::NI_MAXHOST as usize];
    // SAFETY: the address and the buffer live until the call returns, each with its own length; no service is asked
    // for, so the null pointer with length zero is what the function takes.
    let result = unsafe {
        libc::getnameinfo(
            address.as_ptr(),
            address.len(),
            name.as_mut_ptr(),
            libc::NI_MAXHOST,
            std::ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    if result != 0 {
        return None;
    }
    // SAFETY: on success the buffer holds a text that ends with NUL.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy();
    (!name.is_empty()).then(|| name.replace(|c: char| c.is_control() || c.is_whitespace(), "?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_a_name_and_a_documentation_address_has_none() {
        assert!(host_name("127.0.0.1".parse().unwrap()).is_some_and(|name| name.contains("localhost")));
        assert_eq!(host_name("192.0.2.77".parse().unwrap()), None);
    }
}
