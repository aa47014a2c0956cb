//! A real Prometheus on a port of its own, which scrapes its target ten times a second.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::{client, free_address, wait_for};

/// A Prometheus that ends with the test and removes its files.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Prometheus {
    /// Scrapes `/metrics` of `target` as `instance`, with the rules of the example.
    pub fn start(name: &str, target: SocketAddr) -> Self {
        let folder = std::env::temp_dir().join(format!("lameduck-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let rules = observability("alerts.yml");
        let config = format!(
            "global: {{scrape_interval: 100ms, evaluation_interval: 1s}}\n\
             rule_files: [{rules:?}]\n\
             scrape_configs:\n\
             - {{job_name: full_service, static_configs: [{{targets: [{:?}]}}]}}\n",
            target.to_string()
        );
        fs::write(folder.join("prometheus.yml"), config).expect("a configuration");

        let address = free_address();
        let path = |name: &str| folder.join(name).display().to_string();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path("prometheus.yml")))
            .arg(format!("--storage.tsdb.path={}", path("data")))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is installed");
        let prometheus = Self {
            child,
            address,
            folder,
        };
        // Prometheus reloads its targets every five seconds only.
        wait_for("Prometheus to have its target", || {
            let targets = client::get(address, "/api/v1/targets").ok()?;
            let targets = (targets.head.status == 200).then(|| targets.json())?;
            let active = targets["data"]["activeTargets"].as_array()?;
            (!active.is_empty()).then_some(())
        });
        prometheus
    }

    /// Returns the samples of the query: the labels and the value of each.
    pub fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let answer = self.ask(&format!("/api/v1/query?query={}", encoded(query)));
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let samples = answer["data"]["result"].as_array().expect("samples");
        let sample = |sample: &Value| {
            let value = sample["value"][1].as_str().expect("a value");
            (sample["metric"].clone(), value.parse().expect("a number"))
        };
        samples.iter().map(sample).collect()
    }

    /// Returns the only value of a query; `None` when there is no sample.
    pub fn value(&self, query: &str) -> Option<f64> {
        let samples = self.query(query);
        assert!(samples.len() <= 1, "{query}: {samples:?}");
        samples.first().map(|(_, value)| *value)
    }

    /// Waits until the query has this value.
    pub fn reaches(&self, query: &str, value: f64) {
        wait_for(&format!("{query} = {value}"), || {
            (self.value(query)? == value).then_some(())
        });
    }

    pub fn ask(&self, target: &str) -> Value {
        let answer = client::get(self.address, target).expect("an answer");
        serde_json::from_slice(&answer.body).expect("JSON")
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Returns the path of a file in the example's folder `observability`.
pub fn observability(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("observability")
        .join(name)
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
