//! Headless Chromium, driven by its DevTools protocol.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

/// The limit of its start, and of any one command.
const PATIENCE: Duration = Duration::from_secs(60);

/// The time that a page may take to show something.
const SOON: Duration = Duration::from_secs(15);

/// A browser with one page. It ends when dropped.
pub struct Browser {
    /// Held for its drop.
    _process: Process,
    socket: WebSocket<TcpStream>,
    session: Option<String>,
    commands: u64,
    /// Errors that the page has thrown, or that the browser has blocked.
    pub complaints: Vec<String>,
}

struct Process {
    child: Child,
    profile: PathBuf,
}

impl Process {
    /// Starts the browser, and returns where it listens.
    fn start() -> (Process, String) {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("chromium-{}-{number}", std::process::id());
        let profile = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let mut command = Command::new("chromium");
        command
            .args(["--headless=new", "--no-sandbox", "--disable-gpu"])
            .args([
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--hide-scrollbars",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
            ])
            .arg("--remote-debugging-port=0")
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // The browser may be a script and has many processes: they end together.
            .process_group(0);
        let child = command.spawn().expect("chromium is installed");
        let mut process = Process { child, profile };
        let stderr = process.child.stderr.take().expect("it is piped");
        let (sender, address) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("DevTools listening on ") {
                    let _ = sender.send(address.trim().to_owned());
                }
            }
        });
        let address = address.recv_timeout(PATIENCE).expect("it listens");
        (process, address)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

impl Browser {
    pub fn start() -> Browser {
        let (process, url) = Process::start();
        let host = url
            .strip_prefix("ws://")
            .and_then(|url| url.split('/').next());
        let stream = TcpStream::connect(host.expect("an address")).expect("it is there");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = tungstenite::client(url.as_str(), stream).expect("its protocol");
        Browser {
            _process: process,
            socket,
            session: None,
            commands: 0,
            complaints: Vec::new(),
        }
    }

    /// Opens the page in this size.
    pub fn open(&mut self, url: &str, width: u32, height: u32) {
        let target = self.command("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.command("Target.attachToTarget", attach);
        self.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            self.command(domain, json!({}));
        }
        self.resize(width, height);
        self.command("Page.navigate", json!({"url": url}));
    }

    pub fn resize(&mut self, width: u32, height: u32) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.command("Emulation.setDeviceMetricsOverride", size);
    }

    /// Sets the colour scheme to `light` or `dark`.
    pub fn prefer(&mut self, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.command("Emulation.setEmulatedMedia", json!({"features": [feature]}));
    }

    /// Returns the value of an expression in the page.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let value = self.try_evaluate(expression);
        value.unwrap_or_else(|problem| panic!("{expression}: {problem}"))
    }

    fn try_evaluate(&mut self, expression: &str) -> Result<Value, Value> {
        let parameters = json!({"expression": expression, "returnByValue": true});
        let mut result = self.try_command("Runtime.evaluate", parameters)?;
        match result["exceptionDetails"].take() {
            Value::Null => Ok(result["result"]["value"].take()),
            problem => Err(problem),
        }
    }

    /// Waits until an expression is true in the page. It may be false or fail until then, as in a page that is still
    /// loading.
    pub fn until(&mut self, expression: &str) {
        let began = Instant::now();
        let truth = format!("!!({expression})");
        loop {
            let is = self.try_evaluate(&truth);
            if is == Ok(Value::Bool(true)) {
                return;
            }
            if began.elapsed() > SOON {
                let shows = self.try_evaluate("document.body.innerText");
                let shows = shows.unwrap_or_default();
                let shows = shows.as_str().unwrap_or_default();
                let complaints = &self.complaints;
                panic!("never {expression}: {is:?}; {complaints:?}; the page shows:\n{shows}");
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Returns the text of the element with that id.
    pub fn text(&mut self, id: &str) -> String {
        let text = self.evaluate(&format!("document.getElementById('{id}').textContent"));
        text.as_str().expect("an element").to_owned()
    }

    /// Returns a screenshot as PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let shot = self.command("Page.captureScreenshot", json!({"format": "png"}));
        from_base64(shot["data"].as_str().expect("an image"))
    }

    fn command(&mut self, method: &str, parameters: Value) -> Value {
        let result = self.try_command(method, parameters);
        result.unwrap_or_else(|problem| panic!("{method}: {problem}"))
    }

    fn try_command(&mut self, method: &str, parameters: Value) -> Result<Value, Value> {
        self.commands += 1;
        let id = self.commands;
        let mut command = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        let command = Message::text(command.to_string());
        self.socket.send(command).expect("it listens");
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < PATIENCE, "no answer to {method}");
            let message = self.socket.read();
            let message = message.unwrap_or_else(|error| panic!("{method}: {error}"));
            let Message::Text(text) = message else {
                continue;
            };
            let mut message: Value = serde_json::from_str(&text).expect("JSON");
            if message["id"] == id {
                return match message["error"].take() {
                    Value::Null => Ok(message["result"].take()),
                    problem => Err(problem),
                };
            }
            self.listen(&message);
        }
    }

    fn listen(&mut self, message: &Value) {
        let entry = &message["params"]["entry"];
        // A server that has ended is expected to be unreachable.
        if message["method"] == "Runtime.exceptionThrown"
            || (message["method"] == "Log.entryAdded" && entry["source"] != "network")
        {
            self.complaints.push(message["params"].to_string());
        }
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("no digit: {other}"),
    };
    let (mut bytes, mut word, mut bits) = (Vec::new(), 0u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        word = (word << 6 | u32::from(digit(byte))) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
        }
    }
    bytes
}
