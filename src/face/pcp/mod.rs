//! The management core over PCP, the protocol of pgpool-II's `pcp_*` tools (`pcp.c` and `pcp_worker.c` there).
//!
//! Pure: bytes come in, packets and wishes go out. A packet is a type byte, a length word that counts itself, and a body
//! of strings that end with NUL. No version is ever told, so what differs between versions is chosen by
//! `pcp_node_info_format`. Only encodes: what is reported and what may be done is the matter of `admin`.
#![forbid(unsafe_code)]

mod conversation;
mod packet;
mod refusal;
mod report;
mod request;

pub use conversation::{Conversation, Next};
pub use refusal::Refusal;
pub use report::{Matter, done, matter, report};
pub use request::Request;
