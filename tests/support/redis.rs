//! A Redis for one test.

// Each user uses a part of this module only.
#![allow(dead_code)]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A `redis-server` on a free port of 127.0.0.1; killed when it is dropped.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    dir: PathBuf,
    extra: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// Starts a server, and waits until it answers.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts a server with more options, `["--requirepass", "secret"]`.
    pub async fn with(extra: &[&str]) -> Self {
        let mut redis = Self::absent(extra).await;
        redis.run().await;
        redis
    }

    /// Reserves a port without a server until [`run`](Self::run).
    pub async fn absent(extra: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let dir = std::env::temp_dir().join(format!(
            "lameduck-redis-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        ));
        std::fs::create_dir_all(&dir).unwrap();
        Redis {
            port,
            dir,
            extra: extra.iter().map(|&word| word.to_owned()).collect(),
            child: None,
        }
    }

    /// Starts the server (again) on the same port.
    pub async fn run(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string()])
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(&self.dir)
            .args(&self.extra)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server has to be installed for this test");
        self.child = Some(child);
        let begin = Instant::now();
        while !self.answers().await {
            assert!(
                begin.elapsed() < Duration::from_secs(10),
                "redis-server does not answer"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)).await else {
            return false;
        };
        let mut answer = [0; 7];
        stream.write_all(b"PING\r\n").await.is_ok()
            && stream.read_exact(&mut answer).await.is_ok()
            && [&b"+PONG"[..], b"-NOAUTH"]
                .iter()
                .any(|known| answer.starts_with(known))
    }

    /// Returns `redis://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Returns `redis://who@127.0.0.1:port`.
    pub fn url_as(&self, who: &str) -> String {
        format!("redis://{who}@127.0.0.1:{}", self.port)
    }

    /// Sends SIGTERM or SIGKILL, and waits for the exit.
    pub fn stop(&mut self, signal: &str) {
        self.signal(signal);
        let mut child = self.child.take().unwrap();
        child.wait().unwrap();
    }

    /// Stops the server: the system accepts connections, and nothing answers.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Continues the server.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it does not run").id();
        let status = Command::new("kill")
            .args([format!("-{signal}"), pid.to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
