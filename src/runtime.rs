//! Checks the runtime before it is needed: tokio panics at the place where a part of it is missed.

use std::panic::catch_unwind;
use std::time::Duration;

/// Checks that there is a runtime with timers.
pub(crate) fn check_timers() -> Result<(), &'static str> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(
            "no tokio runtime: start the server within one (`#[tokio::main]`, or one built with `enable_all`)",
        );
    }
    catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO)))
        .map_err(|_| "the tokio runtime has no timers: build it with `enable_all`")
}

/// Checks that there is a runtime with I/O.
pub(crate) fn check_io() -> Result<(), &'static str> {
    #[cfg(unix)]
    if catch_unwind(|| drop(tokio::net::UnixStream::pair())).is_err() {
        return Err("the tokio runtime has no I/O: build it with `enable_all`");
    }
    Ok(())
}
