//! A process that was stopped past its deadlines answers what arrived meanwhile.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use lameduck::Timeouts;
use lameduck::serve::RequestBody;

use crate::support::{App, LIMIT, again, app, ms, reply};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
/// [`GET`] in two pieces.
const HALF: (&str, &str) = ("GET / HTTP", "/1.1\r\nhost: a\r\n\r\n");
const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 300000\r\n\r\n";

/// A deadline long enough for the test to set up on a busy machine.
const DEADLINE: Duration = ms(1_000);

/// The variable that is set in the process that serves; a test starts itself as one.
const SERVES: &str = "LAMEDUCK_TEST_SERVES";

/// A server in a process of its own. Every deadline is [`DEADLINE`] unless its test says otherwise.
struct Server {
    process: Child,
    addr: SocketAddr,
    unix: String,
}

fn service() -> App {
    app(|request: Request<RequestBody>| async move {
        match request.into_body().collect().await {
            Ok(body) => reply(200, format!("{} bytes", body.to_bytes().len())),
            Err(error) => reply(408, error.to_string()),
        }
    })
}

#[tokio::main]
async fn serve(unix: &str, timeouts: Timeouts) {
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("\n{}", tcp.local_addr().unwrap());
    let unix = tokio::net::UnixListener::bind(unix).unwrap();
    let unix = lameduck::serve_with_timeouts(unix, service(), timeouts);
    let tcp = lameduck::serve_with_timeouts(tcp, service(), timeouts);
    let _ = tokio::join!(tcp.into_future(), unix.into_future());
}

impl Server {
    /// Starts the server; `None` in the process that serves, when it has ended.
    fn start(test: &str, timeouts: Timeouts) -> Option<Server> {
        if let Ok(unix) = std::env::var(SERVES) {
            serve(&unix, timeouts);
            return None;
        }
        let unix = std::env::temp_dir().join(format!("lameduck-{test}-{}", std::process::id()));
        let unix = unix.to_str().unwrap().to_owned();
        let _ = std::fs::remove_file(&unix);
        let mut command = again(module_path!(), test);
        command.env(SERVES, &unix);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.as_mut().unwrap()).lines();
        let addr = lines
            .map_while(Result::ok)
            .find_map(|line| line.parse().ok());
        let addr = addr.expect("the server says where it listens");
        // The socket file comes last.
        for _ in 0..500 {
            if UnixStream::connect(&unix).is_ok() {
                break;
            }
            sleep(ms(10));
        }
        Some(Server {
            process,
            addr,
            unix,
        })
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    fn connect_unix(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.unix).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    fn signal(&self, signal: &str) {
        let process = self.process.id().to_string();
        let sent = Command::new("kill").args([signal, &process]).status();
        assert!(sent.unwrap().success());
    }

    /// Stops the process past its deadlines; `meanwhile` runs once they have passed.
    fn freeze(&self, meanwhile: impl FnOnce()) {
        self.signal("-STOP");
        sleep(DEADLINE + ms(300));
        meanwhile();
        sleep(ms(20));
        self.signal("-CONT");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.unix);
    }
}

/// Returns the next answer, or what arrived instead of one.
fn answer(stream: &mut impl Read) -> String {
    let mut bytes = [0; 4096];
    match stream.read(&mut bytes) {
        Ok(length) => String::from_utf8_lossy(&bytes[..length]).into_owned(),
        Err(error) => error.to_string(),
    }
}

fn send(stream: &mut impl Write, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
}

fn assert_answered(stream: &mut impl Read, what: &str) {
    let answer = answer(stream);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{what}: {answer:?}");
}

const ROUNDS: usize = 3;

#[test]
fn frozen_process_answers_requests_that_came_meanwhile() {
    let test = "frozen_process_answers_requests_that_came_meanwhile";
    let timeouts = Timeouts::none().read_header(DEADLINE).idle(DEADLINE);
    let Some(server) = Server::start(test, timeouts) else {
        return;
    };
    for _ in 0..ROUNDS {
        let mut idle = server.connect();
        let mut unix = server.connect_unix();
        send(&mut idle, GET);
        send(&mut unix, GET);
        assert_answered(&mut idle, "before");
        assert_answered(&mut unix, "before");
        // The last pause was short: hyper still holds the connection.
        let mut warm = server.connect();
        for _ in 0..2 {
            send(&mut warm, GET);
            assert_answered(&mut warm, "before");
        }
        let mut fresh = server.connect();
        let mut half = server.connect();
        send(&mut half, HALF.0);
        let mut half_unix = server.connect_unix();
        send(&mut half_unix, HALF.0);
        sleep(ms(100));
        server.freeze(|| {
            for stream in [&mut idle, &mut warm, &mut fresh] {
                send(stream, GET);
            }
            send(&mut unix, GET);
            send(&mut half, HALF.1);
            send(&mut half_unix, HALF.1);
        });
        assert_answered(&mut idle, "idle");
        assert_answered(&mut unix, "idle, a Unix socket");
        assert_answered(&mut warm, "warm");
        assert_answered(&mut fresh, "fresh");
        assert_answered(&mut half, "half a head");
        assert_answered(&mut half_unix, "half a head, a Unix socket");
    }
}

#[test]
fn frozen_process_reads_bodies_that_came_meanwhile() {
    let test = "frozen_process_reads_bodies_that_came_meanwhile";
    let timeouts = Timeouts::none().read(DEADLINE).read_stall(DEADLINE);
    let Some(server) = Server::start(test, timeouts) else {
        return;
    };
    for _ in 0..ROUNDS {
        let mut stream = server.connect();
        send(&mut stream, POST);
        send(&mut stream, &"x".repeat(100_000));
        sleep(ms(100));
        server.freeze(|| send(&mut stream, &"x".repeat(200_000)));
        assert_answered(&mut stream, "a body");
    }
}

/// A request that has not arrived is not waited for much longer.
#[test]
fn frozen_process_still_ends_late_requests() {
    let test = "frozen_process_still_ends_late_requests";
    let Some(server) = Server::start(test, Timeouts::none().read_header(DEADLINE)) else {
        return;
    };
    let mut half = server.connect();
    send(&mut half, HALF.0);
    sleep(ms(100));
    let mut frozen = None;
    server.freeze(|| frozen = Some(std::time::Instant::now()));
    let said = answer(&mut half);
    assert!(said.starts_with("HTTP/1.1 408"), "{said:?}");
    assert!(frozen.unwrap().elapsed() < LIMIT / 2);
}
