//! Keep-alive clients over HTTP/1: one connection and one request at a time each.

use std::sync::Arc;

use lameduck_benches::http1::{self, Answer, Connection, Failure, Idle};
use tokio::task::JoinSet;

use crate::{
    Load, REQUEST_LIMIT,
    fleet::Instance,
    requests::{self, Ask},
    tally::Trouble,
};

pub fn spawn(load: &Load, tasks: &mut JoinSet<()>, clients: usize) {
    for _ in 0..clients {
        tasks.spawn(client(load.clone()));
    }
}

async fn client(load: Load) {
    let mut open: Option<(Arc<Instance>, Connection)> = None;
    while !load.stopped() {
        open = match open {
            None => connect(&load).await,
            Some((instance, connection)) => use_once(&load, &instance, connection)
                .await
                .map(|connection| (instance, connection)),
        };
    }
}

async fn connect(load: &Load) -> Option<(Arc<Instance>, Connection)> {
    let instance = requests::ready_instance(load).await?;
    match Connection::open(instance.addr(), REQUEST_LIMIT).await {
        Ok(connection) => {
            load.tally.connected();
            Some((instance, connection))
        }
        Err(failure) => {
            let how = failure.to_string();
            load.tally.trouble(Trouble::Refused, Some(&instance), &how);
            None
        }
    }
}

/// Thinks, asks, reads; gives the connection back if it can be used again.
async fn use_once(
    load: &Load,
    instance: &Instance,
    mut connection: Connection,
) -> Option<Connection> {
    // A client in a pool notices that its idle connection was closed; what is left is the race that a drain must win.
    let idle = tokio::select! {
        idle = connection.until_not_idle() => idle,
        () = load.think() => connection.look(),
    };
    match idle {
        Idle::Open => {}
        Idle::Closed => return None,
        Idle::Talks => {
            let how = "the server talked on an idle connection";
            load.tally.trouble(Trouble::Wrong, Some(instance), how);
            return None;
        }
    }
    let ask = Ask::any();
    let request = match &ask {
        Ask::Slow { path } => http1::get_request(path),
        Ask::Echo { body } => http1::post_request("/echo", body),
    };
    match connection.request(&request, REQUEST_LIMIT).await {
        Ok(answer) => {
            judge(load, instance, &ask, &answer);
            (!answer.close).then_some(connection)
        }
        Err(failure) => {
            let trouble = match failure {
                Failure::Malformed(_) => Trouble::Wrong,
                _ => Trouble::Lost,
            };
            let how = format!("{ask}: {failure}");
            load.tally.trouble(trouble, Some(instance), &how);
            None
        }
    }
}

fn judge(load: &Load, instance: &Instance, ask: &Ask, answer: &Answer) {
    requests::judge(load, instance, ask, answer.status, &answer.body);
}
