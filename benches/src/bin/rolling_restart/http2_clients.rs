//! Clients over HTTP/2 with prior knowledge: several share a connection, each with one stream at a time.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use h2::{Reason, client::SendRequest};
use http::{Method, Request};
use lameduck_benches::http1;
use tokio::{net::TcpStream, sync::Mutex, task::JoinSet, time};

use crate::{
    Load, REQUEST_LIMIT,
    fleet::Instance,
    requests::{self, Ask, Role, Roles},
    tally::Trouble,
};

/// A connection that several clients use.
#[derive(Clone)]
struct Open {
    instance: Arc<Instance>,
    sender: SendRequest<Bytes>,
    /// Distinguishes this connection from the next one in the same slot.
    generation: u64,
}

/// The slot of a group's shared connection; it is empty after a GOAWAY.
#[derive(Default)]
struct Slot {
    open: Option<Open>,
    generations: u64,
}

pub fn spawn(load: &Load, tasks: &mut JoinSet<()>, roles: Roles, streams: usize) {
    let all: Vec<_> = roles.all().collect();
    // Clients of one role share connections: a slow reader has a small receive buffer.
    for role in all.chunk_by(|one, next| one == next) {
        for group in role.chunks(streams) {
            let slot = Arc::new(Mutex::new(Slot::default()));
            for role in group {
                tasks.spawn(client(load.clone(), *role, slot.clone()));
            }
        }
    }
}

async fn client(load: Load, role: Role, slot: Arc<Mutex<Slot>>) {
    while !load.stopped() {
        load.think().await;
        let Some(open) = connection(&load, role, &slot).await else {
            continue;
        };
        let generation = open.generation;
        if !ask(&load, role, open).await {
            let mut slot = slot.lock().await;
            slot.open.take_if(|open| open.generation == generation);
        }
    }
}

/// Returns the group's connection, or a new one to a ready instance.
async fn connection(load: &Load, role: Role, slot: &Mutex<Slot>) -> Option<Open> {
    // Held while connecting: the others of the group wait for the same connection.
    let mut slot = slot.lock().await;
    if let Some(open) = &slot.open {
        return Some(open.clone());
    }
    let instance = requests::ready_instance(load).await?;
    let connecting = time::timeout(REQUEST_LIMIT, handshake(&instance, role)).await;
    let failure = match connecting {
        Ok(Ok(sender)) => {
            load.tally.connected();
            slot.generations += 1;
            slot.open = Some(Open {
                instance,
                sender,
                generation: slot.generations,
            });
            return slot.open.clone();
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no connection in time".to_owned(),
    };
    let how = format!("connecting failed: {failure}");
    load.tally.trouble(Trouble::Refused, Some(&instance), &how);
    None
}

async fn handshake(instance: &Instance, role: Role) -> anyhow::Result<SendRequest<Bytes>> {
    let stream = match role {
        Role::SlowReader => http1::connect_slow_reader(instance.addr()).await?,
        Role::Short | Role::Uploader => TcpStream::connect(instance.addr()).await?,
    };
    stream.set_nodelay(true)?;
    let (sender, connection) = h2::client::handshake(stream).await?;
    // The connection's streams report how it ended.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

/// Sends one request and judges its answer; `false` if the connection must not be reused.
async fn ask(load: &Load, role: Role, open: Open) -> bool {
    // After a GOAWAY, or the end of an idle connection, no request can be sent: nothing was written, nothing is lost.
    let ready = time::timeout(REQUEST_LIMIT, open.sender.ready()).await;
    let mut sender = match ready {
        Ok(Ok(sender)) => sender,
        Ok(Err(_)) => return false,
        Err(_) => {
            let how = "the connection takes no stream";
            load.tally.trouble(Trouble::Lost, Some(&open.instance), how);
            return false;
        }
    };
    let ask = Ask::of(role);
    let mut begun = false;
    let exchange = exchange(&mut sender, &open.instance, &ask, &mut begun);
    let (trouble, how) = match time::timeout(REQUEST_LIMIT, exchange).await {
        Ok(Ok((status, body))) => {
            requests::judge(load, &open.instance, &ask, status, &body);
            return true;
        }
        Ok(Err(_)) if !begun => return false,
        Ok(Err(Broken::Refused(error))) => (Trouble::Retriable, error.to_string()),
        Ok(Err(Broken::Lost(error))) => (Trouble::Lost, error.to_string()),
        Err(_) => (Trouble::Lost, "no complete answer in time".to_owned()),
    };
    let how = format!("{ask}: {how}");
    load.tally.trouble(trouble, Some(&open.instance), &how);
    false
}

enum Broken {
    /// The server declared that it did not process the stream.
    Refused(h2::Error),
    Lost(h2::Error),
}

impl From<h2::Error> for Broken {
    fn from(error: h2::Error) -> Self {
        let refused = error.is_remote()
            && (error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM)
                || error.is_go_away() && error.reason() == Some(Reason::NO_ERROR));
        if refused {
            Broken::Refused(error)
        } else {
            Broken::Lost(error)
        }
    }
}

/// Sends the request and reads the whole answer; `begun` is set once the stream was opened.
async fn exchange(
    sender: &mut SendRequest<Bytes>,
    instance: &Instance,
    ask: &Ask,
    begun: &mut bool,
) -> Result<(u16, BytesMut), Broken> {
    let (method, body) = match ask {
        Ask::Slow { .. } | Ask::Download => (Method::GET, None),
        Ask::Echo { body } | Ask::Upload { body } => {
            (Method::POST, Some(Bytes::from(body.clone())))
        }
    };
    let path = ask.path();
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = format!("http://{}{path}", instance.addr())
        .parse()
        .unwrap_or_default();
    let (response, mut stream) = sender.send_request(request, body.is_none())?;
    *begun = true;
    if let Some(mut body) = body {
        if let Ask::Upload { .. } = ask {
            let piece = body.len() / requests::UPLOAD_PIECES;
            while body.len() > piece {
                stream.send_data(body.split_to(piece), false)?;
                time::sleep(requests::UPLOAD_PAUSE).await;
            }
        }
        stream.send_data(body, true)?;
    }
    let response = response.await?;
    let status = response.status().as_u16();
    let mut incoming = response.into_body();
    let mut body = BytesMut::new();
    while let Some(chunk) = incoming.data().await {
        let chunk = chunk?;
        if let Ask::Download = ask {
            time::sleep(Duration::from_secs(1) * chunk.len() as u32 / requests::SLOW_RATE as u32)
                .await;
        }
        incoming.flow_control().release_capacity(chunk.len())?;
        body.extend_from_slice(&chunk);
    }
    // Trailers belong to a complete answer.
    incoming.trailers().await?;
    Ok((status, body))
}
