use std::net::SocketAddr;
use std::time::Duration;

use lameduck::serve::App;
use lameduck::shutdown::ShutdownHandle;
use lameduck::{Lifecycle, Phase, Report, Shutdown};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{LIMIT, within};

/// A server whose service knows the phase.
pub struct Knowing {
    pub addr: SocketAddr,
    pub handle: ShutdownHandle,
    report: JoinHandle<Report>,
}

impl Knowing {
    pub async fn start<A: App>(
        lame_duck: Duration,
        drain: Duration,
        app: impl FnOnce(&Lifecycle) -> A,
    ) -> Knowing {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shutdown = Shutdown::new()
            .signals(false)
            .lame_duck(lame_duck)
            .drain(drain);
        let handle = shutdown.handle();
        let app = app(handle.lifecycle());
        let serve = lameduck::serve(listener, app).shutdown(shutdown);
        let report = tokio::spawn(async move { serve.await.unwrap() });
        handle.lifecycle().reached(Phase::Ready).await;
        Knowing {
            addr,
            handle,
            report,
        }
    }

    pub async fn report(self) -> Report {
        let report = within(LIMIT, "the report", self.report).await;
        report.expect("no panic")
    }
}
