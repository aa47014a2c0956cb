//! The one thread of the process that receives its signals, and ends it when its grace is over.
//!
//! A plain thread, because neither may depend on a runtime: a signal may come before there is one, and the cause of a
//! late shutdown is often the one that blocks the runtime.

mod ear;
mod end;
mod subscriber;
mod subscription;
mod thread;

pub(super) use subscriber::Grace;
pub(super) use subscription::{Subscription, Unsubscribed};
