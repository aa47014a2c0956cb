//! A real Redis on a port of its own.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

use super::{free_address, wait_for};

/// A Redis that ends with the test.
pub struct Redis {
    child: Child,
    address: SocketAddr,
    pub url: String,
}

impl Redis {
    pub fn start() -> Self {
        let address = free_address();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &address.port().to_string()])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let redis = Self {
            child,
            address,
            url: format!("redis://{address}"),
        };
        wait_for("Redis to answer", || {
            let mut client = TcpStream::connect(address).ok()?;
            client.write_all(b"PING\r\n").ok()?;
            let mut answer = [0; 7];
            client.read_exact(&mut answer).ok()?;
            (&answer == b"+PONG\r\n").then_some(())
        });
        redis
    }

    /// Returns the number of its keys.
    pub fn keys(&self) -> usize {
        let mut client = TcpStream::connect(self.address).expect("a connection");
        client.write_all(b"DBSIZE\r\n").expect("sent");
        let mut answer = String::new();
        BufReader::new(client)
            .read_line(&mut answer)
            .expect("an answer");
        let number = answer.trim().strip_prefix(':').expect("a number");
        number.parse().expect("a number")
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it has ended");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
