//! The addresses of a rule.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Client, Host};

/// An address of this host, and the mask of the network that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    pub address: IpAddr,
    pub mask: IpAddr,
}

/// Clients that a rule speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    All,
    /// Any address of this host.
    SameHost,
    /// Any network that this host is in.
    SameNet,
    /// The host of this name, or with a dot in front all hosts of a domain.
    Name(String),
    V4 {
        network: u32,
        mask: u32,
    },
    V6 {
        network: u128,
        mask: u128,
    },
}

impl Address {
    /// A network from an address and a mask, which must be of one family.
    pub(super) fn masked(address: IpAddr, mask: IpAddr) -> Option<Self> {
        match (address, mask) {
            (IpAddr::V4(address), IpAddr::V4(mask)) => Some(Self::v4(address, mask.to_bits())),
            (IpAddr::V6(address), IpAddr::V6(mask)) => Some(Self::v6(address, mask.to_bits())),
            _ => None,
        }
    }

    /// A network from an address and the number of bits that count.
    pub(super) fn prefixed(address: IpAddr, bits: u32) -> Option<Self> {
        match address {
            IpAddr::V4(address) => {
                let shift = 32_u32.checked_sub(bits)?;
                Some(Self::v4(address, u32::MAX.checked_shl(shift).unwrap_or(0)))
            }
            IpAddr::V6(address) => {
                let shift = 128_u32.checked_sub(bits)?;
                Some(Self::v6(address, u128::MAX.checked_shl(shift).unwrap_or(0)))
            }
        }
    }

    fn v4(address: Ipv4Addr, mask: u32) -> Self {
        Self::V4 { network: address.to_bits() & mask, mask }
    }

    fn v6(address: Ipv6Addr, mask: u128) -> Self {
        Self::V6 { network: address.to_bits() & mask, mask }
    }

    /// The client, who has this address, is one of them; `None` where its host's name must be known to say so. An
    /// IPv4 client on an IPv6 socket counts as IPv4.
    pub(super) fn holds(&self, peer: IpAddr, client: &Client<'_>) -> Option<bool> {
        let peer = peer.to_canonical();
        Some(match (self, peer) {
            (Self::All, _) => true,
            (Self::V4 { network, mask }, IpAddr::V4(peer)) => peer.to_bits() & mask == *network,
            (Self::V6 { network, mask }, IpAddr::V6(peer)) => peer.to_bits() & mask == *network,
            (Self::V4 { .. } | Self::V6 { .. }, _) => false,
            (Self::SameHost, _) => (client.interfaces)().iter().any(|own| own.address.to_canonical() == peer),
            (Self::SameNet, _) => (client.interfaces)().iter().any(|own| own.network_holds(peer)),
            (Self::Name(wanted), _) => match client.host {
                Host::Unasked => return None,
                Host::Nameless => false,
                Host::Named(name) => is_named(name, wanted),
            },
        })
    }
}

impl Interface {
    fn network_holds(self, peer: IpAddr) -> bool {
        match (self.address, self.mask, peer) {
            (IpAddr::V4(own), IpAddr::V4(mask), IpAddr::V4(peer)) => {
                (own.to_bits() ^ peer.to_bits()) & mask.to_bits() == 0
            }
            (IpAddr::V6(own), IpAddr::V6(mask), IpAddr::V6(peer)) => {
                (own.to_bits() ^ peer.to_bits()) & mask.to_bits() == 0
            }
            _ => false,
        }
    }
}

/// Case makes no difference in names of hosts. As in PostgreSQL `.example.org` is not the host `example.org`.
fn is_named(name: &str, wanted: &str) -> bool {
    if !wanted.starts_with('.') {
        return name.eq_ignore_ascii_case(wanted);
    }
    let at = name.len().checked_sub(wanted.len()).filter(|at| *at > 0);
    at.and_then(|at| name.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(wanted))
}
