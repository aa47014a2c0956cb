//! Keep-alive clients over HTTP/1: one connection and one request at a time each.

use std::sync::Arc;

use lameduck_benches::http1::{self, Answer, Connection, Failure, Idle};
use tokio::task::JoinSet;

use crate::{
    Load, REQUEST_LIMIT,
    fleet::Instance,
    requests::{self, Ask, Role, Roles},
    tally::Trouble,
};

pub fn spawn(load: &Load, tasks: &mut JoinSet<()>, roles: Roles) {
    for role in roles.all() {
        tasks.spawn(client(load.clone(), role));
    }
}

async fn client(load: Load, role: Role) {
    let mut open: Option<(Arc<Instance>, Connection)> = None;
    while !load.stopped() {
        open = match open {
            None => connect(&load, role).await,
            Some((instance, connection)) => use_once(&load, role, &instance, connection)
                .await
                .map(|connection| (instance, connection)),
        };
    }
}

async fn connect(load: &Load, role: Role) -> Option<(Arc<Instance>, Connection)> {
    let instance = requests::ready_instance(load).await?;
    let addr = instance.addr();
    let opened = match role {
        Role::SlowReader => Connection::open_paced(addr, requests::SLOW_RATE, REQUEST_LIMIT).await,
        Role::Short | Role::Uploader => Connection::open(addr, REQUEST_LIMIT).await,
    };
    match opened {
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

/// Thinks, sends, reads; returns the connection if it can be reused.
async fn use_once(
    load: &Load,
    role: Role,
    instance: &Instance,
    mut connection: Connection,
) -> Option<Connection> {
    // A client in a pool notices that its idle connection was closed; the remaining race is the one that a drain must
    // win.
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
    let ask = Ask::of(role);
    let request = match &ask {
        Ask::Slow { .. } | Ask::Download => http1::get_request(ask.path()),
        Ask::Echo { body } | Ask::Upload { body } => http1::post_request(ask.path(), body),
    };
    let answer = match &ask {
        Ask::Upload { .. } => {
            let pieces = request.chunks(request.len().div_ceil(requests::UPLOAD_PIECES));
            connection
                .request_in_pieces(pieces, requests::UPLOAD_PAUSE, REQUEST_LIMIT)
                .await
        }
        _ => connection.request(&request, REQUEST_LIMIT).await,
    };
    match answer {
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
