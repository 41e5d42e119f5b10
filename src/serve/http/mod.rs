//! HTTP: connections, heads, bodies and their pace. Knows nothing of trees or machines beyond the answers of
//! [`super::endpoint`].

pub(crate) mod boots;
pub(crate) mod connection;
pub(crate) mod debts;
pub(crate) mod exchange;
pub(crate) mod field;
pub mod head;
pub(crate) mod http1;
pub mod limits;
pub(crate) mod linger;
pub mod listen;
pub(crate) mod patience;
mod places;
pub(crate) mod pulse;
pub(crate) mod room;
pub mod server;
pub(crate) mod shares;
pub(crate) mod stop;
pub(crate) mod tally;
pub mod tls;
