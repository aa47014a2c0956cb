//! Many keep-alive connections that have made one request each and are now silent.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use tokio::time;

use crate::http1::Connection;

const LIMIT: Duration = Duration::from_secs(30);

/// The arrival of a crowd.
#[derive(Clone, Copy, Debug)]
pub struct Waves {
    pub count: usize,
    pub size: usize,
    /// The pause between two waves.
    pub gap: Duration,
}

impl Waves {
    pub fn connections(&self) -> usize {
        self.count * self.size
    }
}

/// Opens the connections wave by wave; in each wave all connect, then all ask, then all read their answer.
pub async fn gather(addr: SocketAddr, waves: Waves) -> Result<Vec<Connection>> {
    let mut crowd = Vec::with_capacity(waves.connections());
    for wave in 0..waves.count {
        if wave > 0 {
            time::sleep(waves.gap).await;
        }
        let mut opened = try_join_all((0..waves.size).map(|_| Connection::open(addr, LIMIT)))
            .await
            .with_context(|| format!("opening the connections of wave {wave}"))?;
        let answers = try_join_all(opened.iter_mut().map(|one| one.get("/", LIMIT)))
            .await
            .with_context(|| format!("the requests of wave {wave}"))?;
        ensure!(
            answers.iter().all(|answer| answer.status == 200),
            "not every answer of wave {wave} was 200"
        );
        crowd.append(&mut opened);
    }
    Ok(crowd)
}
