//! One thread of the process hears its signals, and ends it when its grace is over.
//!
//! A plain thread, because neither may depend on a runtime: a signal may come before there is one, and
//! what holds a shutdown up is often what blocks the runtime.

mod ear;
mod end;
mod subscriber;
mod subscription;
mod thread;

pub(super) use subscriber::Grace;
pub(super) use subscription::{Deaf, Subscription};
