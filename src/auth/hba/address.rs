//! The addresses of a rule.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Clients that a rule speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    All,
    V4 { network: u32, mask: u32 },
    V6 { network: u128, mask: u128 },
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

    /// The client is one of them. An IPv4 client on an IPv6 socket counts as IPv4.
    pub(super) fn holds(&self, peer: IpAddr) -> bool {
        match (self, peer.to_canonical()) {
            (Self::All, _) => true,
            (Self::V4 { network, mask }, IpAddr::V4(peer)) => peer.to_bits() & mask == *network,
            (Self::V6 { network, mask }, IpAddr::V6(peer)) => peer.to_bits() & mask == *network,
            _ => false,
        }
    }
}
