//! A server as a child process: its start, its signals, its exit and its memory.

use std::{
    fs::{self, File, OpenOptions},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tempfile::TempDir;
use tokio::{sync::oneshot, time};

use crate::{cores, http1};

/// The time within which a server must be ready.
const START_LIMIT: Duration = Duration::from_secs(10);

/// The description of a server's start; it starts the server again on the same port.
#[derive(Clone, Debug)]
pub struct ServerCommand {
    program: PathBuf,
    port: u16,
    env: Vec<(String, String)>,
    core: Option<usize>,
    log: Option<PathBuf>,
    /// Of its database; its restarts have the same. It is removed with the last clone.
    folder: Arc<TempDir>,
}

impl ServerCommand {
    /// Describes `program` on a port that is free now.
    pub fn new(program: &Path) -> Result<Self> {
        if !program.is_file() {
            bail!(
                "there is no server at {}: build it first (see the README beside this binary's sources)",
                program.display()
            );
        }
        Ok(Self {
            program: program.to_owned(),
            port: free_port()?,
            env: Vec::new(),
            core: None,
            log: None,
            folder: Arc::new(tempfile::tempdir().context("a folder for the server's database")?),
        })
    }

    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.push((name.to_owned(), value.to_string()));
        self
    }

    /// Pins the server to one core.
    pub fn core(mut self, core: usize) -> Self {
        self.core = Some(core);
        self
    }

    /// Appends the server's output to a file; otherwise it is discarded.
    pub fn log(mut self, path: Option<PathBuf>) -> Self {
        self.log = path;
        self
    }

    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    pub fn name(&self) -> String {
        let name = self.program.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    fn database(&self) -> String {
        format!(
            "sqlite://{}/orders.db?mode=rwc",
            self.folder.path().display()
        )
    }

    /// Starts the process without waiting until it is ready.
    pub fn spawn(&self) -> Result<ServerProcess> {
        let mut command = Command::new(&self.program);
        command
            .env("PORT", self.port.to_string())
            // These are the full service's settings: several must run side by side, none refuses one client that sends
            // a crowd, and a line for each request is not measured. Other servers ignore them.
            .env("ADMIN_PORT", "off")
            .env("RATE_LIMIT", "off")
            .env("DATABASE_URL", self.database())
            .env("LOG_LEVEL", "info,lameduck::access=off")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(self.output()?)
            .stderr(self.output()?);
        let mut child = cores::pinned(self.core, || command.spawn())?
            .with_context(|| format!("starting {}", self.program.display()))?;
        let pid = child.id();
        let pidfd = Pid::from_raw(pid.cast_signed())
            .ok_or_else(|| anyhow!("the process has no id"))
            .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?))
            .context("opening the process")?;
        // A thread that does nothing else notes the moment of the exit more exactly than a busy runtime could.
        let (sender, exit) = oneshot::channel();
        thread::spawn(move || {
            let status = child.wait();
            let _ = sender.send(status.map(|status| Exit {
                at: Instant::now(),
                status,
            }));
        });
        Ok(ServerProcess {
            name: self.name(),
            addr: self.addr(),
            pid,
            pidfd,
            exit: Some(exit),
        })
    }

    /// Starts the process and waits until `/readyz` is 200.
    pub async fn start(&self) -> Result<ServerProcess> {
        let mut server = self.spawn()?;
        server.wait_ready().await?;
        Ok(server)
    }

    fn output(&self) -> Result<Stdio> {
        let Some(path) = &self.log else {
            return Ok(Stdio::null());
        };
        let file: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| path.display().to_string())?;
        Ok(file.into())
    }
}

/// The time and the status of a process's exit.
#[derive(Clone, Copy, Debug)]
pub struct Exit {
    pub at: Instant,
    pub status: ExitStatus,
}

/// A running server; killed when dropped.
pub struct ServerProcess {
    name: String,
    addr: SocketAddr,
    pid: u32,
    /// Names this very process: a signal can never hit another one that was given the same number.
    pidfd: OwnedFd,
    exit: Option<oneshot::Receiver<io::Result<Exit>>>,
}

impl ServerProcess {
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < START_LIMIT {
            if let Ok(answer) = http1::get_once(self.addr, "/readyz", Duration::from_secs(1)).await
                && answer.status == 200
            {
                return Ok(());
            }
            if let Ok(exit) = self.wait_exit(Duration::from_millis(5)).await {
                bail!("{} ended before it was ready: {}", self.name, exit.status);
            }
        }
        bail!("{} was not ready after {START_LIMIT:?}", self.name)
    }

    /// Sends SIGTERM and returns the time.
    pub fn terminate(&self) -> Result<Instant> {
        let at = Instant::now();
        pidfd_send_signal(&self.pidfd, Signal::TERM).context("sending SIGTERM")?;
        Ok(at)
    }

    /// Waits until the process has ended, at most `limit`; after an error it can be waited for again.
    pub async fn wait_exit(&mut self, limit: Duration) -> Result<Exit> {
        let exit = self
            .exit
            .as_mut()
            .ok_or_else(|| anyhow!("{} was already waited for", self.name))?;
        let result = time::timeout(limit, exit)
            .await
            .with_context(|| format!("{} is still running after {limit:?}", self.name))?;
        self.exit = None;
        Ok(result.context("the waiting thread is gone")??)
    }

    /// Returns the resident memory in bytes, counted page by page (`VmRSS` is only approximate on newer kernels).
    pub fn resident(&self) -> Result<u64> {
        let path = format!("/proc/{}/smaps_rollup", self.pid);
        let text = fs::read_to_string(&path).context(path)?;
        text.lines()
            .find_map(|line| line.strip_prefix("Rss:"))
            .and_then(|rest| rest.split_ascii_whitespace().next())
            .and_then(|kilobytes| kilobytes.parse::<u64>().ok())
            .map(|kilobytes| kilobytes * 1024)
            .ok_or_else(|| anyhow!("no Rss in smaps_rollup"))
    }

    /// Returns the processor time of the main thread so far, which is all of it for a single-threaded server.
    pub fn main_thread_cpu(&self) -> Result<Duration> {
        let path = format!("/proc/{}/schedstat", self.pid);
        let text = fs::read_to_string(&path).context(path)?;
        text.split_ascii_whitespace()
            .next()
            .and_then(|nanos| nanos.parse().ok())
            .map(Duration::from_nanos)
            .ok_or_else(|| anyhow!("schedstat cannot be read"))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let Some(mut exit) = self.exit.take() else {
            return;
        };
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        // The port is free only when the process is gone, and the next server may want it at once. A killed process
        // is gone within milliseconds, so this may block.
        for _ in 0..1000 {
            if !matches!(exit.try_recv(), Err(oneshot::error::TryRecvError::Empty)) {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Returns a free port below the kernel's range of client ports: a client must not take a server's port during a
/// restart.
fn free_port() -> Result<u16> {
    (0..1000)
        .map(|_| fastrand::u16(20_000..32_000))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or_else(|| anyhow!("no free port between 20000 and 32000"))
}
