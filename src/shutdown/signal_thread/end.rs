use std::sync::mpsc;
use std::time::Duration;

use signal_hook::low_level;

use crate::stderr;

/// The time for the last line to reach its reader.
const LAST_LINE: Duration = Duration::from_millis(100);

/// Ends the process, after one line on standard error if that takes it.
pub(super) fn end(why: String, code: u8) -> ! {
    let (ended, wait) = mpsc::channel();
    // Another thread: standard error may be a pipe that is full, or locked by a thread that waits for it.
    let speaker = std::thread::Builder::new().spawn(move || {
        let line = format!("lameduck: the process is ended with exit code {code}: {why}");
        stderr::line(&line);
        let _ = ended.send(());
    });
    if speaker.is_ok() {
        let _ = wait.recv_timeout(LAST_LINE);
    }
    // Not `std::process::exit`, which writes buffered standard output, and may wait for that as long as everything else
    // does.
    low_level::exit(i32::from(code))
}
