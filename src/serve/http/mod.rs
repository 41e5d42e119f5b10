//! HTTP: connections, heads, bodies and their pace. Knows nothing of trees or machines beyond the answers of
//! [`super::endpoint`].

pub mod boots;
pub mod connection;
mod debts;
pub mod exchange;
pub mod field;
pub mod head;
pub mod http1;
pub mod limits;
pub mod linger;
pub mod listen;
pub mod patience;
mod places;
pub mod pulse;
pub mod room;
pub mod server;
pub mod shares;
pub mod stop;
pub mod tally;
pub mod tls;
