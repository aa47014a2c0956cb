//! A collector of traces, which takes OTLP over HTTP, or takes nothing.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message;

use super::wait_for;

pub struct Collector {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

impl Collector {
    pub fn start() -> Self {
        Self::with(|stream, requests| {
            // The end of the service is an end of the connection, at any place.
            let _ = serve(stream, requests);
        })
    }

    /// Starts a collector that accepts connections, and never answers.
    pub fn hanging() -> Self {
        Self::with(|mut stream, _| {
            let _ = io::copy(&mut stream, &mut io::sink());
        })
    }

    fn with(serve: fn(TcpStream, &Mutex<Vec<ExportTraceServiceRequest>>)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let requests = Arc::<Mutex<Vec<_>>>::default();
        let received = requests.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let requests = received.clone();
                thread::spawn(move || serve(stream, &requests));
            }
        });
        Self { address, requests }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn spans(&self) -> Vec<Span> {
        let requests = self.requests.lock().expect("requests");
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// Waits for a span of this name.
    pub fn span(&self, name: &str) -> Span {
        wait_for(name, || {
            self.spans().into_iter().find(|span| span.name == name)
        })
    }

    /// Returns an attribute of the service.
    pub fn of_service(&self, key: &str) -> Option<String> {
        let requests = self.requests.lock().expect("requests");
        let resource = requests.first()?.resource_spans.first()?;
        attribute(&resource.resource.as_ref()?.attributes, key)
    }
}

/// Returns an attribute as text.
pub fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

/// Returns an id as it is written in `traceparent` and in log lines.
pub fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn serve(stream: TcpStream, requests: &Mutex<Vec<ExportTraceServiceRequest>>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            head.push(line.trim_end().to_ascii_lowercase());
        }
        assert_eq!(head[0], "post /v1/traces http/1.1");
        assert!(
            head.contains(&"content-type: application/x-protobuf".to_owned()),
            "{head:?}"
        );
        let length = head
            .iter()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.and_then(|text| text.parse().ok()).expect("a length")];
        stream.read_exact(&mut body)?;
        let request = ExportTraceServiceRequest::decode(&*body).expect("a request of OTLP");
        requests.lock().expect("requests").push(request);
        stream
            .get_mut()
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    }
}
