//! Cluster API: what prebake makes for it, judged by its own programs, webhooks and controllers, and a machine that boots with it.

mod bootstrap;
mod flavor;
mod judges;
#[cfg(feature = "cluster")]
mod live;
mod machine;
mod moved;
#[cfg(feature = "cluster")]
mod secrets;
