//! The kernel's table of TCP sockets: which connections a server still holds.
//!
//! A client cannot always see that it was closed: one that does not read sees neither the end nor a reset. The kernel
//! knows: the socket of a process has an inode; one that was closed has none, or is gone.

use std::{collections::HashSet, fs};

use anyhow::{Context, Result};

/// Returns the client ports of the connections to `port` that a process on the server's side holds.
pub fn held(port: u16) -> Result<HashSet<u16>> {
    let mut clients = HashSet::new();
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match fs::read_to_string(path) {
            Ok(table) => clients.extend(table.lines().filter_map(|line| client_of(line, port))),
            // A kernel without IPv6 has no second table.
            Err(_) if path.ends_with('6') => {}
            Err(error) => return Err(error).context(path),
        }
    }
    Ok(clients)
}

/// Parses `sl local_address rem_address st queues timer retransmits uid timeout inode ..`, addresses as `hex:hex`.
fn client_of(line: &str, server_port: u16) -> Option<u16> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = fields.next()?;
    let remote = fields.next()?;
    let state = fields.next()?;
    let inode = fields.nth(5)?;
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    (port(local)? == server_port && state != LISTEN && inode != "0")
        .then(|| port(remote))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line() {
        let line = "   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 20 4 30 10 -1";
        assert_eq!(client_of(line, 8080), Some(50000));
        assert_eq!(client_of(line, 8081), None);
        assert_eq!(client_of(&line.replace(" 4242 ", " 0 "), 8080), None);
        assert_eq!(client_of(&line.replace(" 01 ", " 0A "), 8080), None);
        assert_eq!(client_of("  sl  local_address rem_address", 8080), None);
    }
}
