//! Pipelined HTTP/1 of any bytes, cut anywhere: the server and a strict reference agree on the requests and on the end
//! of each body, or the server has closed.
#![no_main]

#[path = "../serve/framing/differential.rs"]
mod differential;
#[path = "../serve/framing/reference.rs"]
mod reference;

use std::cell::LazyCell;

use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: LazyCell<Runtime> = LazyCell::new(|| {
        let mut builder = Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap()
    });
}

// The input is a mode, the number of cuts, the cuts, and the bytes: seeds are printable (`0` and up).
fuzz_target!(|data: &[u8]| {
    let [mode, count, rest @ ..] = data else {
        return;
    };
    let digit = |byte: u8| usize::from(byte.wrapping_sub(b'0'));
    let count = (digit(*count) % 8).min(rest.len());
    let (cuts, input) = rest.split_at(count);
    let mut cuts: Vec<_> = cuts
        .iter()
        .map(|cut| digit(*cut) * 3 % (input.len() + 1))
        .collect();
    cuts.sort_unstable();
    RUNTIME.with(|runtime| runtime.block_on(differential::compare(input, &cuts, digit(*mode))));
});
