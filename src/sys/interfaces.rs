//! The addresses of this host.
#![forbid(unsafe_code)]

use std::io;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

/// Each address with the mask of its network. The kernel answers at once.
///
/// # Errors
/// When the kernel does not say.
pub fn all() -> io::Result<Vec<(IpAddr, IpAddr)>> {
    Ok(getifaddrs()?.filter_map(|found| Some((ip(found.address?)?, ip(found.netmask?)?))).collect())
}

fn ip(address: SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_one_of_them() {
        let loopback = ("127.0.0.1".parse().unwrap(), "255.0.0.0".parse().unwrap());
        assert!(all().unwrap().contains(&loopback));
    }
}
