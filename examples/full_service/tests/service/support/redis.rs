//! A real Redis on a port of its own.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, free_address, wait_for};

/// A Redis that ends with the test.
pub struct Redis {
    child: Child,
    address: SocketAddr,
    pub url: String,
}

/// Starts a Redis without a disk, and waits until it answers.
fn start(address: SocketAddr) -> Child {
    let child = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--port", &address.port().to_string()])
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    wait_for("Redis to answer", || {
        let mut client = TcpStream::connect(address).ok()?;
        client.write_all(b"PING\r\n").ok()?;
        let mut answer = [0; 7];
        client.read_exact(&mut answer).ok()?;
        (&answer == b"+PONG\r\n").then_some(())
    });
    child
}

impl Redis {
    pub fn start() -> Self {
        let address = free_address();
        Self {
            child: start(address),
            address,
            url: format!("redis://{address}"),
        }
    }

    /// Starts it again after [`kill`](Self::kill), with nothing in it.
    pub fn restart(&mut self) {
        self.child = start(self.address);
    }

    /// Runs commands on one connection; returns the first line of each answer.
    pub fn run(&self, commands: &[&[&[u8]]]) -> Vec<String> {
        let mut client = TcpStream::connect(self.address).expect("a connection");
        client.set_read_timeout(Some(PATIENCE)).expect("a limit");
        let mut sent = Vec::new();
        for command in commands {
            sent.extend(format!("*{}\r\n", command.len()).bytes());
            for word in *command {
                sent.extend(format!("${}\r\n", word.len()).bytes());
                sent.extend_from_slice(word);
                sent.extend(b"\r\n");
            }
        }
        client.write_all(&sent).expect("sent");
        let lines = BufReader::new(client).lines().take(commands.len());
        let lines: io::Result<Vec<_>> = lines.collect();
        lines.expect("answers")
    }

    /// Returns the number of its keys.
    pub fn keys(&self) -> usize {
        let answers = self.run(&[&[b"DBSIZE"]]);
        let number = answers[0].strip_prefix(':').expect("a number");
        number.parse().expect("a number")
    }

    /// Stops it, as a machine that hangs does: the kernel accepts connections, and nothing answers.
    pub fn hang(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends [`hang`](Self::hang).
    pub fn wake(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is running");
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
