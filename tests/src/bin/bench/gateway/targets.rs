//! The measured targets: the upstream alone, nginx in front of it, and ARouter in front of it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::load::LoadTarget;

/// Clock ticks per second in `/proc`; Linux has had 100 on every platform for decades.
const TICKS_PER_SECOND: f64 = 100.0;

/// A server that is measured.
pub struct Target {
    /// A name for human readers.
    pub name: &'static str,
    address: SocketAddr,
    key: String,
    /// The process ids of the server.
    processes: Vec<u32>,
}

impl Target {
    /// Returns the upstream itself; its processor time is not measured.
    pub fn alone(address: SocketAddr) -> Self {
        Self { name: "upstream", address, key: "none".to_owned(), processes: Vec::new() }
    }

    /// Returns the address and the credential for the load.
    pub fn load_target(&self) -> LoadTarget {
        LoadTarget { address: self.address, key: self.key.clone() }
    }

    /// Returns the processor time of all its processes so far, in microseconds.
    pub fn cpu_us(&self) -> f64 {
        let ticks: u64 = self.processes.iter().map(|pid| ticks(*pid)).sum();
        ticks as f64 / TICKS_PER_SECOND * 1_000_000.0
    }

    /// Returns the resident memory of its first process, in megabytes.
    pub fn memory_mb(&self) -> f64 {
        self.processes.first().map_or(0.0, |pid| status_mb(*pid, "VmRSS:"))
    }
}

fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum()
}

fn status_mb(pid: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.unwrap_or_default() / 1_024.0
}

/// Repeats a call until it returns a value.
fn until<T>(what: &str, ask: impl Fn() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "{what}: not within 30 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// nginx as a reverse proxy in its best case: kept-alive connections both ways, no log, no buffering.
pub struct Nginx {
    pub target: Target,
    child: Child,
    _folder: TempDir,
}

impl Nginx {
    pub fn start(upstream: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let address = SocketAddr::from(([127, 0, 0, 1], tests::port::free()));
        let conf = format!(
            "daemon off; master_process on; worker_processes auto; pid {path}/pid; error_log {path}/error.log; user root;
             events {{ worker_connections 8192; }}
             http {{ access_log off; tcp_nodelay on; keepalive_requests 1000000000; client_body_temp_path {path}/b; proxy_temp_path {path}/p; fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;
               upstream up {{ server {upstream}; keepalive 1024; keepalive_requests 1000000000; }}
               server {{ listen {address}; location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_buffering off; }} }} }}"
        );
        std::fs::write(folder.path().join("nginx.conf"), conf).unwrap();
        let program = ["/usr/sbin/nginx", "nginx"]
            .into_iter()
            .find(|path| Command::new(path).arg("-v").stderr(Stdio::null()).status().is_ok())
            .expect("nginx: make bench-tools");
        let child = Command::new(program).arg("-c").arg(folder.path().join("nginx.conf")).stderr(Stdio::null()).spawn().unwrap();
        until("nginx", || std::net::TcpStream::connect(address).ok());
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap_or_default();
        let mut processes = vec![child.id()];
        processes.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        Self { target: Target { name: "nginx", address, key: "none".to_owned(), processes }, child, _folder: folder }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// ARouter with every feature on.
pub struct Ours {
    pub target: Target,
    child: Child,
    _folder: TempDir,
}

impl Ours {
    /// Starts the program that was built with the benchmark.
    pub fn start(upstream: SocketAddr) -> Self {
        Self::start_program(&std::env::current_exe().unwrap().with_file_name("arouter"), upstream)
    }

    /// Starts a program, with a data folder of its own.
    pub fn start_program(program: &Path, upstream: SocketAddr) -> Self {
        let folder = tempfile::Builder::new().prefix("arouter-bench").tempdir().unwrap();
        let data = folder.path().join("data");
        let model = |name: &str| {
            format!(
                "[[models]]\nid = \"bench/{name}\"\nprovider = \"bench\"\nprompt_usd_per_mtok = \"1\"\ncompletion_usd_per_mtok = \"2\"\ncontext_length = 8192\n"
            )
        };
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[bootstrap]\ncredit_usd = 1000000\n[limits]\nrequests_per_minute = 1000000000\n[spool]\nbytes_max = 8589934592\n[[providers]]\nslug = \"bench\"\nbase_url = \"http://{upstream}/v1\"\n{}{}",
            model("static"),
            model("paced")
        );
        std::fs::write(folder.path().join("arouter.toml"), config).unwrap();
        let child = Command::new(program)
            .arg("up")
            .arg("--config")
            .arg(folder.path().join("arouter.toml"))
            .arg("--data")
            .arg(&data)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let read = |name: &str| -> Option<Value> { serde_json::from_slice(&std::fs::read(data.join(name)).ok()?).ok() };
        let (running, first) = until("arouter", || Some((read("running.json")?, read("first-run.json")?)));
        let address = running["base_url"].as_str().unwrap().trim_start_matches("http://").trim_end_matches("/v1").parse().unwrap();
        let nats = std::fs::read_to_string(data.join("nats/nats.pid")).unwrap().trim().parse().unwrap();
        let target =
            Target { name: "arouter", address, key: first["live_key"].as_str().unwrap().to_owned(), processes: vec![child.id(), nats] };
        let ours = Self { target, child, _folder: folder };
        until("the first credit", || ours.get("/api/v1/balance")["balance"].as_f64().filter(|usd| *usd >= 1.0));
        ours
    }

    /// Returns the peak of the resident memory, in megabytes.
    pub fn peak_memory_mb(&self) -> f64 {
        status_mb(self.child.id(), "VmHWM:")
    }

    /// Returns the number of requests that both the ledger and the projector have.
    pub fn posted(&self) -> u64 {
        let activity = self.get("/api/v1/activity?period=1d");
        let (spend, requests) = (activity["totals"]["spend_usd"].to_string(), activity["totals"]["requests"].as_u64().unwrap_or_default());
        let used = self.get("/api/v1/key")["data"]["usage"].to_string();
        // If the ledger's sum is at least the projector's, the ledger has posted at least these requests.
        let nanos = |text: &str| events::Nanos::from_usd(text).map_or(0, |nanos| nanos.0);
        if nanos(&used) >= nanos(&spend) { requests } else { 0 }
    }

    fn get(&self, path: &str) -> Value {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _installed = rustls::crypto::ring::default_provider().install_default();
        runtime.block_on(async {
            let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
            let answer = http.get(format!("http://{}{path}", self.target.address)).bearer_auth(&self.target.key).send().await;
            match answer {
                Ok(answer) => serde_json::from_slice(&answer.bytes().await.unwrap_or_default()).unwrap_or_default(),
                Err(_) => Value::Null,
            }
        })
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    let _ended = child.wait();
}
